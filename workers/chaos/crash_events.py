"""Scenarios of who is told of events: groups of consumers on either bus, and what Redis forgets."""

import asyncio
from contextlib import suppress
from typing import ClassVar, Final

from events.port import BusUnavailable, LeaseLost
from events.redis_bus import RedisBus
from events.redis_scripts import connect
from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import PROGRAM, TRIES_MAX
from workers.chaos.crash_people import Person
from workers.chaos.crash_play import END_SECONDS, WrongEnd
from workers.chaos.crash_scenario import Scenario

TAKES_LATER: Final = "grep -q '\"attempt\": [3-9]'"
"""A command that takes no event at once. The second attempt may be the first: what was published to Redis may have
been told there."""
EVENTS: Final = 3
"""Those of one signal, at the least, on its way to the broker."""
NOWHERE: Final = "/nonexistent/crash-sweep"


class EventsTaken(Scenario):
    """A consumer on the rows dies; the next one is told the same again and takes it."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit bus.group_created", "commit bus.taken", "commit bus.failed", "commit bus.acknowledged",
    )  # fmt: skip

    @property
    def group(self) -> str:
        """One that no other run uses."""
        return f"sweep.{self.tag}".lower()

    again_seconds: ClassVar[float | None] = 40.0
    """Above a lease: a consumer may die at what another run has ordered, and keep what it held."""

    async def prepare(self) -> None:
        self.since = await self.play.ask(sql.NEWEST_EVENT)

    async def provoke(self) -> None:
        """With a signal of its own each time: what was told before would be taken."""
        await self.play.submit(self.new_id(), ticker=self.ticker)
        await self._consume()

    async def finish(self) -> None:
        for _ in range(TRIES_MAX):
            if await self._consume() == 0:
                break
        else:
            raise WrongEnd(f"{self.tag}: no consumer came to its end")
        if not await self.play.ask(sql.GROUP_TOOK, self.group):
            raise WrongEnd(f"{self.tag}: what was taken is not acknowledged")

    async def _consume(self) -> int:
        """On the rows, whatever bus the stage has."""
        where = {"TRADING_DATA_DIR": NOWHERE, "TRADING_DATABASE_URL": self.play.stage.console_dsn}
        return await self.play.run(
            PROGRAM, "events", "consume", self.group, "--since", str(self.since), "--limit", str(EVENTS),
            "--run", TAKES_LATER, **where,
        )  # fmt: skip


class EventsInRedis(Scenario):
    """Redis forgets everything while events come and are taken, a dead one put back: a group is told them all."""

    covers = (
        "commit bus.publishing", "commit bus.rebuilding", "commit bus.copied", "commit bus.letter_sent",
    )  # fmt: skip
    again_seconds = 20.0

    async def prepare(self) -> None:
        self.group = f"redis.{self.tag}".lower()
        self.since = await self.play.ask(sql.NEWEST_EVENT)
        self.told: set[str] = set()
        self._bus = RedisBus(self._url, lease_seconds=2.0)
        await self._until_made()

    async def provoke(self) -> None:
        await self.play.submit(self.new_id(), ticker=self.ticker)
        await self._take(seconds=2.0)
        async with connect(self._url) as client:
            await client.flushall()
        await self.play.ask(sql.LETTER, self.group, self.new_id())

    async def finish(self) -> None:
        """Every event since the group was made, and every letter, was told."""
        await self.play.filled(self.made[0])
        until = await self.play.ask(sql.NEWEST_EVENT)
        letters = await self.play.ask(sql.LETTERS, self.group)
        wanted = set(await self.play.ask(sql.EVENTS_BETWEEN, self.since, until)) | set(letters)
        left = 1
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while wanted - self.told or left:
                    # What was taken may come again: another run has Redis forget that it was acknowledged.
                    await self._take(seconds=2.0)
                    left = await self.play.ask(sql.LETTERS_LEFT, self.group)
        if missed := wanted - self.told:
            raise WrongEnd(
                f"{self.tag}: {len(missed)} of {len(wanted)} were never told: {sorted(missed)[:3]}"
            )
        if left:
            raise WrongEnd(f"{self.tag}: a letter that was taken is not done with")

    @property
    def _url(self) -> str:
        return str(self.play.stage.addresses["event_redis_url"])

    async def _until_made(self) -> None:
        """Again while the relay that makes groups dies at what another run has ordered."""
        for _ in range(TRIES_MAX):
            with suppress(BusUnavailable):
                return await self._bus.create_group(self.group, since=self.since)
        raise WrongEnd(f"{self.tag}: no relay makes the group")

    async def _take(self, *, seconds: float) -> None:
        """Take what comes for so long."""
        with suppress(TimeoutError, BusUnavailable):
            async with asyncio.timeout(seconds), self._bus.consumer(self.group, self.tag) as consumer:
                while True:
                    batch = await consumer.take()
                    if batch.deliveries:
                        self.told |= {each.event.event_id for each in batch.deliveries}
                        with suppress(LeaseLost):
                            await consumer.acknowledge(batch)


class GroupSetBack(Person):
    """Whose command died is not sure; given again, the group begins where it was told to."""

    covers = ("commit console.event_group_reset",)

    async def prepare(self) -> None:
        self.since = await self.play.ask(sql.NEWEST_EVENT)
        await self.play.ask(sql.GROUP, self.tag.lower(), self.since)

    async def provoke(self) -> None:
        await self.give(*self._command())

    async def finish(self) -> None:
        await self.give_until(*self._command())
        if not await self.play.ask(sql.GROUP_BEGINS_AT, self.tag.lower(), self.since):
            raise WrongEnd(f"{self.tag}: the group does not begin where it was set back to")

    def _command(self) -> tuple[str, ...]:
        return ("events", "replay", "--since", str(self.since), "--group", self.tag.lower())


class GroupDropped(GroupSetBack):
    """It is gone, once, with what it could not take."""

    covers = ("commit console.event_group_dropped",)

    async def finish(self) -> None:
        # The second time there is no such group any more.
        await self.give_until(*self._command(), ends=(0, 1))
        if await self.play.ask(sql.GROUP_BEGINS_AT, self.tag.lower(), self.since) is not None:
            raise WrongEnd(f"{self.tag}: the group is still there")

    def _command(self) -> tuple[str, ...]:
        return ("events", "groups", "--drop", self.tag.lower())


class LetterPutBack(GroupSetBack):
    """A dead event is put back once, however often the command is given."""

    covers = ("commit console.events_put_back",)

    async def prepare(self) -> None:
        await super().prepare()
        await self.play.ask(sql.DEAD_LETTER, self.tag.lower(), self.tag)

    async def finish(self) -> None:
        # The second time there is none that is dead any more.
        await self.give_until(*self._command(), ends=(0, 1))
        if not await self.play.ask(sql.LETTER_IS_DUE, self.tag.lower()):
            raise WrongEnd(f"{self.tag}: the dead event is not put back")

    def _command(self) -> tuple[str, ...]:
        return ("events", "dead", self.tag.lower(), "--put-back-all")
