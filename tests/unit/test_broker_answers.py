"""What an answer comes to that may be lost, late or unreadable, and on which connection it is asked for."""

import asyncio
from pathlib import Path

import pytest

from broker.alpaca import transport
from broker.alpaca.client import AlpacaReader
from broker.alpaca.trader import AlpacaTrader
from broker.errors import NetworkError, RateLimited, UnknownOutcome
from schemas.orders import CancelAnswer
from tests.unit.broker_server import ORDER, Request, Server, http
from tests.unit.broker_trader import ORDER_ID, calls, place, server, short_limits, trader

__all__ = ["calls", "server", "short_limits", "trader"]

# It may have landed


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>", 502),
        http(b"", 503),
        http({"code": 50010000, "message": "internal server error occurred"}, 500),
        http(b"<html>504</html>", 504),
        http(b"", 200),
        http(b"not json", 200),
        http(["a list"], 200),
        http({**ORDER, "filled_qty": "many"}, 200),
        http({**ORDER, "client_order_id": "somebody-else"}, 200),
        http(b"", 301, Location="https://example.invalid/"),
        http(ORDER)[:-5],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"nonsense\r\n\r\n",
    ],
    ids=range(14),
)
async def test_unreadable_answers_to_a_post(server: Server, trader: AlpacaTrader, answer: bytes) -> None:
    async def write_and_drop(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(answer)
        await writer.drain()
        writer.close()

    server.answer = write_and_drop
    with pytest.raises(UnknownOutcome) as caught:
        await place(trader)
    assert len(server.requests) == 1
    assert caught.value.__cause__ is None
    assert await trader.cancel_order(ORDER_ID) in (CancelAnswer.UNKNOWN_OUTCOME, CancelAnswer.REQUESTED)
    with pytest.raises(NetworkError):
        await trader.get_account()


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "]
)
async def test_total_deadline_over_a_slow_answer(server: Server, trader: AlpacaTrader, head: bytes) -> None:
    """Each byte comes soon enough for the read timeout, the whole never."""
    written: list[int] = []

    async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(head)
        for number in range(200):
            writer.write(b" ")
            await writer.drain()
            written.append(number)
            await asyncio.sleep(0.05)

    server.answer = trickle
    with pytest.raises(UnknownOutcome):
        await place(trader)
    assert len(written) < 200, "the call ended while the answer was still coming"
    assert len(server.requests) == 1


@pytest.mark.usefixtures("short_limits")
async def test_hang(server: Server, trader: AlpacaTrader) -> None:
    async def never(request: Request, writer: asyncio.StreamWriter) -> None:
        del request, writer
        await asyncio.sleep(3600)

    server.answer = never
    with pytest.raises(UnknownOutcome):
        await place(trader)
    with pytest.raises(NetworkError):
        await trader.get_account()
    assert await trader.cancel_order(ORDER_ID) is CancelAnswer.UNKNOWN_OUTCOME
    assert len(server.requests) == 3


async def test_429_and_504_are_never_repeated(server: Server, trader: AlpacaTrader) -> None:
    server.always(http({"code": 42910000, "message": "rate limit exceeded"}, 429, Retry_After="7"))
    with pytest.raises(RateLimited) as caught:
        await place(trader)
    assert caught.value.retry_after_seconds == 7
    server.always(http(b"", 504))
    with pytest.raises(UnknownOutcome):
        await place(trader)
    assert len(server.requests) == 2


# Connections


async def test_connection_is_kept_but_not_after_a_pause(
    server: Server, trader: AlpacaTrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.always(http(ORDER))
    await place(trader)
    await place(trader)
    assert server.connections == 1
    monkeypatch.setattr(transport, "REUSE_IDLE_MAX_SECONDS", 0.0)
    await place(trader)
    assert server.connections == 2


async def test_connection_that_the_server_closed_meanwhile_is_not_used(
    server: Server, trader: AlpacaTrader
) -> None:
    closed = asyncio.Event()

    async def answer_and_close(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(http(ORDER))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    server.answer = answer_and_close
    for _ in range(3):
        await place(trader)
        await closed.wait()
    assert server.connections == 3


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.always(http(ORDER))
    reader = AlpacaReader(server.settings)
    assert (await reader.get_order_status(ORDER_ID)).broker_order_id == ORDER_ID
    assert "authorization" not in server.requests[0].headers
    await reader.close()


async def test_each_lane_goes_its_own_way(server: Server, trader: AlpacaTrader) -> None:
    """Eight hanging placements and four hanging reads do not delay a cancel."""
    release = asyncio.Event()

    async def hang_unless_cancel(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method != "DELETE":
            await release.wait()
        answer = http(None, 204) if request.method == "DELETE" else http(ORDER)
        writer.write(answer)

    server.answer = hang_unless_cancel
    stuck = [asyncio.ensure_future(place(trader)) for _ in range(10)]
    stuck += [asyncio.ensure_future(trader.get_order_status(ORDER_ID)) for _ in range(6)]
    assert await trader.cancel_order(ORDER_ID) is CancelAnswer.REQUESTED
    release.set()
    await asyncio.gather(*stuck)
    assert sum(sent.method == "POST" for sent in server.requests) == 10
