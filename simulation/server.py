"""Serving a paper exchange over HTTP and WebSocket, in this event loop or in a thread of its own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, WebSocketRoute

from simulation import routes_data, routes_trading, watchlists
from simulation.data_stream import DataStream
from simulation.door import Door
from simulation.exchange import Exchange
from simulation.routes_control import Control
from simulation.settings import ExchangeSettings
from simulation.trade_updates import TradeUpdates
from simulation.transport import ExchangeProtocol, ExchangeWebSocket

ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
GRACE_SECONDS = 1
STARTED_POLL_SECONDS = 0.005
START_TIMEOUT_SECONDS = 10.0
BACKLOG = 1_024


@dataclass(frozen=True, slots=True)
class RunningExchange:
    """Where a running exchange can be reached: ``url`` for REST, ``ws_url`` for WebSockets."""

    url: str
    ws_url: str
    port: int
    key: str
    secret: str
    ledger_path: Path


class ExchangeFailed(RuntimeError):
    """The exchange stopped on its own: its time stood still or its ledger could not be written."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: who starts the exchange decides about signals."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def serve(settings: ExchangeSettings) -> AsyncIterator[RunningExchange]:
    """Run an exchange in this event loop for the length of the context.

    Raises OSError if the port is taken, LedgerInUse, LedgerCorrupt; ExchangeFailed on the way out.
    """
    with contextlib.closing(_listen(settings)) as listening:
        exchange = Exchange(settings)
        async with _running(exchange, listening) as (running, _):
            yield running


async def run_until_stopped(settings: ExchangeSettings, stop: asyncio.Event, ready: Any) -> None:
    """Run an exchange until ``stop`` is set; calls ``ready(RunningExchange)`` once it listens.

    Raises as ``serve`` does.
    """
    with contextlib.closing(_listen(settings)) as listening:
        exchange = Exchange(settings)
        async with _running(exchange, listening) as (running, ended):
            ready(running)
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()


@contextmanager
def start_in_thread(settings: ExchangeSettings) -> Iterator[RunningExchange]:
    """Run an exchange in a thread with its own event loop, for callers that block (like alpaca-py).

    Raises whatever ``serve`` raises, in the calling thread.
    """
    started = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["loop"], box["stop"] = asyncio.get_running_loop(), asyncio.Event()

        def ready(running: RunningExchange) -> None:
            box["running"] = running
            started.set()

        await run_until_stopped(settings, box["stop"], ready)

    def target() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            box["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=target, name="exchange", daemon=True)
    thread.start()
    if not started.wait(START_TIMEOUT_SECONDS):
        raise TimeoutError(f"the exchange did not start within {START_TIMEOUT_SECONDS:g} s")
    try:
        if "running" in box:
            yield box["running"]
            with contextlib.suppress(RuntimeError):
                box["loop"].call_soon_threadsafe(box["stop"].set)
    finally:
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):
                box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(START_TIMEOUT_SECONDS)
    if "error" in box:
        raise box["error"]


def build_app(exchange: Exchange) -> tuple[Starlette, TradeUpdates]:
    """All routes of a started exchange, and the hub that publishes its trade updates."""
    door = Door(exchange)
    updates, data = TradeUpdates(exchange), DataStream(exchange)
    tables: tuple[tuple[Any, Any], ...] = (
        ("trading", routes_trading.ROUTES),
        ("trading", watchlists.ROUTES),
        ("data", routes_data.ROUTES),
    )
    routes: list[BaseRoute] = [
        Route(path, door.endpoint(handler, path, surface), methods=[method])
        for surface, table in tables
        for method, path, handler in table
    ]
    unknown = door.endpoint(routes_trading.unknown_route, "unknown", "trading")
    routes += [
        *Control(exchange, door).routes(),
        WebSocketRoute("/stream", updates.serve),
        WebSocketRoute("/v2/{feed}", data.serve),
        Route("/{path:path}", unknown, methods=ALL_METHODS),
    ]
    return Starlette(routes=routes), updates


def _listen(settings: ExchangeSettings) -> socket.socket:
    # Named by protocol number, else asyncio leaves Nagle's algorithm on and every answer waits 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


@asynccontextmanager
async def _running(
    exchange: Exchange, listening: socket.socket
) -> AsyncIterator[tuple[RunningExchange, "asyncio.Task[Any]"]]:
    await exchange.start()
    app, updates = build_app(exchange)
    config = uvicorn.Config(
        app,
        http=ExchangeProtocol,
        ws=ExchangeWebSocket,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    publishing = asyncio.create_task(updates.publish())
    ended = asyncio.create_task(exchange.stopping.wait())
    try:
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(STARTED_POLL_SECONDS)
        yield _reachable(exchange, listening), ended
    finally:
        exchange.stopping.set()
        server.should_exit = True
        await serving
        for task in (publishing, ended):
            task.cancel()
        await asyncio.gather(publishing, ended, return_exceptions=True)
        await exchange.stop()
    if exchange.failure is not None:
        raise ExchangeFailed("the exchange stopped on its own") from exchange.failure


def _reachable(exchange: Exchange, listening: socket.socket) -> RunningExchange:
    settings = exchange.settings
    port = listening.getsockname()[1]
    return RunningExchange(
        url=f"http://{settings.host}:{port}",
        ws_url=f"ws://{settings.host}:{port}",
        port=port,
        key=settings.key.get_secret_value(),
        secret=settings.secret.get_secret_value(),
        ledger_path=exchange.ledger.path,
    )
