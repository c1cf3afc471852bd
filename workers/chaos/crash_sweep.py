"""``trading chaos --crash-points``: one process after the other dies at every point there is, three times.

Each run orders one point, plays a scenario that comes to it, sees a process die there, and waits for the right end
of what was under way. What dies is started again by the supervisor. The exchange's ledger judges the whole.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg

from observability import crash_points
from workers.chaos.crash_alerts import WAKE_SECRET
from workers.chaos.crash_play import Play, WrongEnd
from workers.chaos.crash_rest import CUT_OFF, calm, judged, tried
from workers.chaos.crash_scenario import Scenario
from workers.chaos.crash_table import BESIDE, REPEATS, SHORT, Run, plan
from workers.chaos.crash_tickers import EXCHANGE_OPTIONS
from workers.chaos.judge import Verdict, together
from workers.chaos.progress import Meter
from workers.chaos.receivers import PAGERDUTY_PATH, ROUTING_KEY, SLACK_PATH, Receiver
from workers.chaos.report import Report
from workers.chaos.stage import Stage, staged
from workers.chaos.victims import StageError, gone

POINTS_LEAST: Final = 40
REACHED_SECONDS: Final = 150.0
"""Within which somebody must have died at an ordered point; a dead worker's step waits for up to a minute."""
PLAYS_MAX: Final = 3
"""Of one run. On a slow machine a signal may come too late to leave: its scenario then shows nothing."""
NEAR_MAX: Final = 6
"""Runs of one victim that are prepared or come to their end at a time: more orders waiting would only ask again."""
REFUSED_SHARE_MAX: Final = 0.2
STALE: Final = "refused as stale"
POLL_SECONDS: Final = 0.05
POOL_SIZE: Final = 8
SETTINGS: Final[dict[str, str]] = {
    "TRADING_RECONCILE_PAUSE_SECONDS": "0.2",
    "TRADING_RECONCILE_FILL_GRACE_SECONDS": "0",
    "TRADING_RECONCILE_ORDER_GRACE_SECONDS": "0",
    "TRADING_BROKER_REQUESTS_PER_MINUTE": "6000",
}
"""Every difference counts at once, and nobody waits for the right to ask."""


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument(
        "--repeats", type=int, default=REPEATS, metavar="N", help=f"runs of each point ({REPEATS})"
    )
    group.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="points like this, e.g. '*placement.*'"
    )
    group.add_argument("--short", action="store_true", help="the most dangerous points, once")


async def run(options: argparse.Namespace) -> Report:
    """Make the sweep and judge it."""
    patterns = SHORT if options.short else tuple(options.only)
    repeats = 1 if options.short else options.repeats
    report = await sweep(
        plan(patterns, repeats), quiet=options.json, topology=options.topology, keep=options.keep
    )
    return report if patterns else whole(report)


def whole(report: Report) -> Report:
    """The report of a run that chose no points: too few of them would show nothing."""
    points = report.figures["points"]
    wrong = (f"only {points} points, {POINTS_LEAST} are needed",) if points < POINTS_LEAST else ()
    return replace(report, wrong=(*report.wrong, *wrong))


async def sweep(
    runs: list[Run], *, quiet: bool, topology: str = "isolated", keep: Path | None = None
) -> Report:
    """Play every run, and judge. The repeats, which mostly wait, go side by side, each on its own installation."""
    began = time.monotonic()
    shares = [list(share) for _, share in groupby(runs, key=lambda run: run.number)]
    with Meter(len(runs), quiet=quiet) as meter:

        def told(run: Run) -> None:
            done = sum(bool(each.died or each.wrong) for each in runs)
            meter.show(done, f"runs; last died: {', '.join(run.points)}")

        playing = [
            asyncio.create_task(
                _on_a_stage(share, told, quiet=quiet, topology=topology, keep=keep and keep / str(number))
            )
            for number, share in enumerate(shares)
        ]
        try:
            played = await asyncio.gather(*playing)
        finally:
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)
    verdict = together([each for each, _ in played])
    wrong = [reason for _, reasons in played for reason in reasons]
    wrong += _too_many(verdict.figures["refused_as_stale"], verdict)
    return report_of(verdict, runs, wrong, seconds=time.monotonic() - began)


