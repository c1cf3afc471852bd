"""A real TCP server that answers as a test says, down to the byte."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from broker.alpaca.settings import AlpacaSettings
from schemas.orders import Action, OrderRequest, OrderType, TimeInForce

KEY, SECRET = "PKTESTKEY", "canary-secret-5f2e"

ORDER = {
    "id": "0b0e2b0a-6a55-4f43-9a0c-0d7f6f7c2a01",
    "client_order_id": "ti-1",
    "created_at": "2026-11-23T15:15:03.951234Z",
    "updated_at": "2026-11-23T15:15:04.130001Z",
    "submitted_at": "2026-11-23T15:15:03.948877123Z",
    "symbol": "AAPL",
    "asset_class": "us_equity",
    "notional": None,
    "qty": "10",
    "filled_qty": "0",
    "filled_avg_price": None,
    "order_class": "",
    "order_type": "limit",
    "type": "limit",
    "side": "buy",
    "time_in_force": "day",
    "limit_price": "180.5",
    "status": "new",
    "extended_hours": False,
    "legs": None,
}


def http(body: object = None, status: int = 200, **headers: str) -> bytes:
    """An HTTP answer; ``body`` is JSON unless it is bytes."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content)), **{k.replace("_", "-"): v for k, v in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + content


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """What arrived, and what to do with it."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    answer: Answer | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> AlpacaSettings:
        return AlpacaSettings(
            SecretStr(KEY), SecretStr(SECRET), self.url, f"ws://127.0.0.1:{self.port}/stream"
        )

    def always(self, answer: bytes) -> None:
        """Answer everything with these bytes."""

        async def write(request: Request, writer: asyncio.StreamWriter) -> None:
            del request
            writer.write(answer)

        self.answer = write

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.append(asyncio.ensure_future(self._serve(reader, writer)))

    async def close(self) -> None:
        """Let go of every connection, whatever it waits for."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _read(reader)
                self.requests.append(request)
                assert self.answer is not None
                await self.answer(request, writer)
                await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A server on a free port of the loopback address, for the length of the block."""
    server = Server()
    tcp = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        tcp.close()
        await server.close()


def order_request(quantity: str = "10", price: str = "180.5", **fields: Any) -> OrderRequest:
    """A buy of 10 AAPL at $180.50 for the day, unless told otherwise."""
    base = OrderRequest(
        internal_order_id="7d1f0c3e",
        client_order_id="ti-1",
        ticker="AAPL",
        action=Action.BUY_TO_OPEN,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        quantity=Decimal(quantity),
        limit_price=Decimal(price),
    )
    return base.model_copy(update=fields)


def nothing() -> None:
    """The caller's last check, when it has no objection."""
