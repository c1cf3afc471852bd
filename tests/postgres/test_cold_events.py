"""Events leave the database when a copy was read back and every group has them; who reads or watches is told."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from audit.store.directory import DirectoryStore
from observability.metrics import Metrics
from schemas.archives import ArchiveKind
from storage.event_stream import AheadOfStream, EventsArchived, position_before, start_position
from tests.postgres.cold import NOW, OLD, Cold, cold_storage
from workers.retention_watch import RetentionWatch


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as made:
        yield made


async def test_events_go_by_position_and_are_in_the_store_as_they_were(cold: Cold) -> None:
    await cold.write(6)
    await cold.write(3, NOW - timedelta(days=1))
    before = await cold.owner.fetch(
        "select *, payload::text as text from events where position <= 6 order by position"
    )
    moved = await cold.move_all(ArchiveKind.EVENTS)
    assert [each.moved for each in moved] == [
        "events/00000000000000000001-00000000000000000005.jsonl.zst",
        "events/00000000000000000005-00000000000000000007.jsonl.zst",
    ]
    assert await cold.owner.fetchval("select array_agg(position order by position) from events") == [7, 8, 9]
    stored = await cold.stored("events")
    assert [(n, e["event_id"], e["topic"], e["key"], e["payload"]) for n, e in sorted(stored.items())] == [
        (row["position"], row["event_id"], row["topic"], row["key"], row["text"]) for row in before
    ]
    assert [datetime.fromisoformat(stored[row["position"]]["occurred_at"]) for row in before] == [
        row["occurred_at"] for row in before
    ]
    assert (await cold.decisions())[-1] == "EVENTS_ARCHIVED"


async def test_a_reader_of_what_has_gone_is_told_where_it_is(cold: Cold) -> None:
    await cold.write(6)
    await cold.write(2, NOW)
    assert await start_position(cold.owner, 2) == 2
    await cold.move_all(ArchiveKind.EVENTS)
    for since, name in ((0, "events/00000000000000000001-"), (3, "events/00000000000000000001-"),
                        (4, "events/00000000000000000005-"), (5, "events/00000000000000000005-")):  # fmt: skip
        with pytest.raises(EventsArchived, match=f"from {name}.* the stream begins after 6"):
            await start_position(cold.owner, since)
    assert [await start_position(cold.owner, since) for since in (6, 7, 8, None)] == [6, 7, 8, 8]
    with pytest.raises(AheadOfStream):
        await start_position(cold.owner, 9)
    with pytest.raises(EventsArchived, match="on is in cold storage, from events/00000000000000000001-"):
        await start_position(cold.owner, OLD - timedelta(days=1))
    assert await start_position(cold.owner, NOW - timedelta(days=1)) == 6
    assert await position_before(cold.owner, OLD - timedelta(days=1)) == 6, "what is here, to who trims"


GROUPS = """
    insert into event_groups (group_name, created_at) values ('books', now()), ('sleeper', now());
    insert into event_cursors (group_name, partition, position, taken)
    select name, partition, 100, 100
    from unnest(array['books', 'sleeper']) as name, generate_series(0, 15) as partition
