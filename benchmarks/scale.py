"""Orders a second with 1, 2 and 4 execution workers, and what an order costs: ``python -m benchmarks.scale``.

One isolated installation as docker-compose.temporal.yml says. The exchange answers every request of ours after
300 ms, as a broker over the internet does; each execution worker places one order at a time, or four, so one alone
can place 1 / 0.3 s = 3.3 a second, or 13.3, however fast everything else is. The broker's limit is out of the way.

Buys at market, each of another ticker than the last ones; the exchange's ledger says when each was taken. Where the
limit is this machine's processors and not the slots, the table says so. Costs are per order, filled and settled.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import EventType

from benchmarks import scale_page
from benchmarks.usage import cpu_seconds
from schemas.wire import CLIENT_ORDER_ID_PREFIX, order_workflow_id
from simulation.settings import synthetic_symbols
from workers import postgres
from workers.chaos.doors import new_signal
from workers.chaos.stage import Stage, staged
from workers.chaos.victims import EXCHANGE, TEMPORAL, WORKERS
from workers.datadir import free_port
from workers.healthy import problem

RESULTS: Final = Path(__file__).with_name("scale.json")
LATENCY_MS: Final = 300
SLOTS: Final = (1, 4)
"""With one slot the limit is the slots' for longer: with four, two processors are soon busy."""
COUNTS: Final = (1, 2, 4)
ORDERS: Final = 120
WARM_UP: Final = 12
TICKERS: Final = 200
REQUESTS_PER_MINUTE: Final = 600_000
DATA: Final = "/v2/stocks"
DOORS: Final = 16
"""Strategies that send at the same time."""
SETTLED_WITHIN_SECONDS: Final = 240.0
POLL_SECONDS: Final = 0.25
PROBE_SECONDS: Final = 1.5
SAMPLE: Final = 20
SLOTS_NEAR: Final = 0.7
"""Of what slots allow: a slot also commits its intent and its answer."""
BUSY_NEAR: Final = 0.85
"""Of the processors."""
PROCESSES: Final = ("gateway", *WORKERS)
ACTIONS: Final = frozenset({
    "WORKFLOW_EXECUTION_STARTED", "ACTIVITY_TASK_SCHEDULED", "WORKFLOW_EXECUTION_SIGNALED", "TIMER_STARTED",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
})  # fmt: skip
REQUESTS: Final = {
    "WORKFLOW_EXECUTION_STARTED": 1, "WORKFLOW_EXECUTION_SIGNALED": 1, "WORKFLOW_TASK_COMPLETED": 2,
    "ACTIVITY_TASK_COMPLETED": 2, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": 1,
}  # fmt: skip
"""A task is a poll and an answer."""
OPTIONS: Final = (f"--tickers={TICKERS}", "--cash=100000000", f"--requests-per-minute={REQUESTS_PER_MINUTE}")

_SETTLED = "select count(*) from orders where signal_id like $1 and settled_at is not null"
_TABLES = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
_SIZE = (
    "select sum(pg_total_relation_size(oid)) from pg_class "
    "where relkind = 'r' and relnamespace = 'public'::regnamespace"
)
_COMMITS = "select xact_commit from pg_stat_database where datname = current_database()"
_WAL = "select pg_current_wal_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True)
class Step:
    """One number of workers."""

    workers: int
    slots: int
    """Of each."""
    orders: int
    orders_a_second: float
    """As the exchange took them, first to last."""
    ceiling: float
    """What the slots allow while each request takes that long."""
    cpu_busy: float
    """Part of this machine's processors that the installation used meanwhile."""
    bound_by: str


@dataclass(frozen=True)
class Cost:
    """Per order, bought at market and settled."""

    history_events: float
    history_bytes: float
    temporal_actions: float
    """Starts, steps, signals, timers and search attributes, as Temporal Cloud counts them."""
    temporal_requests: float
    """Of workers and starters at the front end: two for each task, one for each start and signal."""
    database_commits: float
    database_rows: float
    database_bytes: float
    """Growth of tables and indexes."""
    wal_bytes: float
    broker_requests: dict[str, float]
    """By route of the trading interface; market data is asked elsewhere, under a limit of its own."""
    cpu_ms: dict[str, float]
    """By process; of all execution workers together."""


