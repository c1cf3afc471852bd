"""``trading kill`` and ``trading release``: the row first, Temporal second."""

import asyncio
import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

from cyclopts import Parameter
from cyclopts.validators import Number

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, clean, emit, utc_now
from console.errors import EXIT_DEPENDENCY, EXIT_DONE, BadUsage, DependencyDown, Refused
from console.rows import rows
from console.temporal import SIGNAL_RPC_TIMEOUT, UPDATE_RPC_TIMEOUT, connect
from schemas.kill import KillCommand, KillScope, KillState, ReleaseAnswer, ReleaseGrant
from schemas.wire import ID_KILL_SWITCH, SIGNAL_KILL, UPDATE_RELEASE
from storage import switches
from storage.commits import committing
from storage.placement import unanswered_posts

if TYPE_CHECKING:
    from temporalio.client import Client

COMPONENT: Final = "Console"
SWEEP_WAIT_SECONDS: Final = 30.0
"""The design allows a sweep 60 s; past this the person is told to look at `trading status`."""
SWEEP_POLL_SECONDS: Final = 0.25
FENCE_WAIT_SECONDS: Final = 30.0
"""A POST's deadline (15 s), its grace and room."""
FENCE_POLL_SECONDS: Final = 0.1
UNANSWERED_GRACE_SECONDS: Final = 5.0
NOT_FENCED: Final = "a POST that began before may still be leaving; look again with `trading status`"
REASON_MAX_CHARACTERS: Final = 500


def operator() -> str:
    """Who sits at this terminal."""
    return f"operator {getpass.getuser()}"


async def kill(
    *,
    reason: Annotated[
        str, Parameter(help="Why. The first one is shown until the release; every one is audited.")
    ] = "no reason given",
    scope: Annotated[
        KillScope, Parameter(help="all: cancel every order; risk-adding: keep protective stops.")
    ] = KillScope.ALL,
    wait_seconds: Annotated[
        float, Parameter(validator=Number(gte=0, lte=3600), help="How long to wait for the sweep's word.")
    ] = SWEEP_WAIT_SECONDS,
    common: Common = NO_OPTIONS,
) -> int:
    """Engage the kill switch: no new orders, and cancel the open ones.

    Exit 0: engaged. Exit 3: the database did not confirm it; then only the signal was sent.
    """
    addresses = common.addresses()
    if addresses.get("database_url") is None:
        # Not the installation that was meant, most likely: nothing reassuring may be said of it.
        addresses.need("database_url")
    command = KillCommand(
        reason=reason[:REASON_MAX_CHARACTERS], triggered_by=operator(), scope=scope, request_id=str(uuid4())
    )
    try:
        state = await _engage(addresses, command)
    except DependencyDown as down:
        return await _by_signal_alone(common, addresses, command, down)
    if not common.json:
        print(f"ENGAGED · epoch {state.epoch} · waiting for orders that are leaving right now", flush=True)
    signalled = await _signal(addresses, command)
    if not signalled and not common.json:
        print("Temporal does not answer: the workers' own watchers sweep instead", flush=True)
    fenced = await _fenced(addresses)
    if not common.json:
        print("no new order can leave" if fenced else NOT_FENCED, flush=True)
    state = await _swept(addresses, state, wait_seconds)
    data = state.model_dump(mode="json") | {"signalled": signalled, "confirmed": True, "fenced": fenced}
    emit(common, data, lambda: _draw_sweep(state))
    return EXIT_DONE


async def _engage(addresses: Addresses, command: KillCommand) -> KillState:
    async with rows(addresses) as connection, committing(connection, "console.kill"):
        return await switches.engage(
            connection, command, request_id=command.request_id or str(uuid4()), now=utc_now(),
            component=COMPONENT,
        )  # fmt: skip


async def _signal(addresses: Addresses, command: KillCommand) -> bool:
    from temporalio.service import RPCError

    try:
        client = await connect(addresses)
        handle = client.get_workflow_handle(ID_KILL_SWITCH)
        await handle.signal(SIGNAL_KILL, command, rpc_timeout=SIGNAL_RPC_TIMEOUT)
    except (DependencyDown, RPCError):
        return False
    return True


async def _by_signal_alone(
    common: Common, addresses: Addresses, command: KillCommand, down: DependencyDown
) -> int:
    signalled = await _signal(addresses, command)
    if signalled:
        text = "NOT CONFIRMED: the signal was sent, the database did not answer"
    else:
        text = "NOT ENGAGED: neither the database nor Temporal answers"
    note = (
        "run `trading kill` again until it says ENGAGED. Without its database this installation places nothing;"
        " orders that rest at the broker stay until they are cancelled there"
    )
    data = {"confirmed": False, "signalled": signalled, "message": text, "cause": down.what, "do": note}

    def draw() -> None:
        print(f"{text} ({down.what})\n  what to do: {note}")

    emit(common, data, draw)
    return EXIT_DEPENDENCY


