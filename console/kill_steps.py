"""The steps that every way of engaging the kill switch from the command line is made of."""

import asyncio
import getpass
import time

from console.acts.kill import engage_row, kill_command, signal_kill
from console.addresses import Addresses
from console.common import clean
from console.errors import CommandFailed, DependencyDown
from console.rows import rows
from console.temporal import connect
from schemas.kill import KillCommand, KillScope, KillState
from storage.fence import FENCE_POLL_SECONDS, FENCE_WAIT_MAX_SECONDS, Fence, try_fence


def operator() -> str:
    """Who sits at this terminal."""
    return f"operator {getpass.getuser()}"


def command_of(reason: str, scope: KillScope) -> KillCommand:
    """One activation by this person."""
    return kill_command(reason, scope, operator())


async def engage(addresses: Addresses, command: KillCommand) -> KillState:
    """Commit the row.

    Raises:
        DependencyDown: the database did not confirm it, whatever it says: it may have become a reader.
    """
    import asyncpg

    try:
        async with rows(addresses) as connection:
            return await engage_row(connection, command)
    except asyncpg.PostgresError as error:
        raise DependencyDown(
            f"the database did not take it: {error}", do="run `trading kill --direct`"
        ) from error


async def signal_switch(addresses: Addresses, command: KillCommand) -> bool:
    """Wake the workflow; False where Temporal does not take the signal, or cannot be spoken to from here."""
    try:
        client = await connect(addresses)
    except CommandFailed:  # Also keys of payloads that this person may not read: the row counts without it.
        return False
    return await signal_kill(client, command)


async def wait_for_fence(addresses: Addresses) -> Fence:
    """Wait until every placement that read the old row has ended and no POST can still leave."""
    import asyncpg

    fence = Fence(free=False)
    deadline = time.monotonic() + FENCE_WAIT_MAX_SECONDS
    try:
        async with rows(addresses) as connection:
            while True:
                fence = await try_fence(connection)
                if fence.free or time.monotonic() >= deadline:
                    return fence
                await asyncio.sleep(FENCE_POLL_SECONDS)
    except (DependencyDown, asyncpg.PostgresError):
        return fence


def fence_text(fence: Fence) -> str:
    """What a person is told of it."""
    if fence.free:
        return "no new order can leave"
    return (
        f"NOT CERTAIN: a POST that began before may still be leaving ({clean(fence.text)}); "
        "look again with `trading status`"
    )