class Rig:
    """The installation, its execution workers, and what it has used so far."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sent = 0
        self._seq = 0

    def cpu_seconds(self) -> dict[str, float]:
        """By process, its children's with it (PostgreSQL's sessions)."""
        pids = self.stage.pids
        used = dict.fromkeys((*PROCESSES, "temporal", "postgres", "exchange"), 0.0)
        for name, pid in pids.items():
            group = name.partition("-")[0] if name.startswith("execution") else name
            group = {
                postgres.NAME: "postgres",
                TEMPORAL: "temporal",
                self.stage.name(EXCHANGE): "exchange",
            }.get(group, group)
            if group in used:
                used[group] += cpu_seconds(pid)
        return used

    async def add_worker(self, number: int) -> None:
        """One more execution worker."""
        first = self.stage.supervisor.specs["execution"]
        port = free_port()

        async def ready() -> str | None:
            return await asyncio.to_thread(problem, f"http://127.0.0.1:{port}/readyz", PROBE_SECONDS)

        name = f"execution-{number}"
        await self.stage.supervisor.start(
            replace(
                first,
                name=name,
                env={**first.env, "TRADING_METRICS_PORT": str(port)},
                log_path=first.log_path.with_name(f"{name}.log"),
                ready=ready,
            )
        )

    async def send(self, count: int) -> list[str]:
        """So many buys at market, as fast as the gateway takes them; the ids once every one is settled."""
        symbols = synthetic_symbols(TICKERS)
        names = [f"scale-{self.sent + each:05d}" for each in range(count)]
        doors = asyncio.Semaphore(DOORS)

        async def one(at: int, name: str) -> None:
            async with doors:
                signal = new_signal(name, ticker=symbols[(self.sent + at) % TICKERS].symbol, quantity="1")
                answer = await self.stage.gateway.submit_until_taken(signal)
                answer.raise_for_status()

        before = self.sent
        await asyncio.gather(*(one(at, name) for at, name in enumerate(names)))
        self.sent += count
        async with self.stage.database() as connection, asyncio.timeout(SETTLED_WITHIN_SECONDS):
            # Others settle them.
            while await connection.fetchval(_SETTLED, "scale-%") < before + count:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        return names

    async def taken(self) -> tuple[list[datetime], Counter[str]]:
        """When the exchange took each order since the last time, and what it was asked meanwhile, by route."""
        times, requests = [], Counter[str]()
        for record in await self.stage.exchange.records(self._seq):
            self._seq = record["seq"]
            if record["kind"] == "request":
                requests[record["route"]] += DATA not in record["route"]
            elif record["kind"] == "order_created" and _is_ours(record["order"]):
                times.append(datetime.fromisoformat(record["at"]))
        return sorted(times), requests

    async def stored(self) -> dict[str, float]:
        """Rows and bytes that are there."""
        async with self.stage.database() as connection:
            tables = [row["relname"] for row in await connection.fetch(_TABLES)]
            counts = [await connection.fetchval(f'select count(*) from "{name}"') for name in tables]
            size, wal = await connection.fetchval(_SIZE), await connection.fetchval(_WAL)
            commits = await connection.fetchval(_COMMITS)
        found = {"rows": sum(counts), "bytes": size, "wal": wal, "commits": commits}
        return {name: float(value) for name, value in found.items()}

    async def histories(self, names: Sequence[str]) -> dict[str, float]:
        """Of an order's history, on average over some: events, bytes, actions, requests."""
        client = await self.stage.temporal_client()
        found: Counter[str] = Counter()
        sample = names[-SAMPLE:]
        for name in sample:
            handle = client.get_workflow_handle(order_workflow_id(name))
            info = (await handle.describe()).raw_description.workflow_execution_info
            found["events"] += info.history_length
            found["bytes"] += info.history_size_bytes
            for event in (await handle.fetch_history()).events:
                kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
                found["actions"] += kind in ACTIONS
                found["requests"] += REQUESTS.get(kind, 0)
        return {name: value / len(sample) for name, value in found.items()}


