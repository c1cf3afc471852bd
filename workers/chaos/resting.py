"""Thousands of orders at rest on one worker of each role: what they cost while nothing happens, and when it does.

The orders are a fixture (`resting_load`); their workflows are started by the sweeper. Judged by the exchange's
ledger and by the workflows' own histories.
"""

import argparse
import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.wire import WORKFLOW_ORDER
from workers.chaos.report import Report, too_long
from workers.chaos.resting_load import (
    Resting,
    account_and_namespace,
    plan,
    put,
    quotes_of,
)
from workers.chaos.resting_times import latencies, percentile
from workers.chaos.stage import Stage, staged

if TYPE_CHECKING:
    from temporalio.client import Client

TICKERS: Final = 200
CASH: Final = 10_000_000
EXCHANGE_OPTIONS: Final = (
    "--session=always_open", "--start=now", "--partial-fills=none", f"--tickers={TICKERS}", f"--cash={CASH}",
)  # fmt: skip
CACHE_FACTOR: Final = 1.25
"""Cached workflows for each expected open order."""
REST_CALLS_MAX: Final = 10.0
"""A minute, while nothing happens."""
WHOLE_PERIOD_MINUTES: Final = 5.0
"""The reconciliation's: in a shorter window its one run weighs more than it costs."""
RECONCILIATION_CALLS: Final = 30
ORDERS_FULL: Final = 10_000
MINUTES_MAX: Final = 25
"""Of a run of ``ORDERS_FULL``, on two cores."""
P95_MAX_SECONDS: Final = 2.0
STARTED_WITHIN_SECONDS: Final = 1200.0
FILLED_WITHIN_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.5
WORKERS: Final = ("orders", "risk", "execution", "operations")
MEASURED: Final = ("temporal", "exchange", "database")
AT_REST: Final = (
    f"WorkflowType = '{WORKFLOW_ORDER}' AND ExecutionStatus = 'Running' AND OrderStatus = 'ACKNOWLEDGED'"
)
EVERY: Final = f"WorkflowType = '{WORKFLOW_ORDER}'"


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument("--idle-minutes", type=float, default=10.0, help="how long nothing happens (10)")
    group.add_argument("--burst", type=int, default=100, help="orders filled at once, twice (100)")


async def run(options: argparse.Namespace) -> Report:
    """Load, start, rest, fill, restart, fill."""
    if options.resting < 2 * options.burst or options.burst < 1:
        return Report("resting", {}, ("--resting must be at least twice --burst, and --burst 1",))
    cached = math.ceil(options.resting * CACHE_FACTOR)
    async with staged(
        topology=options.topology,
        exchange_options=EXCHANGE_OPTIONS,
        settings={"TRADING_CACHED_WORKFLOWS": str(cached)},
        keep=getattr(options, "keep", None),  # Where a kind of run has that option, it is everyone's.
    ) as stage:
        return await _Run(stage, options).report()


