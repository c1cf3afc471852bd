"""The compact topology's one process: gateway, every role and housekeeping, until it is told to stop."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from temporalio.worker import Worker

from activities.starter import OrderStarter
from gateway.app import build_app
from gateway.deps import GatewayDeps
from gateway.server import serving
from observability.logging import get_logger
from schemas.wire import Queue
from workers.clients import payload_ring
from workers.codec import codec_served
from workers.housekeeping import Housekeeping
from workers.parts import Parts, build
from workers.roles import compact_workers, isolated_workers
from workers.settings import WorkerSettings
from workers.singletons import ensure_schedule, ensure_singletons

_log: Final = get_logger(__name__)


async def run_everything(
    parts: Parts,
    stop: asyncio.Event,
    *,
    starter: OrderStarter | None = None,
    workers: Sequence[Worker] | None = None,
) -> None:
    """Gateway, every role and housekeeping in one process, until ``stop``.

    Compact: every role on one queue. Isolated: each role on its own, as when each is a process. Another ``starter``
    and other ``workers`` are what the product's are measured against.
    """
    compact = parts.settings.topology == "compact"
    starter = starter or OrderStarter(parts.client, (Queue.TRADING if compact else Queue.ORDERS).value)
    operations = Queue.TRADING if compact else Queue.OPERATIONS
    housekeeping = Housekeeping(parts, starter, operations_queue=operations)
    async with AsyncExitStack() as stack:
        for worker in workers or (compact_workers(parts) if compact else isolated_workers(parts)):
            await stack.enter_async_context(worker)
        await ensure_singletons(parts.client, operations_queue=operations)
        await ensure_schedule(parts.client, operations_queue=operations)
        if parts.settings.payloads == "encrypted" and (ring := payload_ring(parts.settings)) is not None:
            await stack.enter_async_context(codec_served(parts.settings, ring, parts.database))
        chores = asyncio.create_task(housekeeping.run(), name="housekeeping")
        stack.callback(chores.cancel)
        app = build_app(
            GatewayDeps(
                database=parts.database,
                dsn=parts.settings.dsn,
                starter=starter,
                render_metrics=parts.metrics.render,
                wake_secret=parts.settings.broker_wake_secret,
            )
        )
        settings = parts.settings
        async with serving(app, host=settings.gateway_host, port=settings.gateway_port) as port:
            _log.info("ready", gateway_port=port, topology=settings.topology)
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((stopped, chores), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if chores.done():
                chores.result()
        _log.info("stopping")


async def run_compact(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Build everything and run it."""
    async with build(settings) as parts:
        await run_everything(parts, stop)