async def _fenced(addresses: Addresses) -> bool:
    """Wait until every placement that read the old row has ended and no POST can still leave."""
    deadline = time.monotonic() + FENCE_WAIT_SECONDS
    try:
        async with rows(addresses) as connection:
            while time.monotonic() < deadline:
                free = await switches.try_fence_exclusive(connection)
                if free and not await unanswered_posts(connection, grace_seconds=UNANSWERED_GRACE_SECONDS):
                    return True
                await asyncio.sleep(FENCE_POLL_SECONDS)
    except DependencyDown:
        return False
    return False


async def _swept(addresses: Addresses, state: KillState, seconds: float) -> KillState:
    """Wait for the sweep's own word, at most that long."""
    deadline = time.monotonic() + seconds
    try:
        async with rows(addresses) as connection:
            while time.monotonic() < deadline:
                state = await switches.read_state(connection)
                if not state.engaged or (state.swept_at is not None and state.sweep_confirmed):
                    break
                await asyncio.sleep(SWEEP_POLL_SECONDS)
    except DependencyDown:
        return state  # It is engaged: that was committed. What the sweep did is not known.
    return state


def _draw_sweep(state: KillState) -> None:
    if state.swept_at is None:
        print("sweep: nothing recorded yet; look again with `trading status`")
    elif not state.sweep_confirmed:
        print("sweep: NOT all confirmed; it goes on each minute, look again with `trading status`")
    else:
        print(f"sweep: confirmed, {len(state.fates)} open orders found")
    for order_id, fate in sorted(state.fates.items()):
        print(f"  {clean(order_id)}  {fate.value}")
    for order_id in state.waiting_for:
        print(f"  {clean(order_id)}  waiting for the answer to its POST")


async def release(
    *,
    reason: Annotated[str, Parameter(help="Why trading may go on.")],
    person: Annotated[str | None, Parameter(help="Who says so (default: the key's owner).")] = None,
    accept_unknown: Annotated[
        tuple[str, ...],
        Parameter(help="A client order id whose unknown outcome you accept; may be repeated."),
    ] = (),
    key_file: Annotated[Path | None, Parameter(help="Operator key file, mode 0600.")] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Release the kill switch with a grant signed by the operator key. Exit 1: it stays engaged."""
    if not reason.strip():
        raise BadUsage("a release needs a reason", do='--reason "checked positions with the broker"')
    addresses = common.addresses()
    async with rows(addresses) as connection:
        state = await switches.read_state(connection)
        installation = await switches.read_installation(connection)
    if not state.engaged:
        emit(common, {"released": True, "message": "it was not engaged"}, lambda: print("it was not engaged"))
        return EXIT_DONE
    key = key_file or Path(
        addresses.get("operator_key_file") or addresses.data_dir / "keys" / "operator.json"
    )
    grant = _grant(
        key, account=installation.account or "", epoch=state.epoch, reason=reason, person=person,
        unknown=accept_unknown,
    )  # fmt: skip
    answer = await _execute(await connect(addresses), grant)
    if not answer.released:
        raise Refused(f"still ENGAGED: {answer.message}", do="see `trading status`")
    emit(common, answer.model_dump(mode="json"), lambda: print(f"RELEASED: {answer.message}"))
    return EXIT_DONE


def _grant(
    key: Path, *, account: str, epoch: int, reason: str, person: str | None, unknown: tuple[str, ...]
) -> ReleaseGrant:
    from security.grants import KeyFileError, make_grant

    try:
        return make_grant(
            key, account=account, epoch=epoch, reason=reason[:REASON_MAX_CHARACTERS], now=utc_now(),
            person=person, unknown_orders=unknown,
        )  # fmt: skip
    except KeyFileError as error:
        raise Refused(str(error), do="only the holder of the operator key may release") from error


async def _execute(client: "Client", grant: ReleaseGrant) -> ReleaseAnswer:
    from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
    from temporalio.service import RPCError

    handle: Any = client.get_workflow_handle(ID_KILL_SWITCH)
    try:
        answer: ReleaseAnswer = await handle.execute_update(
            UPDATE_RELEASE, grant, id=grant.nonce, result_type=ReleaseAnswer, rpc_timeout=UPDATE_RPC_TIMEOUT
        )
    except WorkflowUpdateFailedError as error:
        raise Refused(f"still ENGAGED: {error.cause}", do="see `trading status`") from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, RPCError) as error:
        raise DependencyDown(
            f"the kill switch's workflow does not answer: {error}", do="see `trading doctor`; still ENGAGED"
        ) from error
    return answer
