"""``trading chaos --drift N``: every kind of drift N times, unheard, and one pass that must find and mend it.

The update stream brings nothing and nothing is caught up with, so that all is left to the reconciliation. Each
kind has tickers of its own; a pass is one run of the scheduled workflow. After it every difference must have been
told once and by its right name, nothing else may have been, and our books, computed from executions and journal
alone, must be the exchange's to the cent. Then readings that fail, come short or come empty must change nothing.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final

from schemas import wire
from schemas.reconciliation import CASH, DriftKind, Outcome, ReconcileInput
from schemas.reconciliation import Report as Pass
from schemas.wire import Queue
from workers import embedded
from workers.chaos.drift_desk import ZERO, Desk, Told
from workers.chaos.drift_readings import persistently_empty, transient_faults
from workers.chaos.drift_stories import ALONE, CASH_STORIES, KINDS, STOPPING, STORIES
from workers.chaos.judge import CENT, Verdict, positions_off, result_off
from workers.chaos.kill_operator import Operator
from workers.chaos.progress import Meter
from workers.chaos.report import Report
from workers.chaos.rows import read_books, read_theirs
from workers.chaos.stage import Stage, StageError, staged

if TYPE_CHECKING:
    from temporalio.client import Client

TOGETHER: Final = 9
"""Stories that share a pass."""
TICKERS_MAX: Final = 4_000
CASH_OF_ACCOUNT: Final = 10_000_000
SETTINGS: Final[Mapping[str, str]] = {
    "TRADING_RECONCILE_PAUSE_SECONDS": "0.1",
    "TRADING_RECONCILE_FILL_GRACE_SECONDS": "0",
    "TRADING_RECONCILE_ORDER_GRACE_SECONDS": "0",
}
"""Nothing is on its way when a pass begins: every difference counts at once."""
PRODUCT: Final = ("-m", "workers.chaos.drift_product")
DEAF: Final = {"match": {"stream": "trade_updates"}, "action": "drop_frame", "times": None}
SWEPT_WITHIN_SECONDS: Final = 60.0
READINGS_A_ROUND: Final = 1

# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_TOLD: Final = "select count(*) from events where topic = 'system.state_drift'"
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_AUDITED: Final = "select count(*) from audit_log where decision = 'STATE_DRIFT'"
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_ALERTED: Final = "select exists (select from alerts where code = 'NOT_RECONCILED' and cleared_at is null)"
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_FILLED: Final = """
select signal_id, filled_quantity as filled from orders where signal_id = any ($1::text[]) and leg = 'entry'
"""


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument("--kinds", metavar="NAMES", default="", help="only these kinds, by comma")
    group.add_argument(
        "--together", type=int, default=TOGETHER, metavar="N", help=f"stories that share a pass ({TOGETHER})"
    )
    group.add_argument(
        "--readings", type=int, default=READINGS_A_ROUND, metavar="N",
        help=f"wrong answers of the broker for each time ({READINGS_A_ROUND}); 0: none, nor one that lasts",
    )  # fmt: skip


async def run(options: argparse.Namespace) -> Report:
    """Make the run and judge it."""
    began = time.monotonic()
    chosen = [name for name in KINDS if not options.kinds or name in options.kinds.split(",")]
    if not chosen:
        return Report("drift", {"kinds": sorted(KINDS)}, (f"no such kind: {options.kinds}",))
    exchange = (f"--tickers={TICKERS_MAX}", f"--cash={CASH_OF_ACCOUNT}", f"--seed={options.seed}")
    stages = staged(
        topology="compact",
        exchange_options=exchange,
        settings=SETTINGS,
        commands=_commands(),
        keep=options.keep,
    )
    async with stages as stage, Operator(stage) as operator:
        made = _Drift(stage, operator, await stage.temporal_client(), Random(options.seed))  # noqa: S311
        passes = [
            names for _ in range(options.drift) for names in batches(chosen, made.random, options.together)
        ]
        try:
            with Meter(len(passes), quiet=options.json) as meter:
                await made.begin()
                for number, names in enumerate(passes):
                    await made.round(names)
                    meter.show(number + 1, "passes")
                await made.unreadable(options.drift * options.readings)
                await made.told_of()
        except StageError as error:
            # What was found until then is told with it.
            made.verdict.wrong.append(f"the run could not go on: {error}")
    made.sum_up()
    verdict = made.verdict
    verdict.figures["seconds"] = round(time.monotonic() - began, 1)
    return Report(kind="drift", figures=verdict.figures, wrong=tuple(verdict.wrong))


def _commands() -> Mapping[str, Sequence[str]]:
    return {embedded.PRODUCT: (sys.executable, *PRODUCT, embedded.PRODUCT)}


def batches(chosen: Sequence[str], random: Random, together: int) -> list[list[str]]:
    """Each kind once, in passes of a few; what needs a pass of its own has it.

    Stories that leave cash unexplained are spread over the passes: by default no two share one.
    """
    shared = [name for name in chosen if name in STORIES]
    random.shuffle(shared)
    found = [shared[at : at + together] for at in range(0, len(shared), together)] or [[]]
    for number, name in enumerate(name for name in chosen if name in CASH_STORIES):
        found[number % len(found)].append(name)
    found += [[name] for name in chosen if name in ALONE]
    found.append([name for name in chosen if name in STOPPING])
    return [names for names in found if names]


class _Drift:
    """One run on its stage."""

    def __init__(self, stage: Stage, operator: Operator, client: "Client", random: Random) -> None:
        self._stage = stage
        self._operator = operator
        self._client = client
        self.random = random
        self._tickers = iter(range(1, TICKERS_MAX + 1))
        self._made: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._passes = 0
        self._findings = 0
        self._read_wrongly: Counter[str] = Counter()
        self._seconds: list[float] = []
        self.verdict = Verdict()

    async def begin(self) -> None:
        """Keep the Schedule's own runs out: each pass here is asked for, so that it is known what it must find."""
        await self._client.get_schedule_handle(wire.SCHEDULE_RECONCILIATION).pause(note="a fault run")

    async def round(self, names: Sequence[str]) -> None:
        """A few stories, the pass that must find them, and the one after it."""
        desks = [Desk(self._stage, self._next_tickers()) for _ in names]
        stories: list[AsyncIterator[Told]] = [
            KINDS[name](desk) for name, desk in zip(names, desks, strict=True)
        ]
        await asyncio.gather(*(desk.open() for desk in desks))
        await asyncio.gather(*(anext(story) for story in stories))
        await self._stage.exchange.control("faults", DEAF)
        wanted = await asyncio.gather(*(anext(story) for story in stories))
        began = time.monotonic()
        found = await self.reconcile()
        self._seconds.append(time.monotonic() - began)
        await self._stage.exchange.clear_faults()
        good = self._compare(names, wanted, found) & await self._equal(names)
        if any(told.killed for told in wanted):
            await self._release()
        after = [await anext(story, Told()) for story in stories]
        good &= self._compare(names, after, await self.reconcile(), again=True) & await self._equal(names)
        good &= await self._counted_once(names, desks)
        self._made.update(names)
        self._found.update(names if good else ())

    def _next_tickers(self) -> tuple[str, str]:
        return f"T{next(self._tickers):04d}", f"T{next(self._tickers):04d}"

    async def reconcile(self) -> Pass:
        """One run of the scheduled workflow."""
        report: Pass = await self._client.execute_workflow(
            wire.WORKFLOW_RECONCILIATION,
            ReconcileInput(trigger="a fault run"),
            id=f"reconcile-{uuid.uuid4()}",
            task_queue=Queue.TRADING.value,
            result_type=Pass,
        )
        self._passes += 1
        self._findings += report.found
        return report

    def _compare(
        self, names: Sequence[str], wanted: Sequence[Told], found: Pass, *, again: bool = False
    ) -> bool:
        """Whether the pass has told of exactly what has happened."""
        wrong = differences(wanted, found)
        which = "the pass after" if again else "the pass"
        self.verdict.wrong += [f"{which} {', '.join(names)}: {reason}" for reason in wrong]
        return not wrong

    async def _equal(self, names: Sequence[str]) -> bool:
        """Whether books from executions and journal alone are the exchange's: shares, cash, the day's result."""
        theirs = await read_theirs(self._stage)
        async with self._stage.database() as connection:
            ours = await read_books(connection)
        wrong = sorted(positions_off(ours, theirs))
        if abs(ours.cash - theirs.cash) >= CENT:
            wrong.append(f"cash {ours.cash}, the exchange's {theirs.cash}")
        if result_off(ours, theirs) >= CENT:
            wrong.append(f"the day's result is off by {result_off(ours, theirs)}")
        if wrong:
            self.verdict.wrong.append(f"after {', '.join(names)} the books differ: {'; '.join(wrong)}")
        return not wrong

    async def _counted_once(self, names: Sequence[str], desks: Iterable[Desk]) -> bool:
        """Whether our orders are filled as the exchange says."""
        orders = {order["signal_id"]: order["broker_order_id"] for desk in desks for order in desk.orders}
        async with self._stage.database() as connection:
            ours = {row["signal_id"]: row["filled"] for row in await connection.fetch(_FILLED, list(orders))}
        theirs = {name: await self._filled_there(order_id) for name, order_id in orders.items()}
        wrong = [
            f"{ours[name]} filled, {there} at the exchange"
            for name, there in theirs.items()
            if ours[name] != there
        ]
        if wrong:
            self.verdict.wrong.append(f"orders of {', '.join(names)}: {'; '.join(wrong)}")
        return not wrong

    async def _filled_there(self, order_id: str | None) -> Decimal:
        """By the order, or by what has replaced it at last."""
        filled = ZERO
        while order_id is not None:
            order = await self._stage.exchange.ask("GET", f"/v2/orders/{order_id}")
            filled, order_id = Decimal(order["filled_qty"]), order["replaced_by"]
        return filled

    async def _release(self) -> None:
        await self._operator.until_swept(SWEPT_WITHIN_SECONDS)
        await self._operator.release()

    async def unreadable(self, count: int) -> None:
        """Readings that fail, come short or come empty: nothing is found, nothing changes."""
        for name, faults in transient_faults(count):
            for fault in faults:
                await self._stage.exchange.control("faults", fault)
            await self._unchanged(name)
            await self._stage.exchange.clear_faults()
        if count:
            await self._stage.exchange.control("faults", persistently_empty())
            await self._unchanged("no positions", lasts=True)
            await self._stage.exchange.clear_faults()
            await self._unchanged("positions again")

    async def _unchanged(self, name: str, *, lasts: bool = False) -> None:
        async with self._stage.database() as connection:
            before = await read_books(connection), await connection.fetchval(_TOLD)
        found = await self.reconcile()
        async with self._stage.database() as connection:
            after = await read_books(connection), await connection.fetchval(_TOLD)
            alerted = await connection.fetchval(_ALERTED)
        self._read_wrongly[name] += 1
        outcome = Outcome.FAILED if lasts else Outcome.CLEAN
        if (found.outcome, before, alerted) != (outcome, after, lasts):
            told = f"{found.outcome.value} ({found.detail}), alert: {alerted}, books kept: {before == after}"
            self.verdict.wrong.append(f"{name}: {told}")

    async def told_of(self) -> None:
        """Each difference is one event and one audit row."""
        async with self._stage.database() as connection:
            told = await connection.fetchval(_TOLD), await connection.fetchval(_AUDITED)
        if told != (self._findings, self._findings):
            self.verdict.wrong.append(f"{self._findings} differences, {told[0]} events, {told[1]} audit rows")

    def sum_up(self) -> None:
        """What the run came to."""
        seconds = sorted(self._seconds) or [0.0]
        self.verdict.figures |= {
            "kinds": len(self._made),
            "made": self._made.total(),
            "found_in_one_pass_and_named": self._found.total(),
            "missed": dict(self._made - self._found),
            "passes": self._passes,
            "differences_told": self._findings,
            "pass_seconds": {"p50": round(seconds[len(seconds) // 2], 2), "max": round(seconds[-1], 2)},
            "readings_at_fault": dict(self._read_wrongly),
        }


def differences(wanted: Sequence[Told], found: Pass) -> list[str]:
    """In what a pass did not tell what it had to."""
    expected = Counter(each for told in wanted for each in told.findings)
    seen = Counter((each.kind, each.ticker or "") for each in found.findings if each.subject != CASH)
    wrong = [f"not found: {_named(expected - seen)}"] if expected - seen else []
    wrong += [f"found and not so: {_named(seen - expected)}"] if seen - expected else []
    cash = sum((told.cash for told in wanted), ZERO)
    told = sum((each.difference or ZERO for each in found.findings if each.subject == CASH), ZERO)
    if cash != told:
        wrong.append(f"unexplained cash is {cash}, told as {told}")
    booked = sum(told.booked for told in wanted)
    if booked != found.booked:
        wrong.append(f"{found.booked} activities booked, {booked} were listed")
    if found.killed is not any(told.killed for told in wanted):
        wrong.append(f"trading {'was' if found.killed else 'was not'} stopped")
    wrong += [f"{each.kind.value} says nothing" for each in found.findings if not (each.detail and each.do)]
    outcome = Outcome.DRIFT if expected or cash else Outcome.CLEAN
    return wrong + (
        [] if found.outcome is outcome else [f"it ended as {found.outcome.value}: {found.detail}"]
    )


def _named(findings: Counter[tuple[DriftKind, str]]) -> str:
    return ", ".join(f"{kind.value} of {ticker}" for kind, ticker in findings.elements())
