"""Redis is the only place of nothing: whatever it forgets is told again from PostgreSQL, known as told before."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events import redis_feed
from events.port import NOTHING, LeaseLost
from events.postgres_bus import PostgresBus
from events.redis_scripts import PREFIX, connect
from storage import bus_feed
from storage.bus import TRIES_MAX
from storage.bus_groups import list_letters, put_letters_back
from tests.contract_bus.conftest import Venue, drained, ended, marks, taken

ACKNOWLEDGED = "select max(position)::int from event_cursors"


@pytest.fixture
def adapter() -> str:
    """Only this one can forget."""
    return "redis"


async def forget(venue: Venue) -> None:
    """FLUSHALL, as by a server that came back without its file."""
    async with connect(venue.redis_url) as client:
        await client.flushall()


async def test_what_was_not_acknowledged_is_told_again_and_nothing_else(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.bus().create_group("h", since=0)
    await venue.publish("a", 1, 2, 3)
    async with venue.consumer() as consumer, venue.consumer("h") as other:
        await drained(consumer, 2, limit=1)
        await venue.until_row(2, ACKNOWLEDGED)
        held = await taken(consumer)
        fence = held.fence
        await forget(venue)
        await venue.publish("a", 4)
        with pytest.raises(LeaseLost):
            await consumer.acknowledge(held)
        told = marks(await drained(consumer, 2))
        assert [each[:2] for each in told] == [("a", 3), ("a", 4)]
        assert told[0][2] > 1, "it had been told"
        assert [each[:2] for each in marks(await drained(other, 4))] == [("a", at) for at in range(1, 5)]
        await venue.publish("a", 5)
        batch = await taken(consumer)
        assert marks(batch.deliveries) == [("a", 5, 1)]
        assert batch.fence > fence, "fences grow across the loss"


async def test_letters_outlive_redis_too(venue: Venue) -> None:
    """How: one dies and is copied, Redis forgets, it is put back, Redis forgets again before it is taken."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1)
    async with venue.consumer() as consumer:
        for _ in range(TRIES_MAX):
            await consumer.fail(await taken(consumer), 0, "no")
        await venue.until_row("dead", "select state from event_dead_letters")
        await forget(venue)
        who = {"actor": "jo", "component": "test", "reason": "mended", "now": datetime.now(UTC)}
        async with venue.judge.transaction():
            assert await put_letters_back(venue.judge, "g", None, **who) == [1]
        await venue.until_row(True, "select sent_in is not null from event_dead_letters")
        await forget(venue)
        batch = await taken(consumer)
        assert [each[:2] for each in marks(batch.deliveries)] == [("a", 1)]
        assert batch.deliveries[0].letter
        await consumer.acknowledge(batch)
        await venue.until_row(0, "select count(*)::int from event_dead_letters")


