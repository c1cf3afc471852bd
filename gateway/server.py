"""Serving the gateway from inside a worker's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.types import ASGIApp

from storage.event_feed import EventFeed

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 1024
CONNECTIONS_MAX: Final = 1000
"""Beyond it uvicorn answers 503 at once."""
KEEP_ALIVE_SECONDS: Final = 30
UNREAD_SECONDS_MAX: Final = 30
"""A connection whose other end takes nothing for so long is cut, by the kernel (Linux)."""
SHUTDOWN_SECONDS: Final = 10
"""For requests in flight. A signal cut off here is committed and started by the sweeper, or never taken."""


class _Server(uvicorn.Server):
    """Leaves the process' signals to the process, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            flow = getattr(connection, "flow", None)
            if flow is not None and flow.write_paused:
                # It would not read the end of its answer either, and hold up everyone's.
                connection.transport.abort()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, *, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[int]:
    """Serve any application until the block ends; yields the port, a free one where 0 was asked for.

    Leaving takes no new connection, lets requests in flight end for ``SHUTDOWN_SECONDS`` and frees the port.

    Raises:
        OSError: the port is taken.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait((task, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if task.done():
            task.result()
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.shield(task)


@contextlib.asynccontextmanager
async def serving(app: "FastAPI", *, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[int]:
    """Serve the gateway as `listening` does; leaving ends the event streams first."""
    async with listening(app, host=host, port=port) as chosen:
        try:
            yield chosen
        finally:
            feed: EventFeed = app.state.feed
            feed.close()


async def serve(app: "FastAPI", host: str = LOOPBACK, port: int = 0) -> None:
    """Serve until cancelled."""
    async with serving(app, host=host, port=port):
        await asyncio.Event().wait()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), backlog=BACKLOG)
    # asyncio sets this itself only on sockets made with a protocol number; without it answers wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS_MAX)
    listener.setblocking(False)
    return listener
