"""The HTTP side of the data adapter against a server that answers badly."""

import asyncio
import gc
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from pydantic import SecretStr

from market import http
from market.alpaca_data import AlpacaDataSettings, AlpacaMarketData
from market.errors import (
    FeedNetworkError,
    FeedNotEntitledError,
    FeedRateLimitError,
    FeedRequestError,
    FeedUnauthorizedError,
    FeedUnreadableError,
    MarketDataError,
)
from schemas.market import Provider

QUOTE = '{"t":"2026-11-23T15:15:03.9Z","bp":180.44,"bs":2,"ap":180.480,"as":1}'
BODY = f'{{"quotes":{{"AAPL":{QUOTE}}}}}'.encode()
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def whole(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Server:
    """Gives every request the same bytes, and keeps the requests."""

    def __init__(self, answer: bytes | Answer) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(reader, writer)
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(answer: bytes | Answer) -> AsyncIterator[tuple[Server, AlpacaMarketData]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    data = adapter(server.url)
    try:
        yield server, data
    finally:
        await data.close()
        listening.close()


def adapter(url: str, provider: Provider = Provider.PRIMARY) -> AlpacaMarketData:
    return AlpacaMarketData(
        AlpacaDataSettings(
            url=url,
            stream_url="ws://127.0.0.1:1/v2/iex",
            feed="iex",
            key_id=SecretStr("the-key"),
            secret_key=SecretStr("the-secret"),
            provider=provider,
        )
    )


async def test_asks_once_with_keys_and_feed_and_reads_exact_numbers() -> None:
    async with served(whole(BODY)) as (server, data):
        quotes = await data.latest_quotes(["MSFT", "AAPL", "AAPL"])
    assert list(quotes) == ["AAPL"], "a ticker the provider does not know is missing"
    assert (quotes["AAPL"].bid, quotes["AAPL"].ask) == (Decimal("180.44"), Decimal("180.48"))
    assert len(server.requests) == 1
    assert server.requests[0].startswith("GET /v2/stocks/quotes/latest?symbols=AAPL%2CMSFT&feed=iex HTTP/1.1")
    assert "APCA-API-KEY-ID: the-key\r\n" in server.requests[0]


async def test_reads_compressed_and_chunked_answers() -> None:
    body = gzip.compress(BODY)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    async with served(head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n") as (_, data):
        assert "AAPL" in await data.latest_quotes(["AAPL"])


async def test_keeps_its_connection() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            writer.write(whole(BODY))
            await reader.readuntil(b"\r\n\r\n")

    async with served(count) as (_, data):
        for _ in range(20):
            await data.latest_quotes(["AAPL"])
    assert connections <= 4, "one for each thread"


async def test_asks_for_many_tickers_in_parts() -> None:
    async with served(whole(BODY)) as (server, data):
        await data.latest_quotes([f"T{number}" for number in range(401)])
    assert len(server.requests) == 3


async def test_nothing_is_asked_for_nothing() -> None:
    async with served(whole(BODY)) as (server, data):
        assert await data.latest_quotes([]) == {}
    assert server.requests == []


async def test_a_quote_that_cannot_be_read_is_left_out_and_the_others_are_not() -> None:
    body = json.dumps({"quotes": {"BAD": {"bp": "x"}, "AAPL": json.loads(QUOTE), "MORE": json.loads(QUOTE)}})
    async with served(whole(body.encode())) as (_, data):
        assert list(await data.latest_quotes(["AAPL", "BAD"])) == ["AAPL"]


DEPTH = 100_000
REFUSALS: list[tuple[bytes, type[MarketDataError]]] = [
    (whole(b'{"message":"invalid symbol"}', "400 Bad Request"), FeedRequestError),
    (whole(b"", "401 Unauthorized"), FeedUnauthorizedError),
    (whole(b'{"message":"subscription does not permit"}', "403 Forbidden"), FeedNotEntitledError),
    (whole(b"", "429 Too Many Requests", "Retry-After: 3\r\n"), FeedRateLimitError),
    (whole(b"<html>bad gateway</html>", "502 Bad Gateway"), FeedNetworkError),
    (whole(b"", "503 Service Unavailable"), FeedNetworkError),
    (whole(b"{}", "504 Gateway Timeout"), FeedNetworkError),
    (whole(b"moved", "302 Found", "Location: http://127.0.0.1:1/\r\n"), FeedUnreadableError),
    (whole(b""), FeedUnreadableError),
    (whole(b"<html>"), FeedUnreadableError),
    (whole(b"[]"), FeedUnreadableError),
    (whole(b"{}"), FeedUnreadableError),
    (whole(b'{"quotes":[]}'), FeedUnreadableError),
    (whole(b'{"quotes":{"AAPL":{"bp":NaN}}}'), FeedUnreadableError),
    (whole(b"[" * DEPTH), FeedUnreadableError),
    (whole(b"nope", headers="Content-Encoding: gzip\r\n"), FeedNetworkError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", FeedNetworkError),
    (b"SSH-2.0\r\n\r\n", FeedNetworkError),
]  # fmt: skip


@pytest.fixture
def _no_garbage_at_depth(answer: bytes) -> Iterator[None]:
    """What others left behind is collected now, not inside 100,000 brackets, where no finalizer can run."""
    if len(answer) < DEPTH:
        yield
        return
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_at_depth")
@pytest.mark.parametrize(("answer", "kind"), REFUSALS)
async def test_each_bad_answer_is_one_request_and_one_typed_error(
    answer: bytes, kind: type[MarketDataError]
) -> None:
    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with served(once) as (server, data):
        with pytest.raises(kind) as caught:
            await data.latest_quotes(["AAPL"])
    assert type(caught.value) is kind
    assert len(server.requests) == 1, "the SDK never repeats on its own"
    assert "the-secret" not in repr(caught.value)


async def test_nobody_listening() -> None:
    async with served(b"") as (server, data):
        pass
    data = adapter(server.url)
    with pytest.raises(FeedNetworkError):
        await data.latest_quotes(["AAPL"])
    await data.close()


async def test_a_body_that_drips_ends_at_the_deadline_and_frees_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each byte comes well within the read timeout; only the deadline ends it."""
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.2)
    hung_up = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            hung_up.set()

    async with served(drip) as (_, data):
        with pytest.raises(FeedNetworkError, match="no whole answer"):
            await data.latest_quotes(["AAPL"])
        await asyncio.wait_for(hung_up.wait(), 10)


async def test_silence_ends_at_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_SECONDS", 0.1)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with served(silent) as (_, data):
        with pytest.raises(FeedNetworkError, match="Timeout"):
            await data.latest_quotes(["AAPL"])


async def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_MAX_BYTES", 100_000)
    async with served(whole(b" " * 200_000)) as (_, data):
        with pytest.raises(FeedNetworkError, match="100000 bytes"):
            await data.latest_quotes(["AAPL"])


async def test_the_environment_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with served(whole(BODY)) as (_, data):
        assert "AAPL" in await data.latest_quotes(["AAPL"])


def test_settings_show_no_secret() -> None:
    settings = adapter("http://127.0.0.1:1")._settings
    assert "the-secret" not in repr(settings)
    assert "the-key" not in repr(settings)
