"""Scenarios of retention: whoever dies while something goes to cold storage, or comes back, nothing is lost.

Events are made old by hand, as only time makes them. Sealed rows cannot be: their time is in their leaf. So what a
restoration brings back is moved by hand, and moves of payloads are killed in tests/postgres, not here.
"""

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import asyncpg
from temporalio.client import ScheduleOverlapPolicy

from audit.cold.files import audit_lines, file_name, pack, unpack
from audit.store.directory import DirectoryStore
from schemas import wire
from schemas.archives import ArchiveKind
from storage.archives import SealedRow, sealed_rows
from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import EXIT_REFUSED, PROGRAM
from workers.chaos.crash_orders import PlaceAndFill
from workers.chaos.crash_people import Person
from workers.chaos.crash_play import WrongEnd

FIRST_MONTH: Final = datetime(1990, 1, 1, tzinfo=UTC)
RESTORED_ROWS: Final = 5
_months: Final = itertools.count()


class EventsMoved(PlaceAndFill):
    """Events of an order are old: they end in cold storage, each once and as it was, and nothing is left behind."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit retention.begun", "call archive.put", "call archive.get", "commit retention.checked",
        "commit retention.removed",
    )  # fmt: skip
    again_seconds = 60.0
    alone = True

    async def prepare(self) -> None:
        """Groups of other runs are at their end, and would hold every event that they were not told."""
        await super().prepare()
        for group in await self.play.ask(sql.GROUPS):
            await self.play.run(
                PROGRAM, "events", "groups", "--drop", group, "--reason", "crash sweep", **self.play.console()
            )

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.play.stage.data_dir.audit)

    async def provoke(self) -> None:
        await super().provoke()
        await self.play.filled(self.signal_id)
        await self.grow_old()

    async def grow_old(self) -> None:
        await self.play.ask(sql.EVENTS_OLD)
        await self.move()

    async def move(self) -> None:
        """As the Schedule does each day."""
        schedule = self.play.client.get_schedule_handle(wire.SCHEDULE_RETENTION)
        await schedule.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)

    async def finish(self) -> None:
        await super().finish()
        await self.until_moved()
        found: set[int] = set()
        for name in await self.store.names("events/"):
            content = await self.store.get(name)
            for line in unpack(content or b""):
                position = json.loads(line)["position"]
                if position in found:
                    raise WrongEnd(f"{self.tag}: position {position} is in cold storage twice")
                found.add(position)
        if found != set(range(min(found), max(found) + 1)) or await self.play.ask(sql.EVENTS_WITH_HOLES):
            raise WrongEnd(f"{self.tag}: events are missing")

    async def until_moved(self) -> None:
        """A run that was waiting for the dead goes on by itself; what came after it needs another."""
        await self.move()
        if not await self.play.until_answer(True, sql.EVENTS_GONE):
            raise WrongEnd(f"{self.tag}: old events never left the database")


class CopyWrong(EventsMoved):
    """Somebody was there first with another file: a person is told, nothing goes until it is away."""

    covers = ("commit retention.failed",)
    again_seconds = 3600.0

    async def grow_old(self) -> None:
        await self.play.ask(sql.EVENTS_OLD)
        self.name = await self.play.ask(sql.NEXT_EVENTS_FILE)
        await self.store.put(self.name, b"not what stands in the database")
        await self.move()

    async def finish(self) -> None:
        await self.play.until_alert(self.name)
        (self.play.stage.data_dir.audit / self.name).unlink()
        await super().finish()


class MonthDropped(Person):
    """A month that is old enough is gone, and recorded once."""

    covers = ("commit retention.dropped",)
    alone = True

    async def provoke(self) -> None:
        self.month = FIRST_MONTH + timedelta(days=31 * next(_months))
        await self.play.ask(sql.OLD_MONTH, self.month)
        await self.drop()

    async def drop(self) -> int:
        return await self.give("audit", "drop", f"{self.month:%Y-%m}")

    async def finish(self) -> None:
        partition = f"audit_log_{self.month:%Y_%m}"
        await self.give_until("audit", "drop", f"{self.month:%Y-%m}")
        if await self.play.ask(sql.HAS_MONTH, partition) or await self.play.ask(sql.DROPPED, partition) != 1:
            raise WrongEnd(f"{self.tag}: {partition} is not gone once")


class DropRefused(Person):
    """What is no month stays, and the try is audited."""

    covers = ("commit retention.noted",)

    async def provoke(self) -> None:
        await self.give("audit", "drop", "1980-01")

    async def finish(self) -> None:
        await self.give_until("audit", "drop", "1980-01", ends=(EXIT_REFUSED,))


class Restored(PlaceAndFill):
    """Payloads come back from cold storage as they were."""

    covers = ("call archive.get_to_restore", "commit retention.restored")
    alone = True

    async def provoke(self) -> None:
        await super().provoke()
        await self.play.filled(self.signal_id)
        self.first, self.stop = await self.archived()
        await self.restore()

    async def restore(self) -> int:
        now = datetime.now(UTC)
        return await self.play.run(
            PROGRAM, "audit", "restore", "--from", "2020-01-01", "--to", (now + timedelta(days=1)).isoformat(),
            **self.play.console(),
        )  # fmt: skip

    async def archived(self) -> tuple[int, int]:
        """Move sealed rows by hand: they are too young for the product."""
        async with self.play.pool.acquire() as connection:
            while len(here := await connection.fetch(sql.SEALED_PAYLOADS, RESTORED_ROWS)) < RESTORED_ROWS:
                await asyncio.sleep(1)
            first, stop = here[0]["sequence"], here[-1]["sequence"] + 1
            payloads = {row["sequence"]: row["payload"] for row in here}
            found = await sealed_rows(connection, first, stop, now=datetime.now(UTC))
            rows = [SealedRow(each.sequence, each.leaf, each.row, payloads[each.sequence]) for each in found]
            name = file_name(ArchiveKind.AUDIT, first, stop)
            await DirectoryStore(self.play.stage.data_dir.audit).put(name, pack(audit_lines(rows)))
            await _gone(connection, first, stop, name)
        return first, stop

    async def finish(self) -> None:
        await super().finish()
        await self.restore()
        if not await self.play.until_answer(True, sql.PAYLOADS_BACK, self.first, self.stop):
            raise WrongEnd(f"{self.tag}: payloads did not come back as they were")


async def _gone(
    connection: "asyncpg.pool.PoolConnectionProxy[Any]", first: int, stop: int, name: str
) -> None:
    async with connection.transaction():
        await connection.execute(sql.AS_TIME_DOES)
        await connection.execute(sql.ARCHIVED, first, stop, name)
        await connection.execute(sql.PAYLOADS_GONE, first, stop)


class RetentionWatched(PlaceAndFill):
    """Once a minute operations look whether retention is behind."""

    covers = ("commit retention.watched",)
