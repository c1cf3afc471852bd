"""From a signal's HTTP request to the broker's exchange: ``python -m benchmarks.latency``.

Three ways in turn, in the same run, on the same servers, one request at a time:

ours   the product in its compact topology: signal stored, risk, pre-trade checks, intent, POST
bare   a workflow started by the same kind of request in the same kind of process; its one activity makes as
       many commits as ours and the POST, through the same adapter
floor  the same without commits

A latency is the exchange's own monotonic time of the POST minus the sender's at its request: one machine, one
clock. This machine's load moves every figure; the ratios of one run are what counts.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import httpx2
from temporalio.client import Client

from benchmarks.breakdown import Part, read_parts
from benchmarks.servers import BARE, Rig, rig
from workers import embedded, temporal

ROUNDS: Final = 100
WARM_UP_ROUNDS: Final = 10
DONE_WITHIN_SECONDS: Final = 30.0
FIRST_LOOK_SECONDS: Final = 0.15
"""Longer than most latencies here, so that looking does not disturb what is measured."""
LOOK_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.1
AIM_RATIO: Final = 2.5
KINDS: Final = ("ours", "bare", "floor")
TICKER: Final = "AAPL"

_COMMITS = """
select count(distinct xmin::text::bigint) from audit_log
where correlation_id = $1 and id <= (
    select max(id) from audit_log where correlation_id = $1 and decision = 'SUBMITTING')"""


@dataclass(frozen=True)
class Sent:
    """One request: its name, when it left (monotonic and wall), and how long its HTTP answer took."""

    kind: str
    name: str
    at_ns: int
    wall_ns: int
    answered_ms: float
    process_cpu_ms: float
    temporal_cpu_ms: float


@dataclass(frozen=True)
class Row:
    """Milliseconds. Processor time is for a request's whole life, fills and settling included, and for the
    looks at whether it is done; it moves less with the machine's load than the latencies do.
    """

    kind: str
    count: int
    p50: float
    p95: float
    p99: float
    http_p50: float
    cpu_mean: float
    """Of the process that took the request."""
    temporal_cpu_mean: float


@dataclass(frozen=True)
class Result:
    """What is printed."""

    rounds: int
    commits: int
    refreshed: int
    """Rounds of ours left out because quote or snapshot had to be fetched first."""
    eager_starts: int
    rows: list[Row]
    ours_to_bare: float
    """p50 to p50; the aim is at most 2.5."""
    ours_to_floor: float
    bare_to_floor: float
    paired: float
    """Median over the rounds of ours divided by bare of the same round."""
    parts: list[Part]


class Benchmark:
    """One run over a rig that is up."""

    def __init__(self, found: Rig) -> None:
        self._rig = found
        self._commits = 0
        self._sent: list[Sent] = []

    async def run(self, rounds: int, *, spans: bool) -> Result:
        """Warm up, count the commits of ours, measure, and read the exchange's ledgers."""
        for number in range(WARM_UP_ROUNDS):
            for kind in KINDS:
                await self._one(kind, f"warm-{kind}-{number}")
        self._commits = await self._count_commits(f"warm-ours-{WARM_UP_ROUNDS - 1}")
        self._sent.clear()
        for number in range(rounds):
            first = number % len(KINDS)
            for kind in (*KINDS[first:], *KINDS[:first]):
                self._sent.append(await self._one(kind, f"{kind}-{number}"))
        return await self._result(rounds, spans=spans)

    async def _one(self, kind: str, name: str) -> Sent:
        send, look = (
            (self._send_ours, self._ours_done) if kind == "ours" else (self._send_bare, self._bare_done)
        )
        process = embedded.PRODUCT if kind == "ours" else BARE
        used = self._rig.cpu_ms(process), self._rig.cpu_ms(temporal.NAME)
        wall_ns, began = time.time_ns(), time.monotonic_ns()
        answer = await send(name, kind)
        answered_ms = (time.monotonic_ns() - began) / 1e6
        if answer.status_code != httpx2.codes.ACCEPTED:
            raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")
        await _until(look, name)
        await asyncio.sleep(PAUSE_SECONDS)
        process_cpu_ms = self._rig.cpu_ms(process) - used[0]
        temporal_cpu_ms = self._rig.cpu_ms(temporal.NAME) - used[1]
        return Sent(kind, name, began, wall_ns, answered_ms, process_cpu_ms, temporal_cpu_ms)

    async def _send_ours(self, name: str, _: str) -> httpx2.Response:
        signal = {
            "signal_id": name, "strategy": "momentum", "ticker": TICKER, "action": "BUY_TO_OPEN",
            "order_type": "MARKET", "time_in_force": "DAY", "quantity": "1",
            "created_at": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        return await self._rig.product.post("/v1/signals", json=signal)

    async def _send_bare(self, name: str, kind: str) -> httpx2.Response:
        commits = self._commits if kind == "bare" else 0
        return await self._rig.bare.post("/v1/bare", json={"name": name, "commits": commits})

    async def _ours_done(self, name: str) -> bool:
        order = (await self._rig.product.get(f"/v1/orders/{name}")).json()
        if order.get("settled") and order["status"] != "FILLED":
            raise RuntimeError(f"{name} ended as {order['status']}: {order['reason']}")
        return bool(order.get("settled"))

    async def _bare_done(self, name: str) -> bool:
        return bool((await self._rig.bare.get(f"/v1/bare/{name}")).json()["done"])

    async def _count_commits(self, name: str) -> int:
        """Write transactions of ours up to the POST: each leaves its own mark on an audit row."""
        connection = await asyncpg.connect(self._rig.dsn)
        try:
            return int(await connection.fetchval(_COMMITS, name))
        finally:
            await connection.close()

    async def _result(self, rounds: int, *, spans: bool) -> Result:
        posted = await self._posted()
        refreshed, eager = await self._look_at_histories()
        latencies = {
            sent.name: (posted[sent.name] - sent.at_ns) / 1e6
            for sent in self._sent
            if sent.name not in refreshed
        }
        rows = [self._row(kind, latencies) for kind in KINDS]
        ours, bare, floor = (row.p50 for row in rows)
        pairs = [
            latencies[f"ours-{number}"] / latencies[f"bare-{number}"]
            for number in range(rounds)
            if f"ours-{number}" in latencies
        ]
        measured = [sent for sent in self._sent if sent.kind == "ours" and sent.name in latencies]
        parts = read_parts(
            self._rig.trace_file, {s.name: (s.wall_ns, s.wall_ns + posted[s.name] - s.at_ns) for s in measured}
        ) if spans else []  # fmt: skip
        return Result(
            rounds=rounds,
            commits=self._commits,
            refreshed=len(refreshed),
            eager_starts=eager,
            rows=rows,
            ours_to_bare=round(ours / bare, 2),
            ours_to_floor=round(ours / floor, 2),
            bare_to_floor=round(bare / floor, 2),
            paired=round(statistics.median(pairs), 2),
            parts=parts,
        )

    def _row(self, kind: str, latencies: dict[str, float]) -> Row:
        mine = [sent for sent in self._sent if sent.kind == kind and sent.name in latencies]
        values = [latencies[sent.name] for sent in mine]
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        return Row(
            kind=kind,
            count=len(values),
            p50=round(cuts[49], 1),
            p95=round(cuts[94], 1),
            p99=round(cuts[98], 1),
            http_p50=round(statistics.median(sent.answered_ms for sent in mine), 1),
            cpu_mean=round(statistics.mean(sent.process_cpu_ms for sent in mine), 1),
            temporal_cpu_mean=round(statistics.mean(sent.temporal_cpu_ms for sent in mine), 1),
        )

    async def _posted(self) -> dict[str, int]:
        """Monotonic nanoseconds at which the exchange took each order's POST, by signal or bare name."""
        connection = await asyncpg.connect(self._rig.dsn)
        rows = await connection.fetch("select client_order_id, signal_id from orders")
        await connection.close()
        names = {row["client_order_id"]: row["signal_id"] for row in rows}
        found = {}
        for exchange in (self._rig.exchange, self._rig.bare_exchange):
            for line in (await exchange.get("/_exchange/ledger")).text.splitlines():
                record = json.loads(line)
                if record["kind"] == "request" and record["method"] == "POST":
                    order_id = record["client_order_id"]
                    found[names.get(order_id, order_id)] = record["monotonic_ns"]
        return found

    async def _look_at_histories(self) -> tuple[set[str], int]:
        """Rounds of ours that had to fetch market data, and how many starts came back with their first task."""
        client = await Client.connect(self._rig.temporal_address, namespace=temporal.NAMESPACE)
        refreshed, eager = set(), 0
        for sent in self._sent:
            if sent.kind != "ours":
                continue
            history = await client.get_workflow_handle(f"order-{sent.name}").fetch_history()
            names = [
                event.activity_task_scheduled_event_attributes.activity_type.name
                for event in history.events
                if event.HasField("activity_task_scheduled_event_attributes")
            ]
            if any("refresh" in name for name in names):
                refreshed.add(sent.name)
            started = history.events[0].workflow_execution_started_event_attributes
            eager += started.eager_execution_accepted
        return refreshed, eager


async def _until(look: Callable[[str], Awaitable[bool]], name: str) -> None:
    await asyncio.sleep(FIRST_LOOK_SECONDS)
    deadline = time.monotonic() + DONE_WITHIN_SECONDS
    while not await look(name):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} was not done after {DONE_WITHIN_SECONDS:g} s")
        await asyncio.sleep(LOOK_SECONDS)


