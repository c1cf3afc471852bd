"""A few deaths of the sweep on a whole installation, and that a sweep which shows nothing is none."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from schemas.orders import OrderStatus
from schemas.risk import CheckName
from tests.servers.processes import needs_proc
from workers.chaos import crash_rest
from workers.chaos.crash_play import WrongEnd
from workers.chaos.crash_rest import READ_TRIES, tried
from workers.chaos.crash_scenario import TRIES_MAX, Scenario
from workers.chaos.crash_sweep import PLAYS_MAX, POINTS_LEAST, NotReached, _Sweep, report_of, sweep, whole
from workers.chaos.crash_table import SHORT, Run, plan
from workers.chaos.crash_tickers import POOL_TICKERS, Tickers
from workers.chaos.judge import Verdict
from workers.chaos.report import Report
from workers.chaos.victims import StageError

FIGURES = ("duplicates", "lost", "unapproved", "unfinished")


@needs_proc
@pytest.mark.timeout(300)
async def test_whoever_dies_at_the_most_dangerous_points_loses_and_doubles_nothing() -> None:
    report = await sweep(plan(SHORT, 1), quiet=True, topology="compact")
    assert report.good, report.wrong
    assert report.figures["reached"] == len(SHORT)
    assert [report.figures[name] for name in FIGURES] == [0, 0, 0, 0]


def died(run: Run) -> None:
    run.died = dict.fromkeys(run.points, "execution")


def nobody_died(run: Run) -> None:
    run.died = {}


def a_stranger_died(run: Run) -> None:
    run.died = dict.fromkeys(run.points, "unknown")


def wrong_end(run: Run) -> None:
    died(run)
    run.wrong = "the order never settled"


@pytest.mark.parametrize(
    ("happen", "told"),
    [
        (died, None),
        (nobody_died, "not reached"),
        (a_stranger_died, "none of ours"),
        (wrong_end, "never settled"),
    ],
)
def test_a_sweep_in_which_nobody_died_is_not_good(happen: Callable[[Run], None], told: str | None) -> None:
    runs = plan(["commit placement.intent before"], 1)
    for run in runs:
        happen(run)
    report = report_of(Verdict(), runs, [], seconds=1)
    assert report.good is (told is None)
    assert told is None or told in " ".join(report.wrong)


def test_a_whole_sweep_of_few_points_is_not_good() -> None:
    assert whole(Report("crash_points", {"points": POINTS_LEAST})).good
    assert "39 points" in " ".join(whole(Report("crash_points", {"points": POINTS_LEAST - 1})).wrong)


class Told:
    """A play on which orders end so, one after the other: at rest, or refused as stale."""

    def __init__(self, *ends: OrderStatus) -> None:
        self.ends = list(ends)
        self.refused: set[str] = set()

    async def submit(self, signal_id: str, **_: str) -> None:
        """Every one is taken."""

    async def until(self, signal_id: str, wanted: object, *, what: str) -> Any:
        status = self.ends.pop(0)
        return SimpleNamespace(status=status, settled=status.is_final, reason=CheckName.STALENESS.value)

    async def order(self, signal_id: str) -> Any:
        return SimpleNamespace(status=OrderStatus.REJECTED, reason=CheckName.STALENESS.value)

    async def filled(self, signal_id: str) -> None:
        self.refused.add(signal_id)


async def test_a_run_whose_every_order_came_too_late_is_played_again() -> None:
    """On a machine that is too slow for it just then; one order that came in time shows what it is for."""
    async with AsyncExitStack() as holds:
        play: Any = Told(*[OrderStatus.REJECTED] * TRIES_MAX)
        scenario = Scenario(play, "cp-1", (), holds)
        with pytest.raises(WrongEnd):
            await scenario.rest()
        assert await scenario.was_turned_away(wrong=True)
        play = Told(OrderStatus.REJECTED, OrderStatus.ACKNOWLEDGED)
        scenario = Scenario(play, "cp-2", (), holds)
        await scenario.rest()
        assert not await scenario.was_turned_away(wrong=False)


class Still:
    """An exchange whose market does as it is told, once it has cut off so many requests."""

    def __init__(self, cut_off: int = 0) -> None:
        self.cut_off = cut_off

    async def control(self, name: str, body: dict[str, Any]) -> None:
        """Nothing is asked of it but quotes."""
        if self.cut_off:
            self.cut_off -= 1
            raise httpx2.ReadError("")


def one_run(
    exchange: Any, to_the_death: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> tuple[_Sweep, Run, Any]:
    """A sweep of one run that takes its ticker there and ends so; and what it plays on."""
    play: Any = SimpleNamespace(tickers=Tickers(exchange), refused=set())
    [run] = plan(["commit placement.intent before"], 1)
    run.scenario = Scenario
    made = _Sweep(play, [run], lambda _: None, quiet=True)
    monkeypatch.setattr(made, "_play_to_the_death", to_the_death)
    return made, run, play


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StageError("not ready"), True),
        (TimeoutError(), True),
        (NotReached("nobody died"), True),
        (WrongEnd("it never settled"), False),
    ],
)
async def test_a_run_whose_process_came_too_late_is_played_again_and_a_wrong_end_is_not(
    error: Exception, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ends_so(*_: object) -> None:
        raise error

    made, run, _ = one_run(Still(), ends_so, monkeypatch)
    await made.all()
    assert set(made.played_again) == ({type(error).__name__} if again else set())
    assert run.wrong is not None, "it is wrong in the end, however often it was played"
    assert str(error) in run.wrong


async def test_a_sweep_goes_on_when_a_run_could_not_take_its_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer that is cut off is no reason to lose an hour's sweep: that run is played again."""

    async def dies(run: Any, *_: object) -> None:
        run.died = dict.fromkeys(run.points, "execution")

    made, run, _ = one_run(Still(cut_off=1), dies, monkeypatch)
    await made.all()
    assert (made.played_again, run.wrong) == ({"ReadError": 1}, None)


