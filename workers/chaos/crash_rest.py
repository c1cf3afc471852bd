"""What follows the last run of a crash sweep: everything comes to rest, and the exchange's ledger judges."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

import httpx2

from schemas.reconciliation import CASH, Outcome
from workers.chaos.crash_play import STRANGER, Play
from workers.chaos.judge import Verdict, judge
from workers.chaos.ledger import Ledger
from workers.chaos.rows import count_moving, read_books, read_ours, read_theirs
from workers.chaos.victims import GATEWAY, WORKERS

T = TypeVar("T")
P = TypeVar("P")

CALM_SECONDS: Final = 420.0
CLEAN_TRIES: Final = 5
POLL_SECONDS: Final = 0.5
CUT_OFF: Final = (httpx2.TransportError, ConnectionError, TimeoutError)
"""A neighbour's death, or a slow machine, has cut off what a run asked for: it shows nothing."""
READ_TRIES: Final = 5
READ_AGAIN_SECONDS: Final = 1.0


async def tried(read: Callable[[P], Awaitable[T]], play: P) -> T:
    """What comes after the last run, again where an answer was cut off: an hour's work would be lost with it."""
    for _ in range(READ_TRIES - 1):
        with suppress(*CUT_OFF):
            return await read(play)
        await asyncio.sleep(READ_AGAIN_SECONDS)
    return await read(play)


async def calm(play: Play) -> list[str]:
    """Everything up, every order settled or at rest, the books equal; what did not come."""
    stage = play.stage
    await stage.exchange.clear_faults()
    for name in (*WORKERS, GATEWAY):
        await stage.until_ready(name)
    with suppress(TimeoutError):
        async with asyncio.timeout(CALM_SECONDS):
            while True:
                async with play.stage.database() as connection:
                    moving, ours = await count_moving(connection), await read_books(connection)
                if not moving and ours == await read_theirs(stage):
                    break
                await asyncio.sleep(POLL_SECONDS)
                if not moving:
                    await play.reconcile(f"calm-{time.monotonic_ns()}")
                    await asyncio.sleep(1)
    for number in range(CLEAN_TRIES):
        outcome = await play.reconciled_as(f"calm-{number}")
        if outcome is Outcome.CLEAN:
            return []
    return ["the last reconciliation is not CLEAN"]


async def judged(play: Play) -> Verdict:
    """What the exchange's ledger says of all orders but those that somebody else has placed."""
    ledger = Ledger()
    async for record in play.stage.exchange.read():
        ledger.add(record)
    strange = [
        key
        for key, order in ledger.orders.items()
        if order.client_order_id.startswith(STRANGER) or order.client_order_id in play.strange
    ]
    for key in strange:
        del ledger.orders[key]
    async with play.stage.database() as connection:
        ours = await read_ours(connection)
    # Cash is what the sweep itself takes and gives without a trade.
    ours = replace(ours, overwritten=tuple(each for each in ours.overwritten if each != CASH))
    return judge(ledger, ours, await read_theirs(play.stage), play.taken)