async def _on_a_stage(
    runs: list[Run], told: Callable[[Run], None], *, quiet: bool, topology: str, keep: Path | None
) -> tuple[Verdict, list[str]]:
    """Play them on one installation; its verdict, and what did not come to rest there."""
    receiver = Receiver()
    with TemporaryDirectory(prefix="crash-points-") as name:
        folder = Path(name)
        async with (
            receiver.up(),
            staged(
                topology=topology,
                event_bus="redis",
                exchange_options=EXCHANGE_OPTIONS,
                settings={
                    **SETTINGS,
                    crash_points.VARIABLE: name,
                    "TRADING_ALERT_PAGERDUTY_URL": f"{receiver.url}{PAGERDUTY_PATH}",
                },
                secrets={
                    "trading_alert_slack_url": f"{receiver.url}{SLACK_PATH}",
                    "trading_alert_pagerduty_routing_key": ROUTING_KEY,
                    "trading_broker_wake_secret": WAKE_SECRET,
                },
                keep=keep,
            ) as stage,
            _playing(stage, folder, receiver) as play,
        ):
            made = _Sweep(play, runs, told, quiet=quiet)
            await made.all()
            not_calm = await tried(calm, play)
            verdict = await tried(judged, play)
            verdict.figures |= {
                "refused_as_stale": len(play.refused),
                "played_again": made.played_again.total(),
                "played_again_for": dict(made.played_again),
            }
    return verdict, not_calm


@asynccontextmanager
async def _playing(stage: Stage, folder: Path, receiver: Receiver) -> AsyncIterator[Play]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(stage.owner_dsn, min_size=1, max_size=POOL_SIZE)
        )
        yield Play(stage, folder, pool, await stage.temporal_client(), receiver)


class NotReached(WrongEnd):
    """Nobody came to an ordered point in time."""