@pytest.mark.parametrize("beside", [0, 1])
async def test_a_run_that_showed_nothing_beside_others_is_played_without_them(
    beside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine its moment may never come; on a quiet one it does, or the sweep is not good."""
    plays: list[str] = []

    async def is_reached(run: Any, tag: str) -> bool:
        plays.append(tag)
        reached = len(plays) > PLAYS_MAX * (1 + beside)
        run.wrong = None if reached else "not reached"
        return reached

    play: Any = SimpleNamespace(refused={"cp-0.0", "cp-01.0"})
    [run] = plan(["commit placement.intent before"], 1)
    made = _Sweep(play, [run], lambda _: None, quiet=True)
    monkeypatch.setattr(made, "_played", is_reached)
    await made.all()
    assert plays[:2] == ["cp-0", "cp-0.again-1"]
    assert len(set(plays)) == len(plays)
    assert (run.wrong is None) is (beside == 0)
    assert play.refused == {"cp-01.0"}


@pytest.mark.parametrize(("cut_off", "read"), [(0, True), (READ_TRIES - 1, True), (READ_TRIES, False)])
async def test_what_comes_after_the_last_run_is_asked_again(
    cut_off: int, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_rest, "READ_AGAIN_SECONDS", 0)
    exchange: Any = Still(cut_off)
    with nullcontext() if read else pytest.raises(httpx2.ReadError):
        await tried(lambda play: play.control("quotes", {}), exchange)


@pytest.mark.parametrize(
    "error", [NotReached("nobody died"), WrongEnd("it never settled"), TimeoutError(), None]
)
async def test_nobody_gets_the_ticker_of_a_run_that_did_not_end_well(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its orders may still be on its way there, and would meet what another run has ordered for its own."""

    async def ends_so(*_: object) -> None:
        if error is not None:
            raise error

    made, run, play = one_run(Still(), ends_so, monkeypatch)
    await made._played(run, "cp-1")
    async with AsyncExitStack() as holds:
        given = {await holds.enter_async_context(play.tickers.one()) for _ in range(POOL_TICKERS)}
    assert ("T0001" in given) is (error is None)
