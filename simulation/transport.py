"""Cutting a connection in the middle of a request, which ASGI has no word for."""

import asyncio
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

TRANSPORT = "exchange.transport"


class ExchangeProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, showing its transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        served = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[TRANSPORT] = transport
            await served(scope, receive, send)

        self.app = with_transport


async def drop_connection(request: Request) -> None:
    """Close the client's connection without a byte of answer, and wait until it is gone."""
    transport: asyncio.Transport = request.scope[TRANSPORT]
    transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