async def test_a_death_that_the_rows_would_refuse_is_copied_all_the_same(venue: Venue) -> None:
    """How: its text stands in Redis as an earlier release has left it there."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1)
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:
        batch = await taken(consumer)
        death = {"group": "g", "partition": batch.partition, "id": "1-0", "tries": 5, "error": "no\0"}
        await client.xadd(f"{PREFIX}:dead", death)
        await venue.until_row(1, "select count(*)::int from event_dead_letters")
    (letter,) = await list_letters(venue.judge, "g")
    assert (letter.event.key, letter.tries, letter.error) == ("a", 5, "no")


async def test_no_cursor_is_kept_before_the_dead_that_it_has_passed(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: two have died, and one is copied at a time."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    kept: list[tuple[int, bool]] = []
    save_copy = bus_feed.save_copy

    async def once(connection: Any, acknowledged: Any, generations: Any, deaths: Any, done: Any) -> None:
        kept.append((len(deaths), bool(acknowledged)))
        await save_copy(connection, acknowledged, generations, deaths, done)

    assert venue.publishing is not None
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:
        await venue.until_row(2, "select published::int from event_relay")
        await ended(venue.publishing)
        for _ in range(2 * TRIES_MAX):
            await consumer.fail(await taken(consumer, limit=1), 0, "no")
        assert await client.xlen(f"{PREFIX}:dead") == 2
        monkeypatch.setattr(redis_feed, "COPY_MAX", 1)
        monkeypatch.setattr(bus_feed, "save_copy", once)
        async with venue.relaying():
            await venue.until_row(2, ACKNOWLEDGED)
    assert kept == [(1, False), (1, False), (0, True)]
    assert await venue.judge.fetchval("select count(*) from event_dead_letters") == 2


async def test_a_group_goes_from_one_bus_to_the_other_and_back(venue: Venue) -> None:
    """What one bus has handed out is known to the other as told before, and what is acknowledged stays so.

    How: while events go to the rows alone nothing publishes to Redis, as after a start with another setting.
    """
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    async with venue.consumer() as consumer:
        await drained(consumer, 1, limit=1)
        fence = (await taken(consumer)).fence
        await venue.until_row(1, ACKNOWLEDGED)
    assert venue.publishing is not None
    await ended(venue.publishing)
    async with PostgresBus(venue.dsn).consumer("g", "p") as consumer:
        batch = await taken(consumer)
        assert batch.fence > fence, "fences grow from one to the other"
        fence = batch.fence
        await consumer.acknowledge(batch)
        told = marks(batch.deliveries)
        assert told[0][:2] == ("a", 2)
        assert told[0][2] > 1
        await venue.publish("a", 3)
        await taken(consumer)
    async with venue.relaying(), venue.consumer() as consumer:
        # Redis was left behind by the rows: the relay sees it and begins it anew.
        batch = await taken(consumer)
        told = marks(batch.deliveries)
        assert told[0][:2] == ("a", 3)
        assert told[0][2] > 1, "it was handed out by the other bus"
        assert batch.fence > fence, "and back"


async def test_a_server_that_was_started_again_is_filled_anew(venue: Venue) -> None:
    """How: the streams say that another run of the server has filled them, as an older file of it does."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:
        await drained(consumer, 1, limit=1)
        await venue.until_row(1, ACKNOWLEDGED)
        assert venue.publishing is not None
        await ended(venue.publishing)
        held = await taken(consumer)
        await client.hset(f"{PREFIX}:bus", "run", "another")
        assert await consumer.take() == NOTHING
        with pytest.raises(LeaseLost):
            await consumer.acknowledge(held)
        async with venue.relaying():
            batch = await taken(consumer)
            assert [each[:2] for each in marks(batch.deliveries)] == [("a", 2)]
            assert batch.deliveries[0].attempt > 1, "it had been told"
            assert batch.fence > held.fence + 1, "of a new life"


@pytest.mark.parametrize("lost", ["acknowledged", "generations", "events", "one group"])
async def test_what_is_half_lost_is_made_anew(venue: Venue, lost: str) -> None:
    """How: one key of it goes, or all of one kind."""
    await venue.bus().create_group("g", since=0)
    await venue.bus().create_group("h", since=0)
    await venue.publish("a", 1)
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:
        await drained(consumer, 1)
        await venue.until_row(1, ACKNOWLEDGED)
        lives = await venue.judge.fetchval("select rebuilds::int from event_relay")
        if lost == "one group":
            await client.xgroup_destroy(f"{PREFIX}:events:7", "g")
        else:
            await client.delete(*await client.keys(f"{PREFIX}:{lost}*"))
        await venue.until_row(lives + 1, "select rebuilds::int from event_relay")
        await venue.publish("a", 2)
        assert [each[:2] for each in marks(await drained(consumer, 1))] == [("a", 2)]


