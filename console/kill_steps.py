"""The steps that every way of engaging the kill switch from the command line is made of."""

import asyncio
import getpass
import time
from typing import Final
from uuid import uuid4

from console.addresses import Addresses
from console.common import clean, utc_now
from console.errors import DependencyDown
from console.rows import rows
from console.temporal import SIGNAL_RPC_TIMEOUT, connect
from schemas.kill import KillCommand, KillScope, KillState
from schemas.wire import ID_KILL_SWITCH, SIGNAL_KILL
from storage import switches
from storage.commits import committing
from storage.fence import FENCE_POLL_SECONDS, FENCE_WAIT_MAX_SECONDS, Fence, try_fence

COMPONENT: Final = "Console"
REASON_MAX_CHARACTERS: Final = 500


def operator() -> str:
    """Who sits at this terminal."""
    return f"operator {getpass.getuser()}"


def command_of(reason: str, scope: KillScope) -> KillCommand:
    """One activation by this person; row and signal carry the same id, so that they are one."""
    return KillCommand(
        reason=reason[:REASON_MAX_CHARACTERS], triggered_by=operator(), scope=scope, request_id=str(uuid4())
    )


async def engage(addresses: Addresses, command: KillCommand) -> KillState:
    """Commit the row.

    Raises:
        DependencyDown: the database did not confirm it.
    """
    assert command.request_id is not None, "command_of gives it one"
    async with rows(addresses) as connection, committing(connection, "console.kill"):
        return await switches.engage(
            connection, command, request_id=command.request_id, now=utc_now(), component=COMPONENT
        )


async def signal_switch(addresses: Addresses, command: KillCommand) -> bool:
    """Wake the workflow; False where Temporal does not take the signal."""
    from temporalio.service import RPCError

    try:
        client = await connect(addresses)
        handle = client.get_workflow_handle(ID_KILL_SWITCH)
        await handle.signal(SIGNAL_KILL, command, rpc_timeout=SIGNAL_RPC_TIMEOUT)
    except (DependencyDown, RPCError):
        return False
    return True


async def wait_for_fence(addresses: Addresses) -> Fence:
    """Wait until every placement that read the old row has ended and no POST can still leave."""
    fence = Fence(free=False)
    deadline = time.monotonic() + FENCE_WAIT_MAX_SECONDS
    try:
        async with rows(addresses) as connection:
            while True:
                fence = await try_fence(connection)
                if fence.free or time.monotonic() >= deadline:
                    return fence
                await asyncio.sleep(FENCE_POLL_SECONDS)
    except DependencyDown:
        return fence


def fence_text(fence: Fence) -> str:
    """What a person is told of it."""
    if fence.free:
        return "no new order can leave"
    return (
        f"NOT CERTAIN: a POST that began before may still be leaving ({clean(fence.text)}); "
        "look again with `trading status`"
    )