def _show(result: Result) -> None:
    print(f"{result.rounds} rounds, {result.commits} commits before the POST, milliseconds")
    print(f"{'':8}{'n':>6}{'p50':>9}{'p95':>9}{'p99':>9}{'HTTP p50':>11}{'CPU':>8}{'Temporal CPU':>15}")
    for row in result.rows:
        print(
            f"{row.kind:8}{row.count:6}{row.p50:9.1f}{row.p95:9.1f}{row.p99:9.1f}{row.http_p50:11.1f}"
            f"{row.cpu_mean:8.1f}{row.temporal_cpu_mean:15.1f}"
        )
    verdict = "met" if result.ours_to_bare <= AIM_RATIO else "MISSED"
    print(
        f"ours / bare {result.ours_to_bare} (aim ≤ {AIM_RATIO}: {verdict}; round by round {result.paired}) · "
        f"ours / floor {result.ours_to_floor} · bare / floor {result.bare_to_floor}"
    )
    print(f"eager starts {result.eager_starts} · left out for a fetch of market data {result.refreshed}")
    if result.parts:
        print("where ours spends it (medians of spans):")
        for part in result.parts:
            print(f"  {part.ms_p50:8.1f} ms  {part.name}")


async def _run(rounds: int, *, spans: bool) -> Result:
    async with rig(spans=spans) as found:
        return await Benchmark(found).run(rounds, spans=spans)


def main(arguments: list[str]) -> int:
    """Measure and print; exit code 0 whatever was measured, since the machine may be busy with other things."""
    parser = argparse.ArgumentParser(prog="benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"measured rounds ({ROUNDS})")
    parser.add_argument("--spans", action="store_true", help="also show where ours spends its time")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error("--rounds: at least 2")
    result = asyncio.run(_run(options.rounds, spans=options.spans))
    if options.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        _show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
