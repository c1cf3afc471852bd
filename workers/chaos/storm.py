"""``trading chaos --signals N --kills K``: signals without a break while everything is killed and the broker lies.

The exchange's ledger judges. See `workers.chaos.judge` for what must not be, and `wrong_run` below for what a run
must have been for its verdict to count.
"""

import argparse
import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from schemas import wire
from schemas.reconciliation import ReconcileInput
from schemas.reconciliation import Report as Reconciled
from simulation.mixes import load_mix, mix_names
from storage.database import Connection
from workers.chaos.audit_judge import judge_audit
from workers.chaos.judge import Verdict, judge, uncovered
from workers.chaos.killer import Killer, choose, percentiles, until_progress, wrong_kills
from workers.chaos.ledger import Ledger
from workers.chaos.progress import Meter
from workers.chaos.report import Report, too_long
from workers.chaos.rows import count_moving, count_unsent, read_audit, read_ours, read_progress, read_theirs
from workers.chaos.stage import Stage, staged
from workers.chaos.trader import TICKERS, Trader, propose
from workers.chaos.victims import DATABASE, GATEWAY, TEMPORAL, WORKERS, StageError

KILLS: Final = 200
MIX: Final = "standard"
EXCHANGE: Final = (f"--tickers={TICKERS}", "--cash=10000000")
SPREAD_SECONDS: Final = 3.0
"""Signals that fall due with one kill are spread over this long."""
SENT_WITHIN_SECONDS: Final = 120.0
SETTLED_WITHIN_SECONDS: Final = 480.0
"""Above the five minutes over which the absence of a third POST is proved."""
EQUAL_WITHIN_SECONDS: Final = 90.0
"""Above the minute after which the broker's list of fills is read again."""
RECONCILED_WITHIN_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.5
SHARE_LEAST: Final = 0.8
SIGNALS_FULL: Final = 1000
MINUTES_MAX: Final = 25
"""Of a run of ``SIGNALS_FULL``, on two cores."""
INJECTED_LEAST: Final = 5
"""How often each fault of the mix is injected in a run of ``SIGNALS_FULL``; shorter runs need their part."""


@dataclass(frozen=True)
class Wanted:
    """The run that was asked for."""

    signals: int
    kills: int
    mix: str
    seed: int
    quiet: bool
    keep: Path | None = None
    topology: str = "isolated"


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument("--kills", type=int, default=KILLS, metavar="K", help=f"kills of processes ({KILLS})")
    group.add_argument("--mix", choices=mix_names(), default=MIX, help=f"faults of the exchange ({MIX})")


async def run(options: argparse.Namespace) -> Report:
    """Make the run and judge it."""
    return await storm(
        Wanted(
            signals=options.signals,
            kills=options.kills,
            mix=options.mix,
            seed=options.seed,
            quiet=options.json,
            keep=options.keep,
            topology=options.topology,
        )
    )


async def storm(wanted: Wanted) -> Report:
    """The whole run: rage, calm, judgement."""
    began = time.monotonic()
    options = (*EXCHANGE, f"--seed={wanted.seed}")
    async with staged(topology=wanted.topology, exchange_options=options, keep=wanted.keep) as stage:
        made = _Storm(stage, wanted)
        with Meter(wanted.signals, quiet=wanted.quiet) as meter:
            await made.rage(meter)
            await made.calm(meter)
        verdict = await made.judged()
        died = Counter(
            {name: stage.deaths(name) for name in {stage.name(name) for name in (*WORKERS, GATEWAY)}}
        )
        died -= Counter(stage.name(kill.victim) for kill in made.killer.done)
    seconds = time.monotonic() - began
    verdict.figures |= {"unasked_restarts": dict(died), "seconds": round(seconds, 1)}
    if wanted.signals >= SIGNALS_FULL:
        verdict.wrong += too_long(seconds, MINUTES_MAX)
    return Report(kind="signals", figures=verdict.figures, wrong=tuple(verdict.wrong))


