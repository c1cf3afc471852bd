"""The mains of the processes that only answer: the gateway, and the codec server where it is a process."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from activities.starter import OrderStarter
from gateway.app import build_app
from gateway.deps import GatewayDeps
from gateway.server import serving
from observability.logging import get_logger
from schemas.wire import Queue
from security.payloads import KeyRing, PayloadKeys
from workers.clients import open_database, process_metrics
from workers.codec import codec_served
from workers.health import Check, health_served, reads
from workers.parts import build_gateway
from workers.settings import CodecSettings, GatewaySettings

_log: Final = get_logger(__name__)


async def run_gateway(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """HTTP for strategies."""
    async with build_gateway(settings) as parts:
        app = build_app(
            GatewayDeps(
                database=parts.database,
                dsn=settings.dsn,
                starter=OrderStarter(parts.client, Queue.ORDERS.value),
                render_metrics=parts.metrics.render,
                wake_secret=settings.broker_wake_secret,
                clock_fault=parts.clock_fault,
            )
        )
        async with serving(app, host=settings.gateway_host, port=settings.gateway_port) as port:
            _log.info("ready", gateway_port=port, topology="isolated")
            await stop.wait()
            _log.info("stopping")


async def run_codec(settings: CodecSettings, stop: asyncio.Event) -> None:
    """Payloads for Temporal's Web UI and command line.

    Raises:
        PayloadKeyError: there are no keys that can be used.
    """
    async with AsyncExitStack() as stack:
        database = await open_database(stack, settings, "codec")
        ring = KeyRing(PayloadKeys.parse(settings.payload_keys.get_secret_value()))
        port = await stack.enter_async_context(codec_served(settings, ring, database))
        checks: dict[str, Check] = {"database": lambda: reads(database)}
        metrics = await process_metrics("codec", database)
        health = await stack.enter_async_context(health_served(settings, metrics, checks))
        _log.info("ready", codec_port=port, health_port=health, keys=ring.ids)
        await stop.wait()
        _log.info("stopping")
