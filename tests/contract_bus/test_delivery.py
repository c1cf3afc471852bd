"""What holds of every event bus: at least once, in order for its key, and nothing lost with whoever dies."""

import asyncio
from datetime import UTC, datetime

import pytest

from events import port
from events.port import NOTHING, BadGroup, Batch, Consumer, Delivery, LeaseLost
from events.redis_scripts import connect
from storage.bus import TRIES_MAX
from storage.bus_groups import Group, drop_group, list_groups, list_letters, put_letters_back, reset_group
from tests.contract_bus.conftest import LEASE_SECONDS, Venue, drained, marks, number, served, taken
from tests.postgres.outbox import write_committed

WHO = {"actor": "operator jo", "component": "test", "reason": "mended"}


def now() -> datetime:
    return datetime.now(UTC)


async def test_b1_each_group_is_told_everything_once_in_the_order_of_its_key(venue: Venue) -> None:
    await venue.publish("before", 1)
    for group in ("g", "h"):
        await venue.bus().create_group(group, since=0)
    keys = [f"k{at}" for at in range(8)]
    await asyncio.gather(*(write_committed(venue.dsn, key, *range(1, 6)) for key in keys))
    for group in ("g", "h"):
        async with venue.consumer(group) as consumer:
            told = await drained(consumer, 41, limit=3)
            assert await consumer.take() == NOTHING
        # A relay that loses its lead on a slow machine publishes once more what it may have: marked, told once.
        assert sorted((key, at) for key, at, _ in marks(told)) == sorted(
            [("before", 1), *((key, at) for key in keys for at in range(1, 6))]
        )
        assert {attempt for *_, attempt in marks(told)} <= {1, 2}
        for key in keys:
            assert [number(each) for each in told if each.event.key == key] == [1, 2, 3, 4, 5]
        assert len({each.event.event_id for each in told}) == 41
    groups = await _until_acknowledged(venue)
    assert [(each.name, each.waiting, each.dead) for each in groups] == [("g", 0, 0), ("h", 0, 0)]


async def _until_acknowledged(venue: Venue) -> list[Group]:
    async with asyncio.timeout(10):
        while any(each.waiting for each in await list_groups(venue.judge)):
            await asyncio.sleep(0.02)
    return await list_groups(venue.judge)


