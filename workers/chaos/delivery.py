"""``trading chaos --delivery N``: relay and consumers killed N times each, on each bus, while events are written.

Writers commit out of order; each kill hits a process that has begun to work. What the consumers have recorded in
their own files must be every committed event, those of an order in order, and none twice but as a redelivery.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from events.redis_scripts import connect
from storage.bus_groups import list_letters
from storage.migrate import migrate
from workers import postgres, valkey
from workers.chaos.delivery_judge import Told, Verdict, judge, read_lines
from workers.chaos.delivery_nursery import GROUP, bus_of
from workers.chaos.delivery_victims import Nursery, nursery
from workers.chaos.delivery_writers import Writers
from workers.chaos.killer import percentiles
from workers.chaos.progress import Meter
from workers.chaos.report import Report
from workers.datadir import temporary_data_dir
from workers.supervisor import Supervisor

BUSES: Final = ("postgres", "redis")
EVENTS_A_KILL: Final = 500
CONSUMERS: Final = 3
RELAYS: Final = 2
STEP_SECONDS_MAX: Final = 60.0
DRAIN_SECONDS_MAX: Final = 120.0
LOOK_SECONDS: Final = 0.02
FORGET_EVERY: Final = 10
"""Kills between two times that Redis forgets everything."""


def add_options(group: argparse._ArgumentGroup) -> None:
    """The options of this kind of run."""
    group.add_argument("--bus", choices=BUSES, help="this bus only (both)")
    group.add_argument("--events", type=int, metavar="N", help=f"events of each bus ({EVENTS_A_KILL} a kill)")


async def run(options: argparse.Namespace) -> Report:
    """Make the run on servers of its own.

    Raises:
        StageError: it could not be made.
    """
    figures: dict[str, Any] = {}
    wrong: list[str] = []
    for bus in (options.bus,) if options.bus else BUSES:
        with temporary_data_dir() as data_dir:
            server = await postgres.initialise(data_dir.postgres)
            async with Supervisor() as supervisor:
                await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
                dsn = await postgres.ensure_database(server)
                await migrate(dsn)
                redis = None
                if bus == "redis":
                    store = valkey.Server(data_dir.root / valkey.NAME)
                    await supervisor.start(valkey.spec(store, log_path=data_dir.log(valkey.NAME)))
                    redis = store.url()
                wanted = Wanted(
                    kills=options.delivery, events=options.events or EVENTS_A_KILL * options.delivery,
                    seed=options.seed, quiet=options.json,
                )  # fmt: skip
                report = await play(dsn, redis, data_dir.root, wanted)
        figures |= {f"{bus}: {name}": value for name, value in report.figures.items()}
        wrong += [f"{bus}: {each}" for each in report.wrong]
    return Report("delivery", {"seed": options.seed, **figures}, tuple(wrong))


@dataclass(frozen=True)
class Wanted:
    """What to play."""

    kills: int
    events: int
    seed: int
    quiet: bool = True


@dataclass(frozen=True)
class _Life:
    """One life of a consumer: its process, and a file of its own, whose last line a kill may cut off."""

    file: Path
    pid: int

    def is_busy(self) -> bool:
        """It has recorded something."""
        return self.file.exists() and self.file.stat().st_size > 0


async def play(dsn: str, redis: str | None, folder: Path, wanted: Wanted) -> Report:
    """Play it on a migrated database, and an empty Redis where one is given, that nobody else uses.

    Raises:
        StageError: a process could not be started, or ended by itself.
    """
    began = time.monotonic()
    writers = Writers(dsn, wanted.events, wanted.seed)
    async with nursery() as children:
        stage = _Stage(children, dsn, redis, folder, wanted)
        await stage.start()
        writing = asyncio.create_task(writers.run())
        stuck = None
        try:
            with Meter(wanted.kills, quiet=wanted.quiet) as meter:
                for number in range(wanted.kills):
                    writers.allowed = wanted.events * (number + 1) // wanted.kills
                    await stage.kill_each(number)
                    meter.show(number + 1, f"{len(writers.written)} events")
            await writing
            written_seconds = time.monotonic() - began
            await stage.until_told(len(writers.written))
        except TimeoutError as error:
            stuck = f"nothing went on any more: {error}"
            written_seconds = time.monotonic() - began
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await stage.kill_all()
    verdict = judge(writers.written, stage.told())
    dead = await _dead(dsn)
    figures = _figures(verdict, writers, stage, written_seconds)
    wrong = [*verdict.wrong, *dead, *([stuck] if stuck else [])]
    return Report("delivery", figures, tuple(wrong))


class _Stage:
    """Relays and consumers, killed and started again."""

    def __init__(self, children: Nursery, dsn: str, redis: str | None, folder: Path, wanted: Wanted) -> None:
        self._children = children
        self._order = {"dsn": dsn, "redis": redis, "folder": str(folder)}
        self._folder = folder
        self._redis = redis
        self._dice = random.Random(wanted.seed)  # noqa: S311 - a run that can be repeated, no secret
        self._relays: set[int] = set()
        self._consumers: list[_Life] = []
        self._files: list[Path] = []
        self._leads = ("numbers", "publishes") if redis else ("numbers",)
        self.kills: dict[str, int] = {"relay": 0, "consumer": 0}
        self.forgotten = 0

    async def start(self) -> None:
        """Everything up, and the group made."""
        for _ in range(RELAYS):
            await self._start_relay()
        await bus_of(self._order).create_group(GROUP, since=0)
        for _ in range(CONSUMERS):
            await self._start_consumer()

    async def kill_each(self, number: int) -> None:
        """Kill the relay that leads and a consumer at work, and start others.

        Raises:
            TimeoutError: nobody was at work for ``STEP_SECONDS_MAX``.
        """
        leader = await self._leader(self._leads[number % len(self._leads)])
        await self._children.kill(leader)
        self._relays.discard(leader)
        self.kills["relay"] += 1
        await self._start_relay()
        life = await self._busy()
        await self._children.kill(life.pid)
        self._consumers.remove(life)
        self.kills["consumer"] += 1
        await self._start_consumer()
        if self._redis and number % FORGET_EVERY == FORGET_EVERY // 2:
            async with connect(self._redis) as client:
                await client.flushall()
            self.forgotten += 1

    async def kill_all(self) -> None:
        """The end."""
        for pid in (*self._relays, *(life.pid for life in self._consumers)):
            await self._children.kill(pid)

    async def until_told(self, count: int) -> None:
        """Wait until so many different events were recorded.

        Raises:
            TimeoutError: they were not within ``DRAIN_SECONDS_MAX``.
        """
        await _until(
            lambda: len({each.event_id for each in self.told()}) >= count,
            DRAIN_SECONDS_MAX,
            "the last events",
        )

    def told(self) -> list[Told]:
        """What was recorded."""
        return [each for file in self._files if file.exists() for each in read_lines(file.read_text())]

    async def _start_relay(self) -> None:
        self._relays.add(await self._children.start(kind="relay", **self._order))

    async def _start_consumer(self) -> None:
        file = self._folder / f"consumer-{len(self._files)}.txt"
        self._files.append(file)
        pid = await self._children.start(
            kind="consumer", file=str(file), name=file.stem, seed=self._dice.getrandbits(32), **self._order
        )
        self._consumers.append(_Life(file, pid))

    async def _leader(self, lead: str) -> int:
        """The relay that leads: it has done something since we ask."""
        file = self._folder / lead
        file.unlink(missing_ok=True)

        def leader() -> int | None:
            text = file.read_text() if file.exists() else ""
            return int(text) if text and int(text) in self._relays else None

        await _until(leader, STEP_SECONDS_MAX, f"no relay {lead}")
        found = leader()
        assert found is not None
        return found

    async def _busy(self) -> _Life:
        """A consumer that has recorded something in this life."""

        def busy() -> list[_Life]:
            return [life for life in self._consumers if life.is_busy()]

        await _until(busy, STEP_SECONDS_MAX, "no consumer is told anything")
        return self._dice.choice(busy())


async def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} for {seconds:g} s")
        await asyncio.sleep(LOOK_SECONDS)


async def _dead(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    letters = await list_letters(connection)
    await connection.close()
    return [f"{len(letters)} events were put aside as dead"] if letters else []


def _figures(verdict: Verdict, writers: Writers, stage: _Stage, seconds: float) -> dict[str, Any]:
    lags = [max(0.0, each) for each in verdict.lags_ms]
    return {
        "events": len(writers.written),
        "transactions rolled back": writers.rolled_back,
        "relays killed": stage.kills["relay"],
        "consumers killed": stage.kills["consumer"],
        **({"times Redis forgot everything": stage.forgotten} if stage.forgotten else {}),
        "lost": verdict.lost,
        "out of order": verdict.out_of_order,
        "repeated unmarked": verdict.repeated,
        "redeliveries": verdict.redeliveries,
        "lag ms": percentiles(lags),
        "events a second": round(len(writers.written) / seconds, 1),
        "seconds": round(seconds, 1),
    }
