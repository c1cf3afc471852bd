"""The TCP proxy over real sockets: an echo server and PostgreSQL behind it, and the proxy as a process."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from simulation.tcp_proxy import TcpProxy, main, obey
from workers.postgres import Server

WAIT_SECONDS = 10.0
SOON_SECONDS = 0.1
NOBODY = 9
LOST = (ConnectionError, asyncio.IncompleteReadError)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, text: bytes, patience_seconds: float = WAIT_SECONDS) -> bytes:
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), patience_seconds)


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_bytes_go_both_ways_whole_and_late_when_told(echo: int) -> None:
    async with TcpProxy("127.0.0.1", echo) as proxy, dialled(proxy.port) as client:
        much = os.urandom(3_000_000)
        assert await client.ask(much) == much
        proxy.slow_down(latency_ms=150)
        begun = time.monotonic()
        assert await client.ask(b"late") == b"late"
        assert time.monotonic() - begun >= 0.3, "each way takes the latency"
        proxy.slow_down(latency_ms=0)
        assert (proxy.accepted, proxy.open_links) == (1, 1)
        client.writer.write_eof()
        assert await client.reader.read() == b"", "the end is passed on, and comes back"


async def test_silence_reads_and_says_nothing_and_healing_cuts_what_lost_bytes(echo: int) -> None:
    async with TcpProxy("127.0.0.1", echo) as proxy, dialled(proxy.port) as old:
        assert await old.ask(b"a") == b"a"
        proxy.fall_silent()
        async with dialled(proxy.port) as new:
            for client in (old, new):
                with pytest.raises(TimeoutError):
                    await client.ask(b"b", SOON_SECONDS)
            await proxy.heal()
            for client in (old, new):
                with pytest.raises(LOST):
                    await asyncio.wait_for(client.reader.readexactly(1), WAIT_SECONDS)
        async with dialled(proxy.port) as client:
            assert await client.ask(b"c") == b"c"


async def test_refused_is_what_the_kernel_refuses_and_what_stands_goes_on(echo: int) -> None:
    async with TcpProxy("127.0.0.1", echo) as proxy, dialled(proxy.port) as client:
        await client.ask(b"a")
        for _ in range(2):
            await proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                async with dialled(proxy.port):
                    pass
        assert await client.ask(b"b") == b"b"
        await proxy.heal()
        async with dialled(proxy.port) as other:
            assert await other.ask(b"c") == b"c"


async def test_an_answer_ends_after_its_bytes_and_connections_can_be_cut(echo: int) -> None:
    async with TcpProxy("127.0.0.1", echo) as proxy:
        async with dialled(proxy.port) as client:
            await client.ask(b"before")
            proxy.cut_answers(after_bytes=5)
            client.writer.write(b"0123456789")
            assert await asyncio.wait_for(client.reader.read(), WAIT_SECONDS) == b"01234"
        await proxy.heal()
        async with dialled(proxy.port) as client, dialled(proxy.port) as other:
            for each in (client, other):
                await each.ask(b"a")
            proxy.cut_all()
            for each in (client, other):
                with pytest.raises(LOST):
                    await asyncio.wait_for(each.reader.readexactly(1), WAIT_SECONDS)
    with pytest.raises(ConnectionRefusedError):
        async with dialled(proxy.port):
            pass


async def test_a_target_that_is_not_there_is_a_reset() -> None:
    async with TcpProxy("127.0.0.1", NOBODY) as proxy, dialled(proxy.port) as client:
        with pytest.raises(LOST):
            await client.ask(b"a")


async def test_postgresql_behind_it_is_slow_mute_gone_and_back(postgres_server: Server) -> None:
    async with TcpProxy("127.0.0.1", postgres_server.port) as proxy:
        dsn = postgres_server.dsn("postgres").replace(f":{postgres_server.port}/", f":{proxy.port}/")
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT 1") == 1
        proxy.slow_down(latency_ms=50)
        begun = time.monotonic()
        assert await connection.fetchval("SELECT 2") == 2
        assert time.monotonic() - begun >= 0.1
        await proxy.heal()
        proxy.cut_answers(after_bytes=10)
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await connection.fetchval("SELECT 3")
        await proxy.heal()
        connection = await asyncpg.connect(dsn)
        proxy.fall_silent()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 4", timeout=SOON_SECONDS)
        connection.terminate()
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(dsn)
        await proxy.heal()
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT 5") == 5
        await connection.close()


async def test_a_control_line_that_makes_no_sense_changes_nothing(echo: int) -> None:
    async with TcpProxy("127.0.0.1", echo) as proxy:
        for line in ("dance", "latency", "latency x", "latency -1", "latency 60001", "cut_after -1", "cut 1"):
            answer = await obey(proxy, line)
            assert not answer["ok"], line
            assert answer["error"].startswith(line)
        assert await obey(proxy, "status") == {
            "ok": True, "mode": "forward", "latency_ms": 0, "cut_after_bytes": None, "open": 0, "accepted": 0,
        }  # fmt: skip
        told = [await obey(proxy, line) for line in ("latency 5", "cut_after 7", "silence", "refuse", "heal")]
        assert told[3] == {**told[0], "mode": "refuse", "cut_after_bytes": 7}
        assert told[4]["mode"] == "forward"
    assert main(["--target", "nowhere"]) == 2


@contextlib.asynccontextmanager
async def process(echo: int, *before: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    argv = (*before, sys.executable, "-m", "simulation.tcp_proxy", "--target", f"127.0.0.1:{echo}")
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    try:
        yield started, (await read(started))["port"]
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def read(started: asyncio.subprocess.Process) -> dict[str, Any]:
    assert started.stdout is not None
    return dict(json.loads(await started.stdout.readline()))


async def test_the_process_obeys_lines_and_ends_with_its_input(echo: int) -> None:
    async with process(echo) as (started, port), dialled(port) as client:
        assert started.stdin is not None
        assert await client.ask(b"a") == b"a"
        started.stdin.write(b"latency 5\n")
        answer = await read(started)
        assert (answer["ok"], answer["latency_ms"], answer["open"]) == (True, 5, 1)
        started.stdin.close()
        assert await asyncio.wait_for(started.wait(), WAIT_SECONDS) == 0
        with pytest.raises(LOST):
            await asyncio.wait_for(client.reader.readexactly(1), WAIT_SECONDS)


async def test_the_process_ends_when_its_parent_is_killed(echo: int) -> None:
    parent = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()"
    async with process(echo, sys.executable, "-c", parent) as (started, port), dialled(port) as client:
        assert await client.ask(b"a") == b"a"
        started.kill()
        with pytest.raises(LOST):
            await asyncio.wait_for(client.reader.readexactly(1), WAIT_SECONDS)
