"""The main of each process of the isolated topology: its own parts, its own queues, until it is told to stop."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from temporalio.worker import Worker

from activities.builds import Builds
from activities.starter import OrderStarter
from observability.logging import get_logger
from schemas.builds import VERSIONED
from schemas.wire import Queue
from storage.database import Database
from workers.clients import connect_temporal
from workers.first_build import first_build
from workers.health import Check, health_served, reads
from workers.housekeeping import Housekeeping
from workers.parts import (
    OrdersParts,
    build_execution,
    build_operations,
    build_orders,
    build_risk,
)
from workers.roles import (
    as_build,
    execution_activities,
    kill_worker,
    operations_activities,
    risk_activities,
    role_worker,
)
from workers.settings import (
    ExecutionSettings,
    HealthSettings,
    OperationsSettings,
    OrdersSettings,
    PromoteSettings,
    RiskSettings,
)
from workers.singletons import ensure_schedule, ensure_singletons

_log: Final = get_logger(__name__)


async def run_orders(settings: OrdersSettings, stop: asyncio.Event) -> None:
    """Order workflows. They decide; others do."""
    async with build_orders(settings) as parts:
        worker = role_worker(
            Queue.ORDERS,
            (Queue.ORDERS,),
            parts,
            (),
            cached_workflows=settings.cached_workflows,
            build=as_build(Queue.ORDERS, settings.build),
        )
        first = first_build(parts.client, Queue.ORDERS, settings.build)
        await _work(settings, parts, [worker], stop, first=first)


async def run_risk(settings: RiskSettings, stop: asyncio.Event) -> None:
    """The risk manager."""
    async with build_risk(settings) as parts:
        worker = role_worker(Queue.RISK, (Queue.RISK,), parts, risk_activities(parts))
        await _work(settings, parts, [worker], stop, database=parts.database)


async def run_execution(settings: ExecutionSettings, stop: asyncio.Event) -> None:
    """The execution agent, and a second pair of eyes on the kill switch."""
    async with build_execution(settings, stop) as parts:
        worker = role_worker(Queue.EXECUTION, (Queue.EXECUTION,), parts, execution_activities(parts))
        await _work(settings, parts, [worker, kill_worker(parts)], stop, database=parts.database)


async def run_operations(settings: OperationsSettings, stop: asyncio.Event) -> None:
    """Update stream, kill switch, and all that goes on beside the workflows."""
    async with build_operations(settings, stop) as parts:
        worker = role_worker(
            Queue.OPERATIONS,
            (Queue.OPERATIONS,),
            parts,
            operations_activities(parts),
            cached_workflows=parts.settings.cached_workflows,
            build=as_build(Queue.OPERATIONS, settings.build),
        )
        starter = OrderStarter(parts.client, Queue.ORDERS.value)
        chores = Housekeeping(parts, starter, operations_queue=Queue.OPERATIONS)
        await ensure_singletons(parts.client, operations_queue=Queue.OPERATIONS)
        await ensure_schedule(parts.client, operations_queue=Queue.OPERATIONS)
        workers = [worker, kill_worker(parts)]
        first = first_build(parts.client, Queue.OPERATIONS, settings.build)
        await _work(settings, parts, workers, stop, database=parts.database, beside=chores.run(), first=first)


async def run_promote(settings: PromoteSettings, stop: asyncio.Event) -> None:
    """Give new work to this build. The last job of a release.

    Raises:
        UnknownBuild: none of its workers has asked for work.
    """
    builds = Builds(await connect_temporal(settings, "promote"))
    for queue in VERSIONED:
        await builds.promote(queue.value, settings.build)
        _log.info("promoted", deployment=queue.value, build=settings.build)


async def _work(
    settings: HealthSettings,
    parts: OrdersParts,
    workers: Sequence[Worker],
    stop: asyncio.Event,
    *,
    database: Database | None = None,
    beside: Coroutine[Any, Any, None] | None = None,
    first: Coroutine[Any, Any, None] | None = None,
) -> None:
    """Poll, answer for it, and give what runs its grace at the end. ``beside`` goes on until then; should it
    fail, so does the process: half of one would look well. ``first`` is done once it polls.
    """
    checks: dict[str, Check] = {"temporal": OrderStarter(parts.client, Queue.ORDERS.value).check}
    if database is not None:
        checks["database"] = lambda: reads(database)
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        if first is not None:
            stack.callback(asyncio.create_task(first, name="first build").cancel)
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
        if beside is not None:
            ends.append(asyncio.create_task(beside))
        for task in ends:
            stack.callback(task.cancel)
        port = await stack.enter_async_context(health_served(settings, parts.metrics, checks))
        _log.info("ready", health_port=port, queues=[worker.task_queue for worker in workers])
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        _log.info("stopping")
