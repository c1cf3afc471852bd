"""Each committed event gets one position: contiguous, in order for its key, whoever writes and whoever dies."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from observability.metrics import Metrics
from storage import event_stream, migrate
from tests.postgres.outbox import check_order, numbered, status_event, write, write_committed
from workers import relay
from workers.relay import Relay

REPOSITORY = Path(__file__).parents[2]
DONE_WITHIN_SECONDS = 60


@pytest.fixture
async def judge(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@asynccontextmanager
async def relaying(dsn: str, metrics: Metrics | None = None) -> AsyncIterator[None]:
    """A relay in this process, for the length of the block."""
    running = asyncio.create_task(Relay(dsn, metrics or Metrics()).run())
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until_numbered(judge: asyncpg.Connection, count: int) -> list[tuple[int, str, int]]:
    events: list[tuple[int, str, int]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(DONE_WITHIN_SECONDS):
            while len(events := await numbered(judge)) < count:
                await asyncio.sleep(0.02)
            return events
    pytest.fail(f"{len(events)} of {count} numbered after {DONE_WITHIN_SECONDS} s")


class RelayProcess:
    """A relay in a process of its own, that says how many events it numbered."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.numbered = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, dsn: str, *options: str) -> "RelayProcess":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.postgres.relay_script", dsn, *options, cwd=REPOSITORY,
                stdout=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def kill(self) -> None:
        """Signal 9."""
        self._process.kill()
        await self._process.wait()
        await self._reading

    def freeze(self) -> None:
        """As on a machine that hangs: its connections stay."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self.numbered += int(line)


async def write_slowly(dsn: str, key: str, enough: asyncio.Event) -> int:
    """Write events of one order, each in a transaction that stays open for a while; how many."""
    connection = await asyncpg.connect(dsn)
    number = 0
    while not enough.is_set():
        number += 1
        async with connection.transaction():
            await write(connection, status_event(key, number))
            await asyncio.sleep(random.uniform(0, 0.02))
    await connection.close()
    return number


async def test_three_relays_compete_and_each_leader_is_killed(
    database: str, judge: asyncpg.Connection
) -> None:
    """How: 8 writers commit out of order; twice the process that leads is killed with signal 9 meanwhile."""
    enough = asyncio.Event()
    relays = [await RelayProcess.start(database) for _ in range(3)]
    writers = [asyncio.create_task(write_slowly(database, f"k{number}", enough)) for number in range(8)]
    for _ in range(2):
        leader = await until_one_leads(relays)
        await leader.kill()
        relays.remove(leader)
    await until_one_leads(relays)
    enough.set()
    count = sum(await asyncio.gather(*writers))
    events = await until_numbered(judge, count)
    await relays[0].kill()
    check_order(events, count)
    assert await event_stream.start_position(judge, None) == count


async def until_one_leads(relays: list[RelayProcess]) -> RelayProcess:
    with suppress(TimeoutError):
        async with asyncio.timeout(DONE_WITHIN_SECONDS):
            while True:
                for process in relays:
                    if process.numbered:
                        return process
                await asyncio.sleep(0.02)
    pytest.fail(f"nobody took over within {DONE_WITHIN_SECONDS} s")


async def test_a_leader_that_hangs_is_replaced_and_comes_back_harmless(
    database: str, judge: asyncpg.Connection
) -> None:
    """How: the leader is stopped, not killed, so that only PostgreSQL can tell; then it goes on."""
    relays = [await RelayProcess.start(database, "1") for _ in range(2)]
    await write_committed(database, "a", 1)
    leader = await until_one_leads(relays)
    leader.freeze()
    relays.remove(leader)
    await write_committed(database, "a", 2)
    await until_one_leads(relays)
    leader.thaw()
    await write_committed(database, "a", 3, 4, 5)
    check_order(await until_numbered(judge, 5), 5)
    for process in (leader, *relays):
        await process.kill()


async def test_an_order_of_one_key_is_kept_though_a_later_transaction_could_commit_first(
    database: str, judge: asyncpg.Connection
) -> None:
    first = await asyncpg.connect(database)
    async with relaying(database):
        early = first.transaction()
        await early.start()
        await write(first, status_event("a", 1))
        later = asyncio.create_task(write_committed(database, "a", 2))
        await write_committed(database, "b", 1)
        assert await until_numbered(judge, 1) == [(1, "b", 1)], "another key does not wait"
        assert not later.done(), "the same key does"
        await early.commit()
        await later
        assert await until_numbered(judge, 3) == [(1, "b", 1), (2, "a", 1), (3, "a", 2)]
    await first.close()


async def test_events_of_one_transaction_keep_their_order_and_a_repeat_is_none(
    database: str, judge: asyncpg.Connection
) -> None:
    numbers = list(range(50, 0, -1))
    for _ in range(2):
        async with judge.transaction():
            await write(judge, *(status_event("a", number) for number in numbers))
    async with relaying(database):
        found = await until_numbered(judge, len(numbers))
    assert [number for _, _, number in found] == numbers


async def test_a_rolled_back_event_leaves_no_gap(database: str, judge: asyncpg.Connection) -> None:
    await write_committed(database, "a", 1)
    broken = judge.transaction()
    await broken.start()
    await write(judge, status_event("a", 2))
    await broken.rollback()
    await write_committed(database, "a", 3)
    async with relaying(database):
        assert await until_numbered(judge, 2) == [(1, "a", 1), (2, "a", 3)]


async def test_a_numbering_that_dies_before_its_commit_gives_nothing(
    database: str, judge: asyncpg.Connection
) -> None:
    await write_committed(database, "a", 1, 2)
    dying = await asyncpg.connect(database)
    await dying.transaction().start()
    await event_stream.number_events(dying, limit=10)
    dying.terminate()
    async with relaying(database):
        assert await until_numbered(judge, 2) == [(1, "a", 1), (2, "a", 2)]


async def test_an_idle_relay_waits_to_be_woken(
    database: str, judge: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: with no tick to speak of, only NOTIFY can wake it; then with every wake-up lost, only the tick."""
    monkeypatch.setattr(relay, "AWAKE_SECONDS", 0.1)
    monkeypatch.setattr(relay, "TICK_SECONDS", 1e6)
    metrics = Metrics()
    async with relaying(database, metrics):
        for number in (1, 2):
            await write_committed(database, "a", number)
            await until_numbered(judge, number)
            while not await judge.fetchval("select asleep from event_relay"):
                await asyncio.sleep(0.02)
    assert b'events_numbered_total{topic="trading.execution.status"} 2.0' in metrics.render()
    assert b"outbox_events_waiting 0.0" in metrics.render()
    await judge.execute("alter table events disable trigger events_written")
    monkeypatch.setattr(relay, "TICK_SECONDS", 0.05)
    async with relaying(database):
        await until_numbered(judge, 2)
        await write_committed(database, "a", 3)
        await until_numbered(judge, 3)


