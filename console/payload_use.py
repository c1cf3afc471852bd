"""Which open runs hold what a payload key has encrypted: without it they could not go on.

Two workflows have no end, and a quiet run of theirs holds the key of its first day: they are asked to go on as new
runs.
"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from console.addresses import Addresses
from console.errors import DependencyDown, Refused
from console.temporal import connect
from schemas import wire

if TYPE_CHECKING:
    from temporalio.client import Client

ENDLESS: Final = (wire.ID_KILL_SWITCH, wire.ID_TRADE_UPDATES)
RENEW_SECONDS: Final = 30.0
"""For both to go on: the stream is let go within two heartbeats."""
RENEW_RPC_TIMEOUT: Final = timedelta(seconds=10)
LOOK_SECONDS: Final = 0.5
READ_TOGETHER: Final = 8
"""Histories."""
NAMED_MAX: Final = 10


async def refuse_while_needed(addresses: Addresses, key_id: str) -> None:
    """Return where no open run holds what this key has encrypted, after the two endless ones were renewed.

    Raises:
        Refused: some hold it; they are named.
        DependencyDown: Temporal does not answer, so nobody can say.
    """
    from temporalio.service import RPCError

    client = await connect(addresses)
    try:
        left = await let_go(client, key_id)
    except RPCError as error:
        raise DependencyDown(
            f"Temporal does not say what holds the key: {error.message}",
            do="look at Temporal, then try again",
        ) from error
    if not left:
        return
    named = ", ".join(left[:NAMED_MAX]) + (f" and {len(left) - NAMED_MAX} more" if left[NAMED_MAX:] else "")
    do = "wait until they have ended"
    if not set(left).isdisjoint(ENDLESS):
        do = "start every process anew with the key that encrypts, then try again"
    raise Refused(f"open workflows hold what {key_id} has encrypted and could not go on: {named}", do=do)


async def let_go(client: "Client", key_id: str) -> list[str]:
    """Ids of the open workflows that still need this key; the two endless ones were asked to need it no more."""
    left = await _holders(client, await _open_runs(client), key_id)
    for name in ENDLESS:
        if name in left:
            await _ask_to_renew(client, name)
    deadline = time.monotonic() + RENEW_SECONDS
    while not set(left).isdisjoint(ENDLESS) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        endless = [name for name in ENDLESS if name in left]
        held = await _holders(client, [(name, None) for name in endless], key_id)
        left = [each for each in left if each not in endless or each in held]
    return left


async def _ask_to_renew(client: "Client", name: str) -> None:
    from temporalio.client import (
        WorkflowUpdateFailedError,
        WorkflowUpdateRPCTimeoutOrCancelledError,
        WorkflowUpdateStage,
    )
    from temporalio.service import RPCError

    try:
        with suppress(RPCError, WorkflowUpdateFailedError):  # What came of it is looked at.
            await client.get_workflow_handle(name).start_update(
                wire.UPDATE_RENEW, wait_for_stage=WorkflowUpdateStage.ACCEPTED, rpc_timeout=RENEW_RPC_TIMEOUT
            )
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        # No worker of it runs: looked at too. Of Ctrl-C the SDK says the same.
        if isinstance(error.__cause__, asyncio.CancelledError):
            raise error.__cause__ from None


async def _open_runs(client: "Client") -> list[tuple[str, str | None]]:
    """Id and run of each. Whatever is listed late was begun just now, under the newest key."""
    return [(each.id, each.run_id) async for each in client.list_workflows('ExecutionStatus = "Running"')]


async def _holders(client: "Client", runs: list[tuple[str, str | None]], key_id: str) -> list[str]:
    """Those whose history names the key, as it stands in each encrypted payload's metadata."""
    from temporalio.service import RPCError, RPCStatusCode

    # An entry of a payload's metadata, as protobuf writes it: its name, then field 2 with a length below 128.
    named = b"encryption-key-id\x12" + bytes([len(key_id)]) + key_id.encode()
    together = asyncio.Semaphore(READ_TOGETHER)

    async def holds(name: str, run_id: str | None) -> bool:
        async with together:
            try:
                history = await client.get_workflow_handle(name, run_id=run_id).fetch_history()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False  # Ended and gone since it was listed.
                raise
            return any(named in event.SerializeToString() for event in history.events)

    found = await asyncio.gather(*(holds(*each) for each in runs))
    return sorted({name for (name, _), is_one in zip(runs, found, strict=True) if is_one})