class _Run:
    """One run, step by step."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self._stage = stage
        self._began = time.monotonic()
        self._count: int = options.resting
        self._burst: int = options.burst
        self._idle_minutes: float = options.idle_minutes
        # In compact every role is the same one process.
        self._workers = WORKERS if options.topology == "isolated" else WORKERS[-1:]
        self._figures: dict[str, Any] = {"orders": self._count, "seed": options.seed}
        self._wrong: list[str] = []
        self._orders: list[Resting] = []
        self._temporal: Client | None = None

    async def report(self) -> Report:
        self._temporal = await self._stage.temporal_client()
        empty = self._memory()
        await self._timed("load_seconds", self._load())
        await self._timed("start_seconds", self._until_at_rest(self._count))
        self._figures["memory_kib_per_open_order"] = _per_order(empty, self._memory(), self._count)
        await self._rest()
        await self._fill(0, "fill_to_state", judged=True)
        await self._timed("restart_seconds", self._restart())
        await self._fill(1, "after_restart_fill_to_state", judged=False)
        await self._compare()
        seconds = time.monotonic() - self._began
        self._figures["seconds"] = round(seconds, 1)
        if self._count >= ORDERS_FULL:
            self._wrong += too_long(seconds, MINUTES_MAX)
        return Report("resting", self._figures, tuple(self._wrong))

    @property
    def _client(self) -> "Client":
        assert self._temporal is not None, "made first"
        return self._temporal

    async def _timed(self, name: str, step: Coroutine[Any, Any, None]) -> None:
        began = time.monotonic()
        await step
        self._figures[name] = round(time.monotonic() - began, 1)

    def _memory(self) -> dict[str, int]:
        """KiB of each process that is there, by name."""
        names = (*self._workers, *MEASURED)
        pids = {name: self._stage.pids.get(self._stage.name(name)) for name in names}
        return {name: _resident(pid) for name, pid in pids.items() if pid is not None}

    async def _load(self) -> None:
        """Write the orders while nobody else writes."""
        now = datetime.now(UTC)
        async with self._stage.database() as connection:
            account, namespace = await account_and_namespace(connection)
        self._orders = plan(
            self._count, TICKERS, (self._burst, self._burst), installation=namespace, account=account, now=now
        )
        await put(self._stage, self._workers, self._orders, now)

    async def _until_at_rest(self, count: int) -> None:
        """Every order has its workflow, and that has read its row and waits."""

        async def at_rest() -> bool:
            found = (await self._client.count_workflows(AT_REST)).count
            self._figures["workflows_at_rest"] = found
            return found >= count

        if not await _until(at_rest, STARTED_WITHIN_SECONDS):
            self._wrong.append(f"only {self._figures['workflows_at_rest']} of {count} workflows are at rest")

    async def _rest(self) -> None:
        """Count what is asked of the exchange while nothing happens."""
        await self._stage.until_trading()
        connected, after = await self._connected_at(), (await self._stage.exchange.summary())["records"]
        await asyncio.sleep(self._idle_minutes * 60)
        asked: Counter[str] = Counter()
        async for record in self._stage.exchange.read(after):
            if record["kind"] == "request":
                asked[f"{record['method']} {record['route']}"] += 1
        calls = asked.total()
        self._figures["idle_minutes"] = self._idle_minutes
        self._figures["rest_calls"] = dict(sorted(asked.items()))
        self._figures["rest_calls_per_minute"] = round(calls / self._idle_minutes, 2)
        if connected != await self._connected_at():
            self._wrong.append("the update stream was connected anew in the idle minutes: they do not count")
        allowed = REST_CALLS_MAX * self._idle_minutes
        if self._idle_minutes < WHOLE_PERIOD_MINUTES:
            allowed += RECONCILIATION_CALLS
        asleep = not calls and self._idle_minutes >= 1
        if asleep or calls > allowed:
            self._wrong.append(
                f"{calls} REST calls in {self._idle_minutes:g} idle minutes, {allowed:g} are allowed"
            )

    async def _connected_at(self) -> datetime | None:
        async with self._stage.database() as connection:
            from storage.switches import read_stream

            return (await read_stream(connection)).connected_at

    async def _fill(self, burst: int, name: str, *, judged: bool) -> None:
        """Fill a burst at once and time each from the ledger to its workflow's history."""
        wanted = [each for each in self._orders if each.burst == burst]
        after = (await self._stage.exchange.summary())["records"]
        await asyncio.gather(
            *(
                self._stage.exchange.control(
                    "quotes",
                    {
                        "symbol": ticker,
                        "bid": str(price),
                        "ask": str(price),
                        "bid_size": 1000,
                        "ask_size": 1000,
                    },
                )
                for ticker, price in quotes_of(self._orders, burst).items()
            )
        )
        settled = await _until(lambda: self._settled(wanted), FILLED_WITHIN_SECONDS)
        if not settled:
            self._wrong.append(f"{name}: the burst was not settled within {FILLED_WITHIN_SECONDS:g} s")
        filled = await self._filled(after)
        missing = [each.signal_id for each in wanted if each.broker_order_id not in filled]
        if missing:
            self._wrong.append(
                f"{name}: the exchange did not fill {len(missing)} of the burst, {missing[0]} first"
            )
            return
        times = {each.signal_id: filled[each.broker_order_id] for each in wanted}
        found = await latencies(self._client, times)
        if len(found.to_state) < len(wanted):
            self._wrong.append(
                f"{name}: {len(wanted) - len(found.to_state)} workflows never heard of their fill"
            )
        if not found.to_state:
            return
        shown = {f"p{part}": round(percentile(found.to_state, part), 3) for part in (50, 95, 100)}
        signalled = round(percentile(found.to_signal, 95), 3)
        self._figures[f"{name}_seconds"] = {"fills": len(found.to_state), **shown, "signal_p95": signalled}
        if judged and shown["p95"] > P95_MAX_SECONDS:
            self._wrong.append(f"{name}: p95 {shown['p95']} s, {P95_MAX_SECONDS:g} s are allowed")

    async def _filled(self, after: int) -> dict[str, datetime]:
        """When the exchange filled each order, on the wall clock (it runs at speed 1), by broker order id."""
        found: dict[str, datetime] = {}
        async for record in self._stage.exchange.read(after):
            if record["kind"] == "order_executed":
                found[record["order_id"]] = datetime.fromisoformat(record["at"])
        return found

    async def _settled(self, wanted: Sequence[Resting]) -> bool:
        from storage.watch import count_unsettled

        already = sum(each.burst is not None and each.burst < (wanted[0].burst or 0) for each in self._orders)
        async with self._stage.database() as connection:
            return await count_unsettled(connection) <= self._count - already - len(wanted)

    async def _restart(self) -> None:
        """Kill every worker; all is as before once they are back."""
        await asyncio.gather(*(self._stage.kill(name) for name in self._workers))
        await asyncio.gather(*(self._stage.until_ready(name) for name in self._workers))
        await self._stage.until_trading()

    async def _compare(self) -> None:
        """Nothing lost, nothing twice: open orders there, rows here, one workflow each."""
        open_there = sum(1 for each in await self._open_at_exchange() if each)
        left = self._count - 2 * self._burst
        running = (await self._client.count_workflows(AT_REST)).count
        started = (await self._client.count_workflows(EVERY)).count
        self._figures |= {"open_at_the_end": open_there, "workflows_started": started}
        for what, found, expected in (
            ("orders open at the exchange", open_there, left),
            ("workflows at rest", running, left),
        ):
            if found != expected:
                self._wrong.append(f"{found} {what}, {expected} expected")
        # One that ends while the sweeper looks may begin anew, read its settled row and end: no more than those.
        if not self._count <= started <= self._count + 2 * self._burst:
            self._wrong.append(f"{started} workflows started in all, {self._count} expected")

    async def _open_at_exchange(self) -> list[str]:
        """Broker ids of what is open, from the ledger."""
        state: dict[str, bool] = {}
        async for record in self._stage.exchange.read():
            if record["kind"] == "order_created":
                state[record["order"]["id"]] = True
            elif record["kind"] == "order_executed":
                state[record["order_id"]] = record["status"] != "filled"
        return [order_id for order_id, is_open in state.items() if is_open]


async def _until(condition: Callable[[], Coroutine[Any, Any, bool]], seconds_max: float) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < seconds_max:
        if await condition():
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _per_order(before: Mapping[str, int], after: Mapping[str, int], count: int) -> dict[str, float]:
    return {name: round((after[name] - before[name]) / count, 1) for name in before if name in after}
