"""Cutting a connection in the middle of a request or a stream, which ASGI has no word for."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.websockets import WebSocket
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TRANSPORT = "exchange.transport"


class ExchangeWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, showing its transport to the application."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app = _showing(transport, self.app)


class ExchangeProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, showing its transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _showing(transport, self.app)


def _showing(transport: asyncio.BaseTransport, served: Any) -> Any:
    async def with_transport(scope: Any, receive: Any, send: Any) -> None:
        scope[TRANSPORT] = transport
        await served(scope, receive, send)

    return with_transport


def cut_socket(socket: WebSocket) -> None:
    """Reset a stream's connection."""
    transport: asyncio.Transport = socket.scope[TRANSPORT]
    transport.abort()


async def drop_connection(request: Request) -> None:
    """Close the client's connection without a byte of answer, and wait until it is gone."""
    transport: asyncio.Transport = request.scope[TRANSPORT]
    transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
