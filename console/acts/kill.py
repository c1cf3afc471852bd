"""The kill switch as acts of a person: the row first, Temporal second; released by a signed grant alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from console.acts.people import COMPONENT, REASON_MAX_CHARACTERS, utc_now
from console.errors import DependencyDown, Refused
from console.temporal import SIGNAL_RPC_TIMEOUT, UPDATE_RPC_TIMEOUT, reading_answer
from schemas.kill import KillCommand, KillScope, KillState, ReleaseAnswer, ReleaseGrant
from schemas.wire import ASK_AGAIN, ID_KILL_SWITCH, SIGNAL_KILL, UPDATE_RELEASE
from storage import switches
from storage.commits import committing

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.database import Connection

RELEASE_TRIES_MAX: Final = 6
RELEASE_PAUSE_SECONDS: Final = 1.0
"""Between two tries while the workflow is between two runs, which takes it well below a second."""


def kill_command(reason: str, scope: KillScope, name: str, request_id: str | None = None) -> KillCommand:
    """One activation by ``name``; row and signal carry the same id, so that they are one."""
    return KillCommand(
        reason=reason[:REASON_MAX_CHARACTERS],
        triggered_by=name,
        scope=scope,
        request_id=request_id or str(uuid4()),
    )


async def engage_row(connection: Connection, command: KillCommand) -> KillState:
    """Commit the row: from here on no new order may leave. The same ``request_id`` again changes nothing."""
    assert command.request_id is not None, "kill_command gives it one"
    async with committing(connection, "console.kill"):
        return await switches.engage(
            connection, command, request_id=command.request_id, now=utc_now(), component=COMPONENT
        )


async def signal_kill(client: Client, command: KillCommand) -> bool:
    """Wake the workflow; False where Temporal does not take the signal: the workers' own watchers sweep then."""
    from temporalio.service import RPCError

    handle = client.get_workflow_handle(ID_KILL_SWITCH)
    try:
        await handle.signal(SIGNAL_KILL, command, rpc_timeout=SIGNAL_RPC_TIMEOUT)
    except RPCError:
        return False
    return True


async def release_switch(
    client: Client, grant: ReleaseGrant, *, pause_seconds: float = RELEASE_PAUSE_SECONDS
) -> ReleaseAnswer:
    """Give the workflow the grant; again, a few times, while it is between two runs and says to ask again.

    Raises:
        Refused: the switch stays engaged; the message says why.
        DependencyDown: the workflow does not answer.
    """
    answer = None
    for attempt in range(1, RELEASE_TRIES_MAX + 1):
        answer = await _update(client, grant, is_last=attempt == RELEASE_TRIES_MAX)
        if answer is not None:
            break
        await asyncio.sleep(pause_seconds)
    assert answer is not None, "the last try raises"
    if not answer.released:
        raise Refused(f"still ENGAGED: {answer.message}", do="see `trading status`")
    return answer


async def _update(client: Client, grant: ReleaseGrant, *, is_last: bool) -> ReleaseAnswer | None:
    """The workflow's answer; None where it says to ask again, which the last try takes for a refusal."""
    from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
    from temporalio.service import RPCError

    handle: Any = client.get_workflow_handle(ID_KILL_SWITCH)
    try:
        with reading_answer("`trading status` says whether it is released"):
            answer: ReleaseAnswer = await handle.execute_update(
                UPDATE_RELEASE,
                grant,
                id=grant.nonce,
                result_type=ReleaseAnswer,
                rpc_timeout=UPDATE_RPC_TIMEOUT,
            )
    except WorkflowUpdateFailedError as error:
        if not is_last and ASK_AGAIN in str(error.cause):
            return None
        raise Refused(f"still ENGAGED: {error.cause}", do="see `trading status`") from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, RPCError) as error:
        raise DependencyDown(
            f"the kill switch's workflow does not answer: {error}",
            do="whether it was released is not known: see `trading status`, then `trading doctor`",
        ) from error
    return answer