"""


async def test_nothing_goes_that_a_group_has_not_acknowledged(cold: Cold) -> None:
    await cold.write(6)
    await cold.move_all()
    await cold.owner.execute(GROUPS)
    sleeps = "update event_cursors set position = $1 where group_name = 'sleeper'"
    key = "(select hashtext(key) & 15 from events where position = 4)"
    await cold.owner.execute(f"{sleeps} and partition = {key}", 3)
    moved, waits = await cold.move_all(ArchiveKind.EVENTS)
    assert moved.moved == "events/00000000000000000001-00000000000000000004.jsonl.zst"
    assert waits.problem == "events wait: group sleeper has not acknowledged position 4"
    assert await cold.owner.fetchval("select min(position) from events") == 4
    watch = RetentionWatch(cold.database, Metrics(), cold.retention, now=lambda: cold.now)
    await watch.watch_retention()
    assert await cold.alerts() == ["RETENTION_BEHIND"]
    text = await cold.owner.fetchval("select text from alerts where code = 'RETENTION_BEHIND'")
    assert "group sleeper has not acknowledged position 4" in text
    await cold.owner.execute(sleeps, 5)
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [2, 0]
    await cold.owner.execute("delete from event_cursors where group_name = 'sleeper'")
    [waits] = await cold.move_all(ArchiveKind.EVENTS)
    assert "position 6" in str(waits.problem), "of a group without a cursor nobody knows anything"
    await cold.owner.execute("delete from event_groups where group_name = 'sleeper'")
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [1]
    await watch.watch_retention()
    assert await cold.alerts() == []


async def test_a_group_that_is_set_back_keeps_what_was_about_to_go(
    cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cold.write(2)
    await cold.owner.execute(GROUPS)
    get = cold.store.get

    async def meanwhile(name: str) -> bytes | None:
        await cold.owner.execute("update event_cursors set position = 0 where group_name = 'sleeper'")
        return await get(name)

    with monkeypatch.context() as patched:
        patched.setattr(cold.store, "get", meanwhile)
        [answer] = await cold.move_all(ArchiveKind.EVENTS)
    assert "wait: group sleeper has not acknowledged position 1" in str(answer.problem)
    async with cold.database.connection() as operations:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="group sleeper has not acknowledged 1"):
            await operations.execute("select remove_archived_events(1, now())")
    assert await cold.owner.fetchval("select count(*) from events") == 2
    assert await cold.alerts() == []
    await cold.owner.execute("update event_cursors set position = 100")
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [2]


async def test_who_looks_after_retention_is_told_once_and_told_of_the_end(cold: Cold) -> None:
    await cold.write(3, NOW - timedelta(days=32))
    watch = RetentionWatch(cold.database, Metrics(), cold.retention, now=lambda: cold.now)
    await watch.watch_retention()
    assert await cold.alerts() == []
    cold.now = NOW + timedelta(days=2)
    for _ in range(3):
        await watch.watch_retention()
    assert await cold.alerts() == ["RETENTION_BEHIND"] * 2
    assert await cold.owner.fetchval("select sum(times) from alerts") == 2
    cold.now = NOW
    await cold.move_all()
    await cold.move_all(ArchiveKind.EVENTS)
    await watch.watch_retention()
    assert await cold.alerts() == []


async def test_what_is_dated_in_the_future_is_told_as_nothing_behind_it_goes(cold: Cold) -> None:
    """How: by two hours, and behind it rows of which the age alone is told once the date is past."""
    await cold.write(2)
    await cold.write(1, NOW + timedelta(hours=2))
    await cold.write(2, NOW - timedelta(days=10))
    for kind in ArchiveKind:
        assert [each.rows for each in await cold.move_all(kind)] == [2]
    watch = RetentionWatch(cold.database, Metrics(), cold.retention, now=lambda: cold.now)
    for later, told in (
        (timedelta(), "in the future"), (timedelta(minutes=90), None), (timedelta(days=22), None),
        (timedelta(days=30), "rows of 40 days ago"),
    ):  # fmt: skip
        cold.now = NOW + later
        await watch.watch_retention()
        texts = await cold.owner.fetch("select text from alerts where cleared_at is null")
        assert len(texts) == (len(ArchiveKind) if told else 0)
        assert all(told in row["text"] for row in texts)


async def test_an_event_that_changes_under_the_move_stays(
    cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cold.write(4)
    get = cold.store.get

    async def meanwhile(name: str) -> bytes | None:
        await cold.owner.execute("update events set payload = '{}' where position = 2")
        return await get(name)

    monkeypatch.setattr(cold.store, "get", meanwhile)
    [answer] = await cold.move_all(ArchiveKind.EVENTS)
    assert "position 2" in str(answer.problem)
    assert await cold.owner.fetchval("select count(*) from events") == 4
