"""From a signal's HTTP request to the broker's exchange, and to the answer that is stored; one request at a time.

Every contender in turn, in the same run, on the same servers, each round beginning with another one: what disturbs
the machine hits all alike, and the ratios of one run are what counts.

POST           the exchange's own monotonic time of it minus the sender's at its request: one machine, one clock
acknowledged   the Temporal server's time of the end of the step that stores the broker's answer, minus the same
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx2
from temporalio.client import Client

from benchmarks.contenders import Contender, Installed, Ours, contenders
from benchmarks.names import NAMES, OURS
from benchmarks.servers import Rig

WARM_UP_ROUNDS: Final = 10
DONE_WITHIN_SECONDS: Final = 60.0
FIRST_LOOK_SECONDS: Final = 0.15
"""Longer than most latencies here, so that looking does not disturb what is measured."""
LOOK_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.1
SAMPLE: Final = 20
"""Of whose histories the size is asked."""


@dataclass(frozen=True)
class Sent:
    """One request: its name, when it left (monotonic and wall), and how long its HTTP answer took."""

    contender: str
    name: str
    at_ns: int
    wall_ns: int
    answered_ms: float


@dataclass(frozen=True)
class History:
    """What is read of one order's history."""

    acknowledged_ns: int
    """Wall clock."""
    events: int
    refreshed: bool
    """Market data had to be fetched first."""
    eager: bool
    """The start came back with its first task."""


@dataclass(frozen=True)
class Measured:
    """One request, once everything is known of it; milliseconds."""

    sent: Sent
    post: float
    acknowledged: float
    history: History


async def measure(rig: Rig, rounds: int, *, warm_up: int = WARM_UP_ROUNDS) -> dict[str, Any]:
    """Warm up, count the commits of ours, measure, and read the exchanges' ledgers and the histories.

    A contender that fails is told as failed, and the others go on without it.
    """
    ours = Ours(rig)
    for number in range(warm_up):
        await one(ours, f"warm-{number}")
    commits = await ours.commits(f"warm-{warm_up - 1}")
    everyone = contenders(rig, commits)
    run = _Run(everyone)
    # As ours before: whoever asks for quotes has asked for every ticker's once.
    await run.rounds("first", warm_up, of=tuple(rig.plain))
    await run.rounds("warm", warm_up)
    run.sent.clear()
    await run.rounds("round", rounds)
    measured = [each for contender in everyone for each in await read(contender, run.sent)]
    rows = [
        {"contender": each.name, "failed": run.failed[each.name]}
        if each.name in run.failed
        else await _row(each, measured)
        for each in everyone
    ]
    return {"rounds": rounds, "commits": asdict(commits), "rows": rows, "paired": _paired(measured)}


class _Run:
    """Round by round."""

    def __init__(self, everyone: Sequence[Contender]) -> None:
        self._everyone = everyone
        self.sent: list[Sent] = []
        self.failed: dict[str, str] = {}

    async def rounds(self, prefix: str, rounds: int, *, of: Sequence[str] = NAMES) -> None:
        """Each round begins with another contender."""
        for number in range(rounds):
            first = number % len(self._everyone)
            for index in (*range(first, len(self._everyone)), *range(first)):
                contender = self._everyone[index]
                if contender.name in self.failed or contender.name not in of:
                    continue
                try:
                    self.sent.append(await one(contender, f"{prefix}-{index}-{number}"))
                except (RuntimeError, httpx2.HTTPError) as error:
                    self.failed[contender.name] = f"{type(error).__name__}: {error}"


async def one(contender: Contender, name: str) -> Sent:
    """Send one, and wait until it is finished and the machine quiet again.

    Raises:
        RuntimeError: it was refused, or was not done in time.
    """
    wall_ns, began = time.time_ns(), time.monotonic_ns()
    answer = await contender.send(name)
    answered_ms = (time.monotonic_ns() - began) / 1e6
    if answer.status_code != httpx2.codes.ACCEPTED:
        raise RuntimeError(f"{contender.name}, {name}: {answer.status_code} {answer.text}")
    await asyncio.sleep(FIRST_LOOK_SECONDS)
    deadline = time.monotonic() + DONE_WITHIN_SECONDS
    while not await contender.is_done(name):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{contender.name}, {name}: not done after {DONE_WITHIN_SECONDS:g} s")
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(PAUSE_SECONDS)
    return Sent(contender.name, name, began, wall_ns, answered_ms)


