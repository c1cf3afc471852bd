"""``trading events tail``: what the table says, as it comes, and quiet however it ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from observability.metrics import Metrics
from tests.console.commands import PROGRAM, Trading, environment
from tests.postgres.outbox import status_event, write, write_committed
from workers.relay import Relay

ENOUGH_SECONDS = 60


@pytest.fixture
async def numbering(database: str) -> AsyncIterator[str]:
    """A database whose events get their positions."""
    relay = asyncio.create_task(Relay(database, Metrics()).run())
    yield database
    relay.cancel()
    with suppress(asyncio.CancelledError):
        await relay


async def until_numbered(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    async with asyncio.timeout(ENOUGH_SECONDS):
        while await connection.fetchval("select position from event_relay") < count:
            await asyncio.sleep(0.02)
    await connection.close()


@asynccontextmanager
async def tailing(dsn: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command while it runs, for as long as a test may take."""
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), "events", "tail", *arguments, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment(TRADING_DATABASE_URL=dsn),
    )  # fmt: skip
    try:
        async with asyncio.timeout(ENOUGH_SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lines(process: asyncio.subprocess.Process, count: int) -> list[bytes]:
    assert process.stdout is not None
    return [await process.stdout.readline() for _ in range(count)]


async def test_it_follows_live_and_ends_at_its_limit(numbering: str) -> None:
    await write_committed(numbering, "a", 1, 2)
    await until_numbered(numbering, 2)
    async with tailing(numbering, "--json", "--since", "0", "--limit", "4") as process:
        told = await lines(process, 2)
        await write_committed(numbering, "a", 3, 4, 5)
        told += await lines(process, 2)
        rest, errors = await process.communicate()
    assert (process.returncode, rest, errors) == (0, b"", b"")
    connection = await asyncpg.connect(numbering)
    rows = await connection.fetch(
        "select position, topic, payload from events where position <= 4 order by 1"
    )
    await connection.close()
    assert [json.loads(line) for line in told] == [
        {"position": row["position"], "topic": row["topic"], "payload": json.loads(row["payload"])}
        for row in rows
    ]


async def test_what_is_there_is_printed_for_people(numbering: str) -> None:
    """How: 12 events of one order and 2 hostile ones; the newest 10 by default, from any place or topic."""
    connection = await asyncpg.connect(numbering)
    async with connection.transaction():
        await write(
            connection, *(status_event("a", number, flags=("pending_cancel",)) for number in range(12))
        )
        await write(connection, status_event("b", 1, reason="\x1b[31mred", signal_id="b\u202e"))
    await connection.close()
    await until_numbered(numbering, 13)
    trading = Trading(environment(TRADING_DATABASE_URL=numbering))
    newest = await trading("events", "tail", "--no-follow")
    assert newest.code == 0
    assert newest.err == ""
    assert [line.split()[0] for line in newest.out.splitlines()] == [str(number) for number in range(4, 14)]
    assert not {"\x1b", "\u202e"} & set(newest.out), "no colours, and nobody else's either"
    assert newest.out.splitlines()[0].split() == [
        "4", "15:00:00.000", "trading.execution.status", "a", "0", "AAPL", "ACKNOWLEDGED", "pending_cancel",
    ]  # fmt: skip
    for arguments, count in (
        (("--since", "2026-11-23T14:00:00Z"), 13),
        (("--limit", "12"), 12),
        (("--topic", "trading.execution.fill", "--topic", "trading.risk.approved"), 0),
    ):
        done = await trading("events", "tail", "--no-follow", "--json", *arguments)
        assert (done.code, len(done.out.splitlines())) == (0, count), arguments
    ahead = await trading("events", "tail", "--since", "14")
    assert (ahead.code, "ahead of the newest" in ahead.err) == (2, True)


async def test_other_topics_are_passed_over_while_following(numbering: str) -> None:
    async with tailing(numbering, "--json", "--topic", "trading.execution.status", "--limit", "1") as process:
        await write_committed(numbering, "a", 1)
        (line,) = await lines(process, 1)
        assert json.loads(line)["position"] == 1
        assert await process.wait() == 0


async def test_ctrl_c_and_a_closed_pipe_are_quiet_while_it_waits(numbering: str) -> None:
    await write_committed(numbering, "a", 1)
    await until_numbered(numbering, 1)
    async with tailing(numbering) as process:
        await lines(process, 1)
        process.send_signal(signal.SIGINT)
        out, errors = await process.communicate()
        assert (process.returncode, out, errors) == (130, b"", b"")
    script = f"{PROGRAM} events tail | head -n 1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(TRADING_DATABASE_URL=numbering),
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), ENOUGH_SECONDS)
    assert out.splitlines()[1:] == [b"141"]
    assert errors == b""


async def test_a_lost_database_is_exit_3(numbering: str) -> None:
    await write_committed(numbering, "a", 1)
    await until_numbered(numbering, 1)
    async with tailing(numbering) as process:
        await lines(process, 1)
        connection = await asyncpg.connect(numbering)
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'trading-console' and datname = current_database()"
        )
        await connection.close()
        _, errors = await process.communicate()
        assert process.returncode == 3
        assert b"PostgreSQL does not answer" in errors
        assert b"Traceback" not in errors