async def test_a_relay_survives_its_connection(database: str, judge: asyncpg.Connection) -> None:
    async with relaying(database):
        await write_committed(database, "a", 1)
        await until_numbered(judge, 1)
        await judge.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'trading-relay' and datname = current_database()"
        )
        await write_committed(database, "a", 2)
        assert await until_numbered(judge, 2) == [(1, "a", 1), (2, "a", 2)]


async def test_events_from_before_positions_get_the_order_in_which_they_were_written(
    empty_database: str,
) -> None:
    """How: rows as the first release wrote them, with times that tie and run backwards, and heap places that
    tell nothing, because a later row takes the room of an aborted one."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute(migrate._SQL["create_record"])
    for migration in migrate.load():
        if migration.version < "0004":
            await migrate._apply(connection, migration)
    old_room = connection.transaction()
    await old_room.start()
    for number in range(20):
        await connection.execute(_OLD_EVENT, f"aborted-{number}", number)
    await old_room.rollback()
    for number in range(30):
        if number == 10:
            await connection.execute("vacuum events")
        async with connection.transaction():
            await connection.execute(_OLD_EVENT, f"e{number}", number)
            await connection.execute(_OLD_AUDIT)
    places = await connection.fetch("select payload ->> 'row_version' as number from events order by ctid")
    assert [int(row["number"]) for row in places] != list(range(30)), "the heap's order tells nothing here"
    await migrate.migrate(empty_database)
    async with relaying(empty_database):
        events = await until_numbered(connection, 30)
        await write_committed(empty_database, "k", 30)
        events = await until_numbered(connection, 31)
    await connection.close()
    assert events == [(number + 1, "k", number) for number in range(31)]


async def test_a_position_that_is_taken_is_told_as_what_it_is(
    database: str, judge: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await write_committed(database, "k", 1)
    await judge.execute(
        "insert into events (event_id, topic, key, payload, occurred_at, position)"
        " values ('forged', 't', 'k', '{}', now(), 1)"
    )
    async with asyncio.timeout(DONE_WITHIN_SECONDS), relaying(database):
        while not caplog.records or caplog.records[-1].levelname != "ERROR":
            await asyncio.sleep(0.02)
    assert "a position is taken" in caplog.text
    assert "connection lost" not in caplog.text


_OLD_EVENT = (
    "insert into events (event_id, topic, key, payload, occurred_at) values"
    " ($1, 'trading.execution.status', 'k', jsonb_build_object('row_version', $2::int),"
    " timestamptz '2026-11-23 15:00Z' - $2 / 2 * interval '1 second')"
)
_OLD_AUDIT = (
    "insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs,"
    " payload) values ('2026-11-23 15:00Z', 'k', 'c', 'a', 'h', 'D', '[]', '[]', '{}')"
)
