"""Cutting a connection in the middle of a request or a stream, which ASGI has no word for."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.websockets import WebSocket
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TRANSPORT = "exchange.transport"
PROTOCOL = "exchange.protocol"


class ExchangeWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, showing its transport to the application; it can be made deaf."""

    _unheard: list[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app = _showing(transport, self.app, self)

    def deafen(self) -> None:
        """Hear nothing any more, so that no ping is answered and no close either; send no pings of our own."""
        if self._unheard is None:
            self._unheard = []
            self.stop_keepalive()

    def undeafen(self) -> None:
        """Hear everything that came meanwhile."""
        unheard, self._unheard = self._unheard, None
        if unheard is None or self.transport.is_closing():
            return
        self.start_keepalive()
        if unheard:
            self.data_received(b"".join(unheard))

    def data_received(self, data: bytes) -> None:
        if self._unheard is not None:
            self._unheard.append(data)
        else:
            super().data_received(data)


class ExchangeProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, showing its transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _showing(transport, self.app)


def _showing(transport: asyncio.BaseTransport, served: Any, protocol: ExchangeWebSocket | None = None) -> Any:
    async def with_transport(scope: Any, receive: Any, send: Any) -> None:
        scope[TRANSPORT], scope[PROTOCOL] = transport, protocol
        await served(scope, receive, send)

    return with_transport


def cut_socket(socket: WebSocket) -> None:
    """Reset a stream's connection."""
    transport: asyncio.Transport = socket.scope[TRANSPORT]
    transport.abort()


def deafen(socket: WebSocket) -> None:
    """Let a stream's connection stand and answer nothing, pings included."""
    protocol: ExchangeWebSocket = socket.scope[PROTOCOL]
    protocol.deafen()


def undeafen(socket: WebSocket) -> None:
    """Let a deaf connection hear again; any other is as it was."""
    protocol: ExchangeWebSocket = socket.scope[PROTOCOL]
    protocol.undeafen()


async def drop_connection(request: Request) -> None:
    """Close the client's connection without a byte of answer, and wait until it is gone."""
    transport: asyncio.Transport = request.scope[TRANSPORT]
    transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