async def measure(rig: Rig, workers: int, slots: int, orders: int) -> tuple[Step, Cost]:
    """One step, after a warm-up."""
    await rig.send(WARM_UP)
    await rig.taken()
    stored, used, began = await rig.stored(), rig.cpu_seconds(), time.monotonic()
    names = await rig.send(orders)
    seconds = time.monotonic() - began
    spent = {name: each - used[name] for name, each in rig.cpu_seconds().items()}
    times, requests = await rig.taken()
    grown = {name: each - stored[name] for name, each in (await rig.stored()).items()}
    history = await rig.histories(names)
    rate = (len(times) - 1) / (times[-1] - times[0]).total_seconds()
    ceiling = workers * slots / (LATENCY_MS / 1000)
    busy = sum(spent.values()) / seconds / (os.cpu_count() or 1)
    bound = (
        "slots" if rate >= SLOTS_NEAR * ceiling else "this machine" if busy >= BUSY_NEAR else "neither alone"
    )
    step = Step(
        workers=workers,
        slots=slots,
        orders=len(times),
        orders_a_second=round(rate, 2),
        ceiling=round(ceiling, 1),
        cpu_busy=round(busy, 2),
        bound_by=bound,
    )
    cost = Cost(
        history_events=round(history["events"], 1),
        history_bytes=round(history["bytes"]),
        temporal_actions=round(history["actions"], 1),
        temporal_requests=round(history["requests"], 1),
        database_commits=round(grown["commits"] / orders, 1),
        database_rows=round(grown["rows"] / orders, 1),
        database_bytes=round(grown["bytes"] / orders),
        wal_bytes=round(grown["wal"] / orders),
        broker_requests={
            route: round(number / orders, 2)
            for route, number in requests.most_common()
            if number >= orders / 20
        },
        cpu_ms={name: round(each / orders * 1000, 1) for name, each in spent.items()},
    )
    return step, cost


@asynccontextmanager
async def scaled(slots: int) -> AsyncIterator[Rig]:
    """An installation whose execution workers have so many slots, and an exchange that is far away."""
    settings = {
        "TRADING_PLACEMENT_SLOTS": str(slots),
        "TRADING_BROKER_REQUESTS_PER_MINUTE": str(REQUESTS_PER_MINUTE),
    }
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(staged(exchange_options=OPTIONS, settings=settings))
        far = {"match": {"path": "/v2/*"}, "action": "latency_ms", "latency_ms": LATENCY_MS, "times": None}
        await stage.exchange.control("faults", far)
        yield Rig(stage)


async def steps_with(slots: int, counts: Sequence[int], orders: int) -> list[tuple[Step, Cost]]:
    """On one installation, the workers added one by one."""
    found, there = [], 1
    async with scaled(slots) as rig:
        for workers in counts:
            while there < workers:
                there += 1
                await rig.add_worker(there)
            found.append(await measure(rig, workers, slots, orders))
            print(line(found[-1][0]), flush=True)
    return found


async def run(counts: Sequence[int], slots: Sequence[int], orders: int) -> dict[str, Any]:
    """Every step; what an order costs is the fastest one's."""
    load = os.getloadavg()[0]
    found = [each for number in slots for each in await steps_with(number, counts, orders)]
    _, cost = max(found, key=lambda each: each[0].orders_a_second)
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "load_before": round(load, 1),
        "exchange_latency_ms": LATENCY_MS,
        "steps": [asdict(step) for step, _ in found],
        "cost_per_order": asdict(cost),
    }


def line(step: Step) -> str:
    """One row of the table."""
    return (
        f"{step.workers:>8}{step.slots:>7}{step.orders:>8}{step.orders_a_second:>10.2f}{step.ceiling:>10.1f}"
        f"{step.cpu_busy:>8.0%}  {step.bound_by}"
    )


def told(cost: Mapping[str, Any]) -> list[str]:
    """What an order costs, in lines."""
    lines = []
    for name, value in cost.items():
        parts, number = "", value
        if isinstance(value, dict):
            parts = "  (" + ", ".join(f"{part} {each}" for part, each in value.items()) + ")"
            number = round(sum(value.values()), 1)
        lines.append(f"{name.replace('_', ' '):<18}{number:>10}{parts}")
    return lines


def _is_ours(order: Mapping[str, Any]) -> bool:
    return str(order["client_order_id"]).startswith(CLIENT_ORDER_ID_PREFIX)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; exit code 0 whatever was measured, since the machine may be busy with other things."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--workers", type=int, nargs="+", default=COUNTS, metavar="N", help="execution workers (1 2 4)"
    )
    parser.add_argument(
        "--slots", type=int, nargs="+", default=SLOTS, help="placements of each at a time (1 4)"
    )
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders of each step ({ORDERS})")
    parser.add_argument(
        "--write",
        type=Path,
        default=None,
        metavar="FILE",
        help="JSON of the results, and docs/SCALING.md by it",
    )
    options = parser.parse_args(arguments)
    print(
        f"{'workers':>8}{'slots':>7}{'orders':>8}{'a second':>10}{'ceiling':>10}{'CPU':>8}  bound by",
        flush=True,
    )
    found = asyncio.run(run(sorted(options.workers), sorted(options.slots), options.orders))
    print("\nper order:")
    for each in told(found["cost_per_order"]):
        print(f"  {each}")
    if options.write is not None:
        options.write.write_text(json.dumps(found, indent=1) + "\n")
        scale_page.rewrite(found)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
