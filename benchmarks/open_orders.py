"""What open orders cost: memory, processor time while nothing happens, and a signal's way through beside them.

The compact topology; the orders at rest are the fixture of `trading chaos --resting`, added to one installation
step by step, and their workflows are started by the sweeper, as after a crash.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks import latency
from benchmarks.contenders import Ours
from benchmarks.servers import PATIENCE_SECONDS, Rig
from benchmarks.usage import cpu_seconds, resident_kib
from simulation.settings import synthetic_symbols
from workers import embedded, postgres, temporal
from workers.chaos.resting import AT_REST, CACHE_FACTOR, CASH, TICKERS
from workers.chaos.resting_load import Resting, account_and_namespace, plan, put
from workers.chaos.stage import SETTINGS, Stage, staged

EXCHANGE_OPTIONS: Final = ("--partial-fills=none", f"--tickers={TICKERS}", f"--cash={CASH}")
AT_REST_WITHIN_SECONDS: Final = 1_200.0
SETTLE_SECONDS: Final = 5.0
"""After the last one is at rest: the starts' own work ends."""
IDLE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.5
WARM_UP: Final = 5
PROCESSES: Final = (embedded.PRODUCT, temporal.NAME, postgres.NAME, embedded.EXCHANGE)


async def measure(sizes: Sequence[int], *, rounds: int) -> list[dict[str, Any]]:
    """One row for no open order, and one for each size, in their order."""
    settings = {**SETTINGS, "TRADING_CACHED_WORKFLOWS": str(math.ceil(max(sizes) * CACHE_FACTOR))}
    async with staged(
        topology="compact",
        exchange_options=EXCHANGE_OPTIONS,
        settings=settings,
        patience_seconds=PATIENCE_SECONDS,
    ) as stage:
        run = _Run(stage, rounds)
        # A process that has just begun, as it is after each of the steps below.
        await stage.restart(embedded.PRODUCT)
        await stage.until_trading()
        rows = [await run.row(0, 0.0)]
        async with stage.database() as connection:
            account, namespace = await account_and_namespace(connection)
        now = await run.market_now()
        orders = plan(max(sizes), TICKERS, (), installation=namespace, account=account, now=now)
        there = 0
        for size in sorted(sizes):
            seconds = await run.grow(orders[there:size], size)
            there = size
            rows.append(await run.row(size, seconds))
        return [_per_order(row, rows[0]) for row in rows]


class _Run:
    """One installation that grows."""

    def __init__(self, stage: Stage, rounds: int) -> None:
        self._stage = stage
        self._rounds = rounds
        self._sent = 0

    async def market_now(self) -> datetime:
        """By the exchange's clock, which begins in its last session where there is none now."""
        clock = await self._stage.exchange.ask("GET", "/v2/clock")
        return datetime.fromisoformat(clock["timestamp"]).astimezone(UTC)

    async def grow(self, orders: Sequence[Resting], size: int) -> float:
        """Add orders; the seconds until every workflow is at rest.

        Raises:
            RuntimeError: they were not in time.
        """
        market_now = await self.market_now()
        await put(self._stage, (embedded.PRODUCT,), orders, datetime.now(UTC), market_now=market_now)
        client, began = await self._stage.temporal_client(), time.monotonic()
        while (found := (await client.count_workflows(AT_REST)).count) < size:
            if time.monotonic() - began > AT_REST_WITHIN_SECONDS:
                raise RuntimeError(f"only {found} of {size} workflows are at rest")
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - began
        await self._stage.until_trading()
        await asyncio.sleep(SETTLE_SECONDS)
        return seconds

    async def row(self, size: int, seconds: float) -> dict[str, Any]:
        """Signals beside them first, so that what is kept for those is in the memory of every row."""
        post = await self._signals()
        before, began = self._used(), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        passed = time.monotonic() - began
        idle = {name: (each - before[name]) / passed for name, each in self._used().items()}
        return {
            "open_orders": size,
            "started_seconds": round(seconds, 1),
            "memory_mib": {name: round(each / 1024, 1) for name, each in self._memory().items()},
            "idle_ms_a_second": {name: round(each * 1000, 1) for name, each in idle.items()},
            "post_ms": post,
        }

    async def _signals(self) -> dict[str, float]:
        client = await self._stage.temporal_client()
        rig = Rig(self._stage, "compact", client, 0.0, tickers=_symbols())
        ours = Ours(rig)
        sent = []
        for number in range(WARM_UP + self._rounds):
            each = await latency.one(ours, f"beside-{self._sent}")
            self._sent += 1
            sent += [each] if number >= WARM_UP else []
        measured = latency.steady(await latency.read(ours, sent))
        return latency.percentiles([each.post for each in measured]) | {"count": len(measured)}

    def _used(self) -> dict[str, float]:
        return {name: cpu_seconds(self._stage.pids[name]) for name in PROCESSES}

    def _memory(self) -> dict[str, int]:
        return {name: resident_kib(self._stage.pids[name]) for name in PROCESSES}


def _symbols() -> tuple[str, ...]:
    """Other ones than the first of the fixture's."""
    return tuple(each.symbol for each in synthetic_symbols(TICKERS)[-20:])


def _per_order(row: dict[str, Any], empty: dict[str, Any]) -> dict[str, Any]:
    size = row["open_orders"]
    grown = {
        name: round((each - empty["memory_mib"][name]) * 1024 / size, 1)
        for name, each in row["memory_mib"].items()
    } if size else {}  # fmt: skip
    return row | {"kib_per_open_order": grown}