async def read(contender: Contender, sent: Sequence[Sent]) -> list[Measured]:
    """What became of the contender's own of these."""
    mine = [each for each in sent if each.contender == contender.name]
    if not mine:
        return []
    posted = await posts(contender)
    histories = {
        each.name: await _history(contender.client, contender.workflow_id(each.name), contender.acknowledging)
        for each in mine
    }
    return [
        Measured(
            sent=each,
            post=(posted[each.name] - each.at_ns) / 1e6,
            acknowledged=(histories[each.name].acknowledged_ns - each.wall_ns) / 1e6,
            history=histories[each.name],
        )
        for each in mine
    ]


async def posts(contender: Contender) -> dict[str, int]:
    """Monotonic nanoseconds at which the exchange took each order's POST, by name."""
    names = await contender.names_by_id()
    found: dict[str, int] = {}
    async for record in contender.exchange.read():
        if record["kind"] == "request" and record["method"] == "POST":
            order_id = record.get("client_order_id")
            if order_id is not None:
                found.setdefault(names.get(order_id, order_id), record["monotonic_ns"])
    return found


async def _history(client: Client, workflow_id: str, acknowledging: str) -> History:
    events = (await client.get_workflow_handle(workflow_id).fetch_history()).events
    kinds: dict[int, str] = {}
    acknowledged = 0
    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            kinds[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.HasField("activity_task_completed_event_attributes") and not acknowledged:
            scheduled = event.activity_task_completed_event_attributes.scheduled_event_id
            if kinds.get(scheduled) == acknowledging:
                at = event.event_time
                acknowledged = at.seconds * 1_000_000_000 + at.nanos
    started = events[0].workflow_execution_started_event_attributes
    return History(
        acknowledged_ns=acknowledged,
        events=len(events),
        refreshed=any("refresh" in kind for kind in kinds.values()),
        eager=started.eager_execution_accepted,
    )


async def _row(contender: Contender, measured: Sequence[Measured]) -> dict[str, Any]:
    """One line: milliseconds, events and bytes."""
    all_of_it = [each for each in measured if each.sent.contender == contender.name]
    mine = steady(all_of_it)
    commits = await contender.commits(mine[-1].sent.name) if isinstance(contender, Installed) else None
    return {
        "contender": contender.name,
        "count": len(mine),
        "left_out": len(all_of_it) - len(mine),
        "post_ms": percentiles([each.post for each in mine]),
        "acknowledged_ms": percentiles([each.acknowledged for each in mine]),
        "http_ms_p50": round(statistics.median(each.sent.answered_ms for each in mine), 1),
        "eager_starts": sum(each.history.eager for each in mine),
        "history_events": round(statistics.mean(each.history.events for each in mine), 1),
        **({} if commits is None else {"commits": asdict(commits)}),
        "history_bytes": await _bytes(contender, [each.sent.name for each in mine[-SAMPLE:]]),
    }


async def _bytes(contender: Contender, names: Sequence[str]) -> int:
    sizes = []
    for name in names:
        handle = contender.client.get_workflow_handle(contender.workflow_id(name))
        info = (await handle.describe()).raw_description.workflow_execution_info
        sizes.append(info.history_size_bytes)
    return round(statistics.mean(sizes))


def steady(measured: Sequence[Measured]) -> list[Measured]:
    """Those that had quote and account at hand; all, where there are not two of them."""
    found = [each for each in measured if not each.history.refreshed]
    return found if len(found) > 1 else list(measured)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Of at least two values."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p95": round(cuts[94], 1), "p99": round(cuts[98], 1)}


def _paired(measured: Sequence[Measured]) -> dict[str, float]:
    """Median over the rounds of the POST of ours divided by each other contender's of the same round."""
    rounds: dict[str, dict[str, float]] = {}
    for each in measured:
        if not each.history.refreshed:
            number = each.sent.name.rpartition("-")[2]
            rounds.setdefault(number, {})[each.sent.contender] = each.post
    found: dict[str, list[float]] = {}
    for times in rounds.values():
        for name, post in times.items():
            if name != OURS and OURS in times:
                found.setdefault(name, []).append(times[OURS] / post)
    return {name: round(statistics.median(values), 2) for name, values in found.items()}
