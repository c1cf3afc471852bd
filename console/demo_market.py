"""``trading demo --market``: the demonstration on recorded quotes, judged by the files themselves."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console.acts.limits import Change, Wanted, change_limits
from console.acts.people import Actor
from console.common import utc_now
from console.demo import Demonstration
from console.demo_exchange import Ledger
from console.demo_follow import Line
from console.demo_scenes import EARLY, Example, Scene, examples_at, plan, selling
from console.demo_signals import SUFFIX_BYTES
from console.errors import BadUsage, Refused
from console.kill_steps import operator
from console.limits_change import edited
from console.orders import ask_cancel
from console.recordings import Recording, judge_fills, read_recordings
from console.signal_files import as_text
from schemas.orders import OrderStatus
from schemas.risk import CheckName, LimitScope
from storage.events import timeline
from storage.orders import read_order

if TYPE_CHECKING:
    import asyncpg

SCENE_SECONDS: Final = 25.0
BEFORE_THE_FIRST: Final = timedelta(hours=1)
"""Market time in which everything may start, at any speed, before the first scene is gone to."""
START_LATE_MAX: Final = timedelta(minutes=2)
"""Real time for everything to start in while a named start's clock already runs."""
CLOCK_SECONDS: Final = 2.5
"""After a jump: the product reads the exchange's clock anew at most every 2 s."""
PLANNED_SPEED_MAX: Final = Decimal(2)
"""Above it a quote can grow old while an order is on its way, so no end is sure."""


@dataclass(frozen=True)
class Replay:
    """Which recorded quotes are played, from when, how fast."""

    files: tuple[Path, ...]
    recordings: dict[str, Recording]
    start: datetime | None
    speed: Decimal
    scenes: tuple[Scene, ...]

    @classmethod
    def load(cls, files: tuple[Path, ...], start: str | None, speed: Decimal) -> "Replay":
        """Read the files and choose where to go: the named start alone, or each recorded day.

        Raises:
            BadUsage: a file cannot be read, the start is no moment, or there is none to trade at.
        """
        found, named = read_recordings(files), None if start is None else _moment(start)
        if named is not None and not any(each.covers(named) for each in found.values()):
            days = ", ".join(sorted(f"{each.symbol} {each.first.date()}" for each in found.values()))
            raise BadUsage(f"--start {start} lies outside the recorded quotes", do=f"recorded are: {days}")
        scenes = plan(found) if named is None else [Scene(None, "the named start")]
        if not scenes:
            raise BadUsage("no morning of a trading day is in these files", do="name a moment with --start")
        return cls(files, found, named, speed, tuple(scenes))

    @property
    def options(self) -> tuple[str, ...]:
        """What `trading up` is started with; a planned scene is gone to later, start-up takes its time."""
        start = self.start or self.scenes[0].at
        assert start is not None, "every planned scene has its moment"
        if self.start is None:
            start -= BEFORE_THE_FIRST
        files = (f"--market={file}" for file in self.files)
        return (*files, f"--start={start.isoformat()}", f"--speed={self.speed}")

    def demonstration(self, *parts: Any) -> "MarketDemonstration":
        """The run over a stack that is up: addresses, connection, gateway, screen."""
        return MarketDemonstration(self, *parts)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadUsage(f"--start: {error}", do="give it as 2013-10-08T10:00:00-04:00") from error
    if moment.tzinfo is None:
        raise BadUsage(f"--start {text} has no offset", do="give it as 2013-10-08T10:00:00-04:00")
    return moment