class _Storm:
    """One run on its stage."""

    def __init__(self, stage: Stage, wanted: Wanted) -> None:
        random = Random(wanted.seed)  # noqa: S311 - it must be repeatable
        self._stage = stage
        self._wanted = wanted
        self._plan = load_mix(wanted.mix, wanted.seed)
        self._trader = Trader(stage.gateway, propose(wanted.signals, random), random)
        self.killer = Killer(stage, choose(wanted.kills, random), random)
        self._reconciled: Reconciled | None = None
        self._ledger = Ledger()

    async def rage(self, meter: Meter) -> None:
        """Signals, kills and faults, until every signal has its answer and every kill is done."""
        wanted = self._wanted
        await self._stage.exchange.control("faults", self._plan.as_json())

        def killed(count: int) -> None:
            self._trader.fall_due(wanted.signals * (count + 1) // max(wanted.kills, 1))
            meter.show(len(self._trader.taken), f"signals taken, {count} kills of {wanted.kills}")

        killed(0)
        try:
            async with asyncio.TaskGroup() as together:
                together.create_task(self._trader.run(SPREAD_SECONDS))
                together.create_task(self.killer.run(killed))
        except ExceptionGroup as failed:
            # What did not come back is what the run is judged by; whatever else failed stays told as its cause.
            raise (failed.subgroup(StageError) or failed).exceptions[0] from failed

    async def calm(self, meter: Meter) -> None:
        """Until every order was sent; then without faults until each has settled or rests, and the books agree."""
        stage = self._stage
        for name in (DATABASE, TEMPORAL, *WORKERS, GATEWAY):
            await stage.until_ready(name)
        await self._until_none(count_unsent, SENT_WITHIN_SECONDS, meter, "sent")
        await stage.exchange.clear_faults()
        await self._until_none(count_moving, SETTLED_WITHIN_SECONDS, meter, "settled or at rest")
        gives_up = time.monotonic() + EQUAL_WITHIN_SECONDS
        while not await self._at_peace() and time.monotonic() < gives_up:
            meter.show(self._wanted.signals, "orders; the books and the stops catch up")
            await asyncio.sleep(POLL_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(RECONCILED_WITHIN_SECONDS):
                self._reconciled = await self._reconcile()

    async def _until_none(
        self, count: Callable[[Connection], Awaitable[int]], seconds_max: float, meter: Meter, what: str
    ) -> None:
        """Wait until it counts none; what then is left is the judge's matter."""
        left, gives_up = self._wanted.signals, time.monotonic() + seconds_max
        while left and time.monotonic() < gives_up:
            with suppress(OSError, asyncpg.PostgresError):
                async with self._stage.database() as connection:
                    left = await count(connection)
            meter.show(self._wanted.signals - left, what)
            await asyncio.sleep(POLL_SECONDS)

    async def _at_peace(self) -> bool:
        """Whether the books are equal and every stop stands."""
        async with self._stage.database() as connection:
            ours = await read_ours(connection)
        equal = ours.books == await read_theirs(self._stage)
        return equal and not uncovered((await self._read_ledger()).top_orders, ours)

    async def _read_ledger(self) -> Ledger:
        """The ledger up to now."""
        async for record in self._stage.exchange.read(self._ledger.seq):
            self._ledger.add(record)
        return self._ledger

    async def _reconcile(self) -> Reconciled:
        client = await self._stage.temporal_client()
        queue = wire.Queue.TRADING if self._wanted.topology == "compact" else wire.Queue.OPERATIONS
        report: Reconciled = await client.execute_workflow(
            wire.WORKFLOW_RECONCILIATION,
            ReconcileInput(trigger="a fault run"),
            id=f"reconcile-{uuid.uuid4()}",
            task_queue=queue.value,
            result_type=Reconciled,
        )
        return report

    async def judged(self) -> Verdict:
        """The verdict on this run, and on whether it was one."""
        stage, kills = self._stage, self.killer.done
        ledger = await self._read_ledger()
        theirs = await read_theirs(stage)
        async with stage.database() as connection:
            ours = await read_ours(connection)
            events = await read_progress(connection)
            told = await read_audit(connection)
        verdict = judge(ledger, ours, theirs, self._trader.taken)
        judge_audit(verdict, told, ledger, theirs)
        outcome = None if self._reconciled is None else self._reconciled.outcome.value
        verdict.figures |= {
            "reconciliation": outcome,
            "answers": {str(code): count for code, count in self._trader.answers.items()},
            "kills": dict(Counter(kill.victim for kill in kills)),
            "recovery_seconds": percentiles(kill.seconds for kill in kills),
            "progress_seconds": percentiles(until_progress(kills, events)),
            "injected": dict(ledger.faults),
        }
        if outcome != "CLEAN":
            verdict.wrong.append(f"the reconciliation at the end is {outcome}, not CLEAN")
        verdict.wrong += wrong_kills(kills, self._wanted.kills)
        verdict.wrong += wrong_run(verdict.figures, self._wanted, [each.action for each in self._plan.faults])
        return verdict


def wrong_run(figures: Mapping[str, Any], wanted: Wanted, actions: list[str]) -> list[str]:
    """Why this run shows too little, whatever its verdict."""
    wrong = []
    if figures["signals"] < wanted.signals:
        wrong.append(f"{figures['signals']} signals of {wanted.signals} were taken")
    if figures["approved"] < SHARE_LEAST * wanted.signals:
        wrong.append(f"only {figures['approved']} signals of {wanted.signals} were approved")
    worked = figures["filled"] + figures["resting"]
    if worked < SHARE_LEAST * figures["approved"]:
        wrong.append(f"only {worked} of {figures['approved']} approved orders were filled or rest")
    least = INJECTED_LEAST * wanted.signals // SIGNALS_FULL
    injected = figures["injected"]
    return wrong + [
        f"{action} was injected {injected.get(action, 0)} times, {least} are needed"
        for action in actions
        if injected.get(action, 0) < least
    ]
