"""Groups of consumers by the command line: replayed, set back, taken part in, and what they could not take."""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from observability.metrics import Metrics
from tests.console.commands import Trading, environment
from tests.postgres.outbox import status_event, write
from workers.relay import Relay

GROUP = "books"


@pytest.fixture
async def trading(database: str) -> AsyncIterator[Trading]:
    """The program on a database with six numbered events of one order."""
    relay = asyncio.create_task(Relay(database, Metrics()).run())
    connection = await asyncpg.connect(database)
    async with connection.transaction():
        await write(connection, *(status_event("a", number) for number in range(1, 7)))
    async with asyncio.timeout(60):
        while await connection.fetchval("select position from event_relay") < 6:
            await asyncio.sleep(0.02)
    await connection.close()
    yield Trading(environment(TRADING_DATABASE_URL=database))
    relay.cancel()
    with suppress(asyncio.CancelledError):
        await relay


def told(out: str) -> list[tuple[int, int | None]]:
    """(position, attempt) of each line."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    return [(each["position"], each.get("attempt")) for each in lines]


async def test_a_group_is_told_set_back_and_told_again(trading: Trading, database: str) -> None:
    first = await trading("events", "consume", GROUP, "--since", "1", "--limit", "2")
    assert (first.code, told(first.out)) == (0, [(2, 1), (3, 1)])
    back = await trading(
        "events", "replay", "--since", "0", "--group", GROUP, "--reason", "its table was lost", "--json"
    )
    assert (back.code, back.json["position"]) == (0, 0)
    again = await trading("events", "consume", GROUP, "--limit", "4")
    assert told(again.out) == [(1, 2), (2, 2), (3, 2), (4, 1)], "known as told before"
    (group,) = (await trading("events", "groups", "--json")).json
    assert (group["group"], group["position"], group["waiting"], group["dead"]) == (GROUP, 4, 2, 0)
    assert (await trading("events", "groups", "--drop", GROUP, "--reason", "not used any more")).code == 0
    connection = await asyncpg.connect(database)
    rows = await connection.fetch(
        "select decision, actor from audit_log where correlation_id = 'event-group books' order by id"
    )
    assert await connection.fetchval("select count(*) from event_cursors") == 0
    await connection.close()
    assert [row["decision"] for row in rows] == ["EVENT_GROUP_RESET", "EVENT_GROUP_DROPPED"]
    assert all(row["actor"].startswith("operator ") for row in rows)


async def test_what_a_command_does_not_take_is_tried_again_and_the_dead_are_put_back(
    trading: Trading, database: str
) -> None:
    first = "! grep -q '\"attempt\": 1,'"
    taken = await trading("events", "consume", GROUP, "--since", "5", "--limit", "1", "--run", first)
    assert taken.code == 0
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("select max(position) from event_cursors") == 6
    await connection.execute(
        "insert into event_dead_letters (group_name, position, partition, event_id, topic, key, occurred_at,"
        " payload, tries, error, died_at, death) select $1, position, hashtext(key) & 15, event_id, topic, key,"
        " occurred_at, payload, 5, 'no', now(), 'x' from events where position = 2",
        GROUP,
    )
    await connection.close()
    (letter,) = (await trading("events", "dead", GROUP, "--json")).json
    assert (letter["position"], letter["tries"], letter["error"], letter["put_back"]) == (2, 5, "no", False)
    done = await trading("events", "dead", GROUP, "--put-back-all", "--reason", "mended", "--json")
    assert done.json["put_back"] == [2]
    again = await trading("events", "consume", GROUP, "--limit", "1")
    assert told(again.out) == [(2, 2)]


async def test_past_events_are_written_to_a_file_once(
    trading: Trading, tmp_path: Path, database: str
) -> None:
    file = tmp_path / "events.jsonl"
    done = await trading("events", "replay", "--since", "1", "--until", "4", "--output", str(file), "--json")
    assert (done.code, done.json["events"]) == (0, 3)
    assert [position for position, _ in told(file.read_text())] == [2, 3, 4]
    printed = await trading(
        "events", "replay", "--since", "2026-11-23T14:00:00Z", "--topic", "trading.execution.status"
    )
    assert [position for position, _ in told(printed.out)] == [1, 2, 3, 4, 5, 6]
    connection = await asyncpg.connect(database)
    await connection.execute("delete from events where position <= 2")
    await connection.close()
    archived = await trading("events", "replay", "--since", "0")
    assert (archived.code, "up to position 2 are archived" in archived.err) == (1, True)


@pytest.mark.parametrize("name", ["TRADING_DATABASE_URL", "TRADING_EVENT_REDIS_DSN"])
async def test_an_address_that_cannot_be_read_is_refused_untold(name: str) -> None:
    scheme = "redis" if "REDIS" in name else "postgresql"
    program = Trading(environment(**{name: f"{scheme}://u:sec/ret@127.0.0.1/db"}))
    done = await program("events", "consume", GROUP)
    assert (done.code, "cannot be read" in done.err) == (2, True)
    assert "sec" not in done.out + done.err


LOSE_THE_LEASE = """\
import asyncio, json, sys
import asyncpg

async def lose():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("update event_cursors set fence = fence + 1, lease_until = null")

if json.load(sys.stdin)["attempt"] == 1:
    asyncio.run(lose())
"""


async def test_who_loses_the_lease_is_told_and_goes_on(
    trading: Trading, tmp_path: Path, database: str
) -> None:
    """How: the partition becomes another's while the first command runs, as it may once the lease has run out."""
    program = tmp_path / "lose.py"
    program.write_text(LOSE_THE_LEASE)
    done = await trading(
        "events", "consume", GROUP, "--since", "5", "--limit", "1", "--run",
        shlex.join([sys.executable, str(program), database]),
    )  # fmt: skip
    assert (done.code, done.err.count("the event 6 took longer than its lease")) == (0, 1)
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("select max(position) from event_cursors") == 6
    await connection.close()


async def test_a_database_without_our_tables_is_told_of(empty_database: str) -> None:
    done = await Trading(environment(TRADING_DATABASE_URL=empty_database))("events", "consume", GROUP)
    assert (done.code, "`trading migrate`" in done.err) == (3, True)
