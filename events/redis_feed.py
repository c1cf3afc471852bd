"""The relay's hand in Redis: publishes numbered events to the streams, and keeps in rows what groups acknowledge.

Any number may run, one leads. What was published is Redis' own to say, so a relay that dies at any point goes on
where the streams end; what they have lost is read again from PostgreSQL, from what each group has acknowledged.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg

from events.port import BadGroup, checked_group
from events.redis_bus import FROM_NEXT, REFUSED
from events.redis_scripts import LOST as REDIS_LOST
from events.redis_scripts import Scripts, connect, pairs
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.events import parse_since
from schemas.wire import PARTITIONS
from storage import bus_feed as rows
from storage import event_stream
from storage.bus import storable
from storage.bus_feed import Death, GroupCursors, Published, RelayState
from storage.bus_groups import create_group
from storage.event_stream import NUMBERED, NotInStream
from storage.switches import read_installation
from storage.wakeups import Bell, bell_of, end_if_cancelled

BATCH: Final = 500
"""Events published at once."""
TICK_SECONDS: Final = 1.0
"""Between two looks at what groups have acknowledged: so much of it is told again when Redis is lost."""
STANDBY_SECONDS: Final = 1.0
RECONNECT_SECONDS: Final = 1.0
COPY_MAX: Final = 500
TRIM_SECONDS: Final = 60.0
RETENTION: Final = timedelta(days=7)
"""What every group has acknowledged stays in the streams for so long; PostgreSQL keeps it longer."""
NO_FLOORS: Final = (0,) * PARTITIONS
FENCES_OF_A_LIFE: Final = 1_000_000_000
"""More leases than the streams see before they are made anew, so that fences grow on. A life's upper half is
for the leases that rows give after it: `claim` in storage/sql/bus.sql."""

_LOST: Final = (
    *REDIS_LOST, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
TellLag: TypeAlias = Callable[[Bell], Awaitable[RelayState]]
_log = get_logger(__name__)


class _LeadLost(Exception):
    """Another leads, or Redis has forgotten everything: begin anew."""


class ForeignRedis(Exception):
    """The Redis database belongs to another installation."""


class RedisFeed:
    """Publishes on a direct connection that holds the feed's lock."""

    def __init__(self, dsn: str, redis_url: str, metrics: Metrics) -> None:
        self._dsn = dsn
        self._url = redis_url
        self._metrics = metrics
        self._all_published_at = time.monotonic()

    async def run(self) -> None:
        """Lead, or wait to lead, until cancelled."""
        while True:
            try:
                async with (
                    bell_of(self._dsn, NUMBERED, name="trading-redis-feed") as bell,
                    connect(self._url) as client,
                ):
                    # Before Redis is asked for anything: what does not answer would never be told of.
                    await self._tell_lag(bell)
                    while not await event_stream.try_lead(bell.connection, rows.FEED_KEY):
                        await self._tell_lag(bell)
                        await asyncio.sleep(STANDBY_SECONDS)
                    await _Lead(bell, Scripts(client), self._metrics, self._tell_lag).go_on()
            except _LeadLost:
                _log.warning("redis feed: begins anew")
            except ForeignRedis as error:
                _log.error("redis feed: nothing can be published", reason=str(error))
            except asyncpg.DataError as error:
                # No connection is lost: the same would be refused again.
                end_if_cancelled()
                _log.error("redis feed: the rows refuse what Redis holds", reason=str(error))
            except _LOST as error:
                end_if_cancelled()
                _log.warning("redis feed: connection lost, starting again", reason=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _tell_lag(self, bell: Bell) -> RelayState:
        """How far publishing is; told to the metrics."""
        state = await rows.read_relay(bell.connection)
        now = time.monotonic()
        waiting = max(0, state.newest - state.published)
        if not waiting:
            self._all_published_at = now
        self._metrics.set_redis_lag(events=waiting, seconds=now - self._all_published_at if waiting else 0)
        return state


class _Lead:
    """One time of leading."""

    def __init__(self, bell: Bell, scripts: Scripts, metrics: Metrics, tell_lag: TellLag) -> None:
        self._bell = bell
        self._connection = bell.connection
        self._scripts = scripts
        self._metrics = metrics
        self._tell_lag = tell_lag
        self._token = secrets.token_hex(8)
        self._copied: dict[str, str] = {}
        self._trimmed_at = time.monotonic()
        self._looked_at = 0.0

    async def go_on(self) -> None:
        """Publish what comes; each ``TICK_SECONDS`` copy, and mend what is not as it should be."""
        installation = await read_installation(self._connection)
        answer = await self._scripts.run("lead", self._token, str(installation.namespace))
        if answer[0] != "LEADING":
            raise ForeignRedis(
                "this Redis database is another installation's: give this one a database of its own"
            )
        _log.info("redis feed: publishing events")
        while True:
            end_if_cancelled()
            if time.monotonic() - self._looked_at >= TICK_SECONDS:
                await self._look()
                self._looked_at = time.monotonic()
            await self._publish_all()
            await self._bell.wait(TICK_SECONDS)

    async def _look(self) -> None:
        """Rebuild where the streams are not what the rows say; copy, make groups, put letters back, trim."""
        answer = await self._run("state", COPY_MAX)
        _, bus, generations, acknowledged, dead, done, wanted = answer
        groups = await rows.read_cursors(self._connection)
        held, places, marks = pairs(generations), pairs(acknowledged), pairs(bus)
        # Read after Redis was: ahead of the rows it is only of rows that were restored.
        relay = await rows.read_relay(self._connection)
        ahead = int(marks.get("published", 0)) > relay.newest
        if ahead or marks.get("ready") != "1" or _differ(groups, held, places):
            await self._rebuild(groups)
            return
        await self._copy(places, held, dead, done, life=relay.rebuilds)
        for name, since in pairs(wanted).items():
            await self._make_group(name, since)
        for each in groups:
            if each.name not in held:
                await self._add_group(each)
        await self._send_letters()
        if time.monotonic() - self._trimmed_at >= TRIM_SECONDS:
            await self._trim(datetime.now(UTC) - RETENTION)
            self._trimmed_at = time.monotonic()

    async def _rebuild(self, groups: Sequence[GroupCursors]) -> None:
        """Everything in Redis anew, from what each group has acknowledged."""
        state = await rows.read_relay(self._connection)
        life = await rows.begin_rebuild(self._connection)
        floors = tuple(
            min((each.positions[at] for each in groups), default=state.newest) for at in range(PARTITIONS)
        )
        told: list[str | int] = []
        for each in groups:
            told += [each.name, each.generation, *each.positions]
        _log.warning("redis feed: the streams are made anew", groups=len(groups), position=min(floors))
        await self._run("rebuild", min(floors), max(floors), life * FENCES_OF_A_LIFE, *told)
        self._copied = {}
        await self._publish_all(floors, handed_out=max((each.taken for each in groups), default=0))
        await self._send_letters()
        await self._run("open")

    async def _publish_all(self, floors: Sequence[int] = NO_FLOORS, *, handed_out: int = 0) -> None:
        """Publish what is numbered and not in the streams yet."""
        while True:
            state = await self._tell_lag(self._bell)
            position = await self._scripts.published()
            if position is None:
                raise _LeadLost
            if position >= state.newest:
                if state.published < position == state.newest:  # Begun behind what no group is to be told.
                    await rows.begin_publishing(self._connection, position)
                return
            events = await rows.to_publish(self._connection, position, floors=floors, limit=BATCH)
            # Fewer: nothing is left to publish, whatever the partitions' floors have left out.
            last = state.newest if len(events) < BATCH else 0
            newest = max([last, *(each.event.position for each in events)])
            if newest > state.published:
                await rows.begin_publishing(self._connection, newest)
            known = max(state.published, handed_out)
            arguments = [argument for each in events for argument in _entry(each, known_to=known)]
            await self._run("publish", position, newest, *arguments)
            self._metrics.events_published(len(events))

    async def _copy(
        self,
        acknowledged: dict[str, str],
        generations: dict[str, str],
        dead: Sequence[Any],
        done: Sequence[str],
        *,
        life: int,
    ) -> None:
        """Keep in rows what the groups have come to."""
        news = {place: each for place, each in acknowledged.items() if self._copied.get(place) != each}
        if not (news or dead or done):
            return
        if len(dead) >= COPY_MAX:
            news = {}  # Cursors have passed all of the dead: they are kept with the last of these.
        await rows.save_copy(
            self._connection,
            {_place(place): int(position) for place, position in news.items()},
            {name: int(each) for name, each in generations.items()},
            [_death(identity, pairs(flat), life) for identity, flat in dead],
            [_place(each) for each in done],
        )
        await self._run("copied", len(done), *(identity for identity, _ in dead))
        self._copied |= news

    async def _make_group(self, name: str, since: str) -> None:
        """Make the group that a consumer has asked for, or tell it why not."""
        refused = ""
        try:
            start = None if since == FROM_NEXT else parse_since(since)
            await create_group(self._connection, checked_group(name), since=start, now=datetime.now(UTC))
        except (ValueError, BadGroup, NotInStream) as error:
            refused = f"{REFUSED}{error}"
        await self._run("answer", name, refused)

    async def _add_group(self, group: GroupCursors) -> None:
        """Let a group that is new read the streams, or make them anew where they do not reach back so far."""
        if await self._run("add_group", group.name, group.generation, *group.positions) == "REBUILD":
            await self._rebuild(await rows.read_cursors(self._connection))

    async def _send_letters(self) -> None:
        """Put back what a person has put back."""
        life = (await rows.read_relay(self._connection)).rebuilds
        for letter in await rows.letters_to_send(self._connection, life):
            event = letter.event
            await self._run(
                "send_letter", letter.group, letter.partition, event.position, event.event_id, event.topic,
                event.key, event.occurred_at.isoformat(), event.payload,
            )  # fmt: skip
            await rows.letter_sent(self._connection, letter, life)

    async def _trim(self, before: datetime) -> None:
        await self._run("trim", await event_stream.position_before(self._connection, before))

    async def _run(self, name: str, *arguments: str | int) -> Any:
        """Run a script as the one that leads.

        Raises:
            _LeadLost: somebody else does, or Redis has forgotten who.
        """
        answer = await self._scripts.run(name, self._token, *arguments)
        if answer in ("LOST", "MOVED", ["LOST"]):
            raise _LeadLost
        return answer


def _differ(groups: Sequence[GroupCursors], generations: dict[str, str], places: dict[str, str]) -> bool:
    """Whether a group was reset, or Redis knows less of it than the rows: it went back, or was not asked."""
    known = {each.name: each for each in groups}
    return any(
        name not in known
        or str(known[name].generation) != generation
        or any(place > int(places[f"{name}:{at}"]) for at, place in enumerate(known[name].positions))
        for name, generation in generations.items()
    )


def _entry(published: Published, *, known_to: int) -> tuple[str | int, ...]:
    event = published.event
    return (
        published.partition, event.position, int(event.position <= known_to), event.event_id, event.topic,
        event.key, event.occurred_at.isoformat(), event.payload,
    )  # fmt: skip


def _place(text: str) -> tuple[str, int]:
    """``group:number``: a partition, or a letter's position."""
    group, _, number = text.rpartition(":")
    return group, int(number)


def _death(identity: str, fields: dict[str, str], life: int) -> Death:
    letter = fields.get("letter")
    return Death(
        group=fields["group"], partition=int(fields["partition"]),
        position=int(letter or fields["id"].partition("-")[0]), tries=int(fields["tries"]),
        error=storable(fields["error"]), death=f"{life}:{identity}", letter=letter is not None,
    )  # fmt: skip