class MarketDemonstration(Demonstration):
    """One run on recorded quotes over a stack that is up."""

    def __init__(self, replay: Replay, *parts: Any) -> None:
        super().__init__(*parts)
        self._replay = replay
        self._suffix = secrets.token_hex(SUFFIX_BYTES)
        self._ends: dict[str, OrderStatus] = {}
        self._visited: list[dict[str, str]] = []
        self._story: str | None = None

    async def run(self) -> dict[str, Any]:
        """Go from scene to scene, then judge signals by their rows and fills by the files.

        Raises:
            Refused: the folder's market has gone past the first scene, and its clock never goes back.
        """
        await self._check_clock()
        before = await self._exchange.ledger()
        self._after = await self._exchange.ledger_seq()
        await allow_early(self._connection)
        lines: list[Line] = []
        with self._screen.live():
            for number, scene in enumerate(self._replay.scenes, 1):
                lines = await self._play(scene, number)
        if self._story is not None:
            self._screen.story(self._story, await timeline(self._connection, self._story))
        return await self._judge(lines, before)

    async def _check_clock(self) -> None:
        first, now = self._replay.scenes[0].at or self._replay.start, await self._exchange.clock()
        assert first is not None, "a scene without a moment is the named start"
        late = now - first
        if late > (timedelta() if self._replay.start is None else START_LATE_MAX * float(self._replay.speed)):
            raise Refused(
                f"this folder's market already stands at {now.isoformat()}, past {first.isoformat()}",
                do="choose another --data-dir, or none",
            )

    async def _play(self, scene: Scene, number: int) -> list[Line]:
        if scene.at is not None:
            await self._exchange.set_clock(scene.at)
            await asyncio.sleep(CLOCK_SECONDS)
        now = await self._exchange.clock()
        tickers = sorted(self._replay.recordings)
        examples = examples_at(now, await self._exchange.quotes(tickers), tickers, scene=number)
        self._visited.append({"scene": scene.what, "at": now.isoformat()})
        resting = await self._propose(examples)

        def the_rest_has_ended(lines: list[Line]) -> bool:
            return all(line.ended or (line.signal_id in resting and _works(line)) for line in lines)

        await self._follower.until(the_rest_has_ended, seconds_max=SCENE_SECONDS, show=self._screen.show)
        for signal_id in resting:
            order = await read_order(self._connection, signal_id)
            await ask_cancel(self._addresses, order, "the demonstration's operator")
        await self._follower.until(_all_ended, seconds_max=SCENE_SECONDS, show=self._screen.show)
        await self._propose(selling(examples))
        return await self._follower.until(_all_ended, seconds_max=SCENE_SECONDS, show=self._screen.show)

    async def _propose(self, examples: Sequence[Example]) -> list[str]:
        """Send them; the ids of those that rest."""
        named = {f"{each.name}-{self._suffix}": each for each in examples}
        now = utc_now()
        await self._send([as_text({"signal_id": name, **each.fields}, now) for name, each in named.items()])
        self._ends |= {name: each.ends for name, each in named.items() if each.ends is not None}
        wide = (name for name in named if name.startswith("wide-"))
        self._story = self._story or next(wide, None)
        return [name for name, each in named.items() if each.rests]

    async def _judge(self, lines: list[Line], before: Ledger) -> dict[str, Any]:
        ledger = await self._exchange.records()
        fills = judge_fills(self._replay.recordings, ledger, speed=self._replay.speed, after=self._after)
        self._problems += fills.outside
        if self._replay.start is None and self._replay.speed <= PLANNED_SPEED_MAX:
            self._problems += [
                f"{line.signal_id} ended as {line.order.status.value}, not as {expected.value}"
                for line in lines
                if (expected := self._ends.get(line.signal_id)) not in (None, line.order.status)
            ]
        refused = [line for line in lines if CheckName.SPREAD in (line.order.reason or "").split(",")]
        return await super()._judge(lines, before) | {
            "market": {
                "files": [file.name for file in self._replay.files],
                "speed": str(self._replay.speed),
                "scenes": self._visited,
            },
            "fills": fills.count,
            "fills_outside_quotes": len(fills.outside),
            "spread_refusals": [line.signal_id for line in refused],
        }


async def allow_early(connection: "asyncpg.Connection[Any]") -> None:
    """Let the demonstration's early strategy trade outside the regular session, as a version of the limits."""
    change = Change(
        Wanted(LimitScope.ACCOUNT),
        lambda stored: edited(LimitScope.ACCOUNT, stored, [f"extended_hours_strategies+={EARLY}"]),
        author="trading demo",
        reason=f"{EARLY} proposes before the open",
    )
    if (await change_limits(connection, change, Actor(operator()))).asked is not None:
        raise Refused(
            "a raise needs two persons here", do="leave TRADING_TWO_PERSONS out for the demonstration"
        )


def _works(line: Line) -> bool:
    return line.order.status in (OrderStatus.ACKNOWLEDGED, OrderStatus.PARTIALLY_FILLED)


def _all_ended(lines: list[Line]) -> bool:
    return all(line.ended for line in lines)