async def test_rows_that_were_restored_are_told_from_where_they_stand(venue: Venue) -> None:
    """How: the rows go back behind what was published and acknowledged, while nothing publishes."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2, 3)
    async with venue.consumer() as consumer:
        await drained(consumer, 2, limit=1)
        fence = (await taken(consumer)).fence
        await venue.until_row(2, ACKNOWLEDGED)
        assert venue.publishing is not None
        await ended(venue.publishing)
        async with venue.judge.transaction():
            await venue.judge.execute("delete from events where position > 1")
            await venue.judge.execute("update event_relay set position = 1, published = 1, rebuilds = 0")
            await venue.judge.execute("update event_cursors set position = least(position, 1)")
        async with venue.relaying():
            await venue.until_row(1, "select rebuilds::int from event_relay")
            await venue.publish("a", 12, 13)
            batch = await taken(consumer, limit=1)
            assert [each[:2] for each in marks(batch.deliveries)] == [("a", 12)]
            assert batch.fence > fence, "fences grow though the rows forgot how often the streams were made"
            await consumer.acknowledge(batch)
            assert [each[:2] for each in marks(await drained(consumer, 1))] == [("a", 13)]


async def test_what_everyone_has_acknowledged_is_trimmed_and_nothing_else(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: with no retention, two keys and a group that stands still in one of them; then a group that begins
    before what was trimmed."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    await venue.publish("other", 1)
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:

        async def kept() -> int:
            return sum([await client.xlen(f"{PREFIX}:events:{at}") for at in range(16)])

        await drained(consumer, 1, limit=1)
        batch = await taken(consumer, limit=1)
        await consumer.acknowledge(batch)
        async with asyncio.timeout(20):
            while await kept() < 3:
                await asyncio.sleep(0.02)
        monkeypatch.setattr(redis_feed, "RETENTION", timedelta(days=-4000))
        monkeypatch.setattr(redis_feed, "TRIM_SECONDS", 0)
        async with asyncio.timeout(20):
            while await kept() > 1:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert await kept() == 1, "what is not acknowledged stays"
        monkeypatch.setattr(redis_feed, "TRIM_SECONDS", 1e6)
        await venue.bus().create_group("late", since=0)
        async with venue.consumer("late") as late:
            assert len(await drained(late, 3)) == 3
        assert len(await drained(consumer, 1)) == 1


async def test_a_letter_that_nobody_has_read_is_not_trimmed(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: with no retention; it was put back after everything was acknowledged."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    async with venue.consumer() as consumer, connect(venue.redis_url) as client:
        for _ in range(TRIES_MAX):
            await consumer.fail(await taken(consumer), 0, "no")
        await drained(consumer, 1)
        await venue.until_row(2, ACKNOWLEDGED)
        who = {"actor": "jo", "component": "test", "reason": "mended", "now": datetime.now(UTC)}
        async with venue.judge.transaction():
            assert await put_letters_back(venue.judge, "g", None, **who) == [1]
        await venue.until_row(True, "select sent_in is not null from event_dead_letters")
        monkeypatch.setattr(redis_feed, "RETENTION", timedelta(days=-4000))
        monkeypatch.setattr(redis_feed, "TRIM_SECONDS", 0)
        async with asyncio.timeout(20):
            while sum([await client.xlen(f"{PREFIX}:events:{at}") for at in range(16)]) > 1:
                await asyncio.sleep(0.02)
        batch = await taken(consumer)
        assert [(each.event.position, each.letter) for each in batch.deliveries] == [(1, True)]


async def test_another_installations_redis_is_left_alone(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(venue.redis_url) as client:
        await client.flushall()
        await client.hset(f"{PREFIX}:bus", mapping={"installation": "another"})
        async with asyncio.timeout(20):
            while "another installation's" not in caplog.text:
                await asyncio.sleep(0.02)
        assert await client.hgetall(f"{PREFIX}:bus") == {"installation": "another"}
        await client.flushall()


async def test_how_far_publishing_is_behind_is_told(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1)
    await venue.until(lambda: b"redis_events_published_total 1.0" in venue.metrics.render(), "published")
    # Told as waiting before it goes, and as published before the next look.
    await venue.until(lambda: b"redis_events_waiting 0.0" in venue.metrics.render(), "none waits")
    told = venue.metrics.render()
    assert b"redis_lag_seconds 0.0" in told
    assert b"redis_events_published_total 1.0" in told