async def test_b2_a_keys_events_are_one_consumers_at_a_time(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    async with venue.consumer() as first, venue.consumer() as second:
        held = await taken(first, limit=1)
        assert marks(held.deliveries) == [("a", 1, 1)]
        assert await second.take() == NOTHING, "its next event waits"
        await venue.publish("other", 1)
        others = await taken(second)
        assert marks(others.deliveries) == [("other", 1, 1)], "another key's does not"
        await first.acknowledge(held)
        later = await taken(second)
        assert marks(later.deliveries) == [("a", 2, 1)]
        assert later.fence > held.fence


async def test_b3_what_a_dead_consumer_held_is_told_again_and_its_late_word_refused(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish_at_once("a", 1, 2, 3)
    async with venue.consumer(lease_seconds=LEASE_SECONDS) as dead, venue.consumer() as heir:
        held = await taken(dead)
        assert marks(held.deliveries) == [("a", 1, 1), ("a", 2, 1), ("a", 3, 1)]
        await dead.acknowledge(held, 1)
        again = await taken(heir)
        assert marks(again.deliveries) == [("a", 2, 2), ("a", 3, 2)], "what it had acknowledged is not"
        for late in (dead.acknowledge(held), dead.fail(held, 1, "late")):
            with pytest.raises(LeaseLost):
                await late
        await heir.acknowledge(again)
        await venue.publish("a", 4)
        assert marks(await drained(heir, 1)) == [("a", 4, 1)]


async def test_b4_what_fails_is_tried_again_in_its_place_then_put_aside_and_put_back(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    told: list[tuple[str, int, int]] = []
    broken = True

    async def handle(delivery: Delivery) -> None:
        told.extend(marks([delivery]))
        if broken and number(delivery) == 2:
            raise ValueError("cannot read this")

    await venue.publish("a", 1, 2, 3)
    async with venue.consumer() as consumer, served(consumer, handle):
        await venue.until(lambda: ("a", 3) in [each[:2] for each in told], "those behind it")
        assert [each[:2] for each in told] == [("a", 1), *[("a", 2)] * TRIES_MAX, ("a", 3)]
        assert [attempt for _, at, attempt in told if at == 2] == [*range(1, TRIES_MAX + 1)]
        await venue.until_row("ValueError: cannot read this", "select error from event_dead_letters")
        (letter,) = await list_letters(venue.judge, "g")
        assert (letter.event.key, letter.tries, letter.put_back) == ("a", TRIES_MAX, False)
        alert = "select cleared_at is null from alerts where alert_id = 'DEAD_EVENTS:g'"
        await venue.until_row(True, alert)
        broken = False
        async with venue.judge.transaction():
            assert await put_letters_back(venue.judge, "g", letter.event.position, now=now(), **WHO)
        await venue.until(lambda: told[-1][:2] == ("a", 2), "the letter")
        assert told[-1][2] > 1
        await venue.until_row(0, "select count(*)::int from event_dead_letters")
        await venue.until_row(False, alert)
    assert await venue.judge.fetchval(
        "select actor from audit_log where decision = 'DEAD_EVENTS_PUT_BACK'"
    ) == "operator jo"  # fmt: skip


@pytest.mark.parametrize("untellable", ["no\0", "no\udcff", "\0"])
async def test_b4b_whatever_a_failure_says_is_kept(venue: Venue, untellable: str) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1)
    async with venue.consumer() as consumer:
        for _ in range(TRIES_MAX):
            await consumer.fail(await taken(consumer), 0, untellable)
    await venue.until_row(1, "select count(*)::int from event_dead_letters")
    (letter,) = await list_letters(venue.judge, "g")
    said = "no" if untellable.startswith("no") else "no reason told"
    assert (letter.error, letter.tries) == (said, TRIES_MAX)


async def test_b5_an_event_that_kills_its_consumers_is_put_aside(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1)
    for attempt in range(1, TRIES_MAX + 1):
        async with venue.consumer(lease_seconds=0.05) as dying:
            assert marks((await taken(dying)).deliveries) == [("a", 1, attempt)]
    await venue.publish("a", 2)
    async with venue.consumer() as consumer:
        assert marks(await drained(consumer, 1))[0][:2] == ("a", 2)
    await venue.until_row(TRIES_MAX, "select tries from event_dead_letters")


async def test_b6_a_group_begins_where_it_says_and_is_made_once(venue: Venue) -> None:
    bus, position = venue.bus(), "select position::int from event_relay"
    await venue.publish("a", 1, 2)
    await venue.until_row(2, position)
    await bus.create_group("next")
    await bus.create_group("second", since=1)
    await bus.create_group("all", since=datetime(2026, 11, 23, 14, tzinfo=UTC))
    await bus.create_group("second", since=0)
    await venue.publish("a", 3)
    for group, numbers in (("next", [3]), ("second", [2, 3]), ("all", [1, 2, 3])):
        async with venue.consumer(group) as consumer:
            assert [number(each) for each in await drained(consumer, len(numbers))] == numbers, group
    with pytest.raises(BadGroup, match="ahead"):
        await bus.create_group("ahead", since=10)
    with pytest.raises(BadGroup, match="name"):
        await bus.create_group("Not A Name")


async def test_b7_a_group_set_back_is_told_again_and_what_it_held_is_lost(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2, 3)
    async with venue.consumer() as consumer:
        await drained(consumer, 3)
        await venue.publish("a", 4)
        held = await taken(consumer)
        await _until_acknowledged_up_to(venue, 3)
        async with venue.judge.transaction():
            assert await reset_group(venue.judge, "g", 1, now=now(), **WHO) == 1
        await _until_refused(consumer, held)
        told = marks(await drained(consumer, 3))
        assert [each[:2] for each in told] == [("a", 2), ("a", 3), ("a", 4)]
        assert all(attempt > 1 for _, _, attempt in told), "known as told before"
    row = await venue.judge.fetchrow("select actor from audit_log where decision = 'EVENT_GROUP_RESET'")
    assert row["actor"] == "operator jo"


async def test_b7b_a_group_set_back_passes_over_nothing(venue: Venue) -> None:
    """How: one key's partition stands at the first event, the other's has gone on; then back to between them."""
    await venue.bus().create_group("g", since=0)
    await venue.publish("a", 1, 2)
    await venue.publish("other", 1, 2, 3)
    async with venue.consumer() as consumer:
        held = {
            batch.deliveries[0].event.key: batch for batch in [await taken(consumer, limit=1) for _ in "12"]
        }
        await consumer.acknowledge(held["other"])
        await _until_acknowledged_up_to(venue, 3)
        await venue.until_row(5, "select max(position)::int from events")
        async with venue.judge.transaction():
            await reset_group(venue.judge, "g", 4, now=now(), **WHO)
        await _until_refused(consumer, held["a"])
        told = [each[:2] for each in marks(await drained(consumer, 4))]
    assert sorted(told) == [("a", 1), ("a", 2), ("other", 2), ("other", 3)]


async def _until_acknowledged_up_to(venue: Venue, position: int) -> None:
    await venue.until_row(position, "select max(position)::int from event_cursors")


async def _until_refused(consumer: Consumer, held: Batch) -> None:
    """The lease is gone with the reset, at the latest when the relay has told Redis."""
    async with asyncio.timeout(10):
        while True:
            try:
                await consumer.acknowledge(held, 0)
            except LeaseLost:
                return
            await asyncio.sleep(0.02)


async def test_b7c_a_consumer_of_a_group_that_was_dropped_is_told(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    await venue.bus().create_group("stays", since=0)
    async with venue.consumer() as consumer:
        assert await consumer.take() == NOTHING
        async with venue.judge.transaction():
            await drop_group(venue.judge, "g", now=now(), **WHO)
        with pytest.raises(BadGroup, match="no group g"):
            await taken(consumer)


async def test_b8_a_consumer_that_waits_is_woken(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """How: with no tick to speak of, only a wake-up lets it look again."""
    await venue.bus().create_group("g", since=0)
    monkeypatch.setattr(port, "WAIT_SECONDS", 1e4)
    async with venue.consumer() as consumer, asyncio.timeout(20):
        waiting = asyncio.create_task(taken(consumer))
        await asyncio.sleep(0.1)
        await venue.publish("a", 1)
        assert marks((await waiting).deliveries) == [("a", 1, 1)]


async def test_b9_a_lost_connection_loses_nothing(venue: Venue) -> None:
    await venue.bus().create_group("g", since=0)
    told: list[tuple[str, int]] = []

    async def handle(delivery: Delivery) -> None:
        told.append((delivery.event.key, number(delivery)))

    async with venue.consumer() as consumer, served(consumer, handle):
        await venue.publish("a", 1)
        await venue.until(lambda: told, "the first")
        if venue.adapter == "redis":
            async with connect(venue.redis_url) as client:
                cut = await client.execute_command("CLIENT", "KILL", "TYPE", "normal")
                cut += await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        else:
            cut = await venue.judge.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name = 'trading-event-consumer' and datname = current_database()"
            )
        assert cut, "nothing was lost"
        await venue.publish("a", 2)
        await venue.until(lambda: ("a", 2) in told, "the second")
        (group,) = await _until_acknowledged(venue)
    assert list(dict.fromkeys(told)) == [("a", 1), ("a", 2)], "each, maybe more than once, and in order"
    assert (group.waiting, group.dead) == (0, 0)


async def test_b10_the_relay_fails_over_and_nothing_is_missed(venue: Venue) -> None:
    """How: a second relay stands by, the first one's sessions are ended while events come."""
    await venue.bus().create_group("g", since=0)
    async with venue.relaying(), venue.consumer() as consumer:
        await venue.publish("a", *range(1, 6))
        told = await drained(consumer, 5)
        await venue.judge.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name in ('trading-relay', 'trading-redis-feed') and datname = current_database()"
        )
        await venue.publish("a", *range(6, 11))
        told += await drained(consumer, 5)
    assert marks(told) == [("a", at, 1) for at in range(1, 11)]