class _Sweep:
    """Plays runs side by side; each brings about its own death and awaits its own end."""

    def __init__(self, play: Play, runs: list[Run], told: Callable[[Run], None], *, quiet: bool) -> None:
        """``told`` hears of each run that has ended."""
        self.runs = runs
        self.played_again: Counter[str] = Counter()
        """How often for which reason."""
        self._nothing: dict[int, list[str]] = defaultdict(list)
        """Why each play of a run showed nothing, by the run's place."""
        self._play = play
        self._told = told
        self._quiet = quiet
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._near: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(NEAR_MAX))

    async def all(self) -> None:
        """Everything side by side that may be; then, one by one, what showed nothing so, and what must be alone."""
        beside = [run for run in self.runs if not run.scenario.alone]
        shown = await asyncio.gather(*(self._one(run) for run in beside))
        left = [run for run, was in zip(beside, shown, strict=True) if not was]
        for run in (*left, *(run for run in self.runs if run.scenario.alone)):
            await self._one(run)

    async def _one(self, run: Run) -> bool:
        """Play a run; where it showed nothing, because of the machine or of its neighbours, play it again."""
        async with self._near[run.victim]:
            shown = await self._until_shown(run)
        if run.wrong is not None and not self._quiet:
            sys.stderr.write(f"{'WRONG' if shown else 'not shown'}: {run.wrong}\n")
        self._told(run)
        return shown

    async def _until_shown(self, run: Run) -> bool:
        number = self.runs.index(run)
        for _ in range(PLAYS_MAX):
            if before := self._nothing[number]:
                self._forget(run, f"cp-{number}.", before[-1])
            nothing = await self._played(run, f"cp-{number}" + (f".again-{len(before)}" if before else ""))
            if nothing is None:
                return True
            before.append(nothing)
        return False

    def _forget(self, run: Run, prefix: str, why: str) -> None:
        """What a play has come to that showed nothing."""
        if not self._quiet:
            sys.stderr.write(f"again: {run.wrong or f'{run.title}: {why}'}\n")
        self.played_again[why] += 1
        self._play.refused = {name for name in self._play.refused if not name.startswith(prefix)}
        run.wrong = None
        run.died.clear()

    async def _played(self, run: Run, tag: str) -> str | None:
        """Play it once; what went wrong stands in the run. The reason where it showed nothing, good or wrong."""
        async with AsyncExitStack() as holds:
            scenario = run.scenario(self._play, tag, run.points, holds)
            nothing = await self._ended(run, scenario)
            try:
                if nothing is None and await scenario.was_turned_away(wrong=run.wrong is not None):
                    nothing = STALE
            except CUT_OFF as error:
                run.wrong, nothing = f"{run.title}: {type(error).__name__}: {error}", type(error).__name__
            if nothing is not None or run.wrong is not None:
                # A POST of it that is made again would meet the fault that another run has ordered for its own.
                scenario.leave_tickers()
        return nothing

    async def _ended(self, run: Run, scenario: Scenario) -> str | None:
        """Play it to its end. The error's name where that says nothing: it was cut off, or nobody died."""
        provoking: list[asyncio.Task[None]] = []
        try:
            await scenario.take_ticker()
            await self._play_to_the_death(run, scenario, provoking)
            await asyncio.gather(*provoking)
            await scenario.finish()
        except NotReached as error:
            run.wrong = f"{run.title}: {error}"
            return type(error).__name__
        except (*CUT_OFF, StageError) as error:
            # Also a process that did not come back in time: it must at the next play, or in the end.
            run.wrong = f"{run.title}: {type(error).__name__}: {error}"
            return type(error).__name__
        except WrongEnd as error:
            run.wrong = f"{run.title}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's, and the others go on
            run.wrong = f"{run.title}: {type(error).__name__}: {error}"
        finally:
            for task in provoking:
                task.cancel()
            await asyncio.gather(*provoking, return_exceptions=True)
        return None

    async def _play_to_the_death(
        self, run: Run, scenario: Scenario, provoking: list["asyncio.Task[None]"]
    ) -> None:
        """One run for each victim at a time: two would leave it no time to come back."""
        await scenario.prepare()
        turn = run.points[0] if run.scenario.cannot_wait else self._play.stage.name(run.victim)
        async with self._turns[turn]:
            if run.victim != BESIDE and not run.scenario.at_start:
                await self._play.stage.until_ready(run.victim)
            try:
                await scenario.hold()
                await self._provoke(run, scenario, provoking)
            finally:
                await scenario.clear()

    async def _provoke(self, run: Run, scenario: Scenario, provoking: list["asyncio.Task[None]"]) -> None:
        """Order the points and go on provoking until somebody has died at each."""
        play = self._play
        for point in run.points:
            crash_points.order(play.folder, point)
        gives_up, provoke_at = time.monotonic() + REACHED_SECONDS * len(run.points), 0.0
        try:
            while left := [point for point in run.points if point not in run.died]:
                now = time.monotonic()
                if run.victim != BESIDE and not play.stage.is_up(run.victim):
                    provoke_at = now + (scenario.again_seconds or 0)  # Nobody is there to be provoked.
                if not provoking or (scenario.again_seconds is not None and now >= provoke_at):
                    provoking.append(asyncio.create_task(scenario.provoke()))
                    provoke_at = now + (scenario.again_seconds or 0)
                for point in left:
                    pid = crash_points.died_at(play.folder, point)
                    if pid is not None:
                        run.died[point] = await self._who(pid)
                if now > gives_up or _failed(provoking):
                    break
                await asyncio.sleep(POLL_SECONDS)
            if left := [point for point in run.points if point not in run.died]:
                why = next(iter(_failed(provoking)), None)
                raise NotReached(f"not reached: {', '.join(left)}{f' ({why})' if why else ''}")
        finally:
            for point in run.points:
                (play.folder / point).unlink(missing_ok=True)

    async def _who(self, pid: int) -> str:
        """The name of a process that has died, once it is gone.

        Raises:
            WrongEnd: it lives.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(REACHED_SECONDS):
                await gone(pid)
        if _lives(pid):
            raise WrongEnd(f"process {pid} passed its point and lives")
        told = {each.event.pid: each.event.name for each in self._play.stage.told}
        return told.get(pid, "beside" if pid in self._play.children else "unknown")


def _too_many(refused: int, verdict: Verdict) -> list[str]:
    """Whether so many signals were refused for want of fresh data that the rest shows little."""
    taken = verdict.figures["signals"]
    return (
        [f"{refused} of {taken} signals were refused as stale"] if refused > REFUSED_SHARE_MAX * taken else []
    )


def _failed(tasks: Iterable["asyncio.Task[None]"]) -> list[BaseException]:
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    return [error for task in ended if (error := task.exception()) is not None]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def report_of(verdict: Verdict, runs: list[Run], not_calm: list[str], *, seconds: float) -> Report:
    """What the runs came to. A run in which nobody died at its point is a failure of the sweep."""
    died = Counter(name for run in runs for name in run.died.values())
    table: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for point in run.points:
            if run.scenario.__name__ not in table[point]:
                table[point].append(run.scenario.__name__)
    figures = {
        "points": len(table),
        "runs": sum(len(run.points) for run in runs),
        "reached": sum(len(run.died) for run in runs),
        "died": dict(died),
        **verdict.figures,
        "covered_by": {point: " ".join(scenarios) for point, scenarios in sorted(table.items())},
        "seconds": round(seconds, 1),
    }
    wrong = [run.wrong for run in runs if run.wrong is not None]
    wrong += [
        f"{run.title}: not reached" for run in runs if run.wrong is None and set(run.died) != set(run.points)
    ]
    if died["unknown"]:
        wrong.append(f"{died['unknown']} deaths of processes that are none of ours")
    return Report("crash_points", figures, (*wrong, *not_calm, *verdict.wrong))
