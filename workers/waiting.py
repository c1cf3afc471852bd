"""Waiting for Temporal without being idle: what needs none goes on, and the process says what it waits for."""

import asyncio
from typing import Final

from temporalio.client import Client

from activities.starter import TemporalUnavailable
from observability.logging import get_logger
from observability.metrics import Metrics
from storage.database import Database
from workers.clients import connect_temporal
from workers.health import health_served, reads
from workers.settings import ExecutionSettings, OperationsSettings

RETRY_SECONDS: Final = 1.0
"""Between two tries to reach Temporal."""
QUIET_SECONDS: Final = 0.5
"""A Temporal that is up answers sooner; past this the process opens its door and says what is missing."""

_log = get_logger(__name__)


class StoppedWaiting(Exception):
    """The process was told to end before Temporal answered."""


async def temporal_when_up(
    settings: ExecutionSettings | OperationsSettings,
    service: str,
    stop: asyncio.Event,
    *,
    database: Database,
    metrics: Metrics,
) -> Client:
    """Connect to Temporal, however long it takes; until then ``/readyz`` says that it is missing.

    Raises:
        StoppedWaiting: ``stop`` came first.
        OSError: the port of the process's own door is taken.
    """
    connecting = asyncio.create_task(_connect(settings, service, metrics))
    either = (connecting, asyncio.create_task(stop.wait()))
    try:
        done, _ = await asyncio.wait(either, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            checks = {"temporal": _missing, "database": lambda: reads(database)}
            async with health_served(settings, metrics, checks) as port:
                _log.warning("waiting for Temporal", health_port=port, address=settings.temporal_address)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            raise StoppedWaiting
        return connecting.result()
    finally:
        for task in either:
            task.cancel()


async def _connect(
    settings: ExecutionSettings | OperationsSettings, service: str, metrics: Metrics
) -> Client:
    while True:
        try:
            return await connect_temporal(settings, service, metrics)
        except RuntimeError as error:
            _log.warning("Temporal does not answer yet", reason=str(error))
        await asyncio.sleep(RETRY_SECONDS)


async def _missing() -> None:
    raise TemporalUnavailable("not connected yet")
