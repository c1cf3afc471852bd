"""Every order that has not settled has a running workflow: those that have none are started.

Who has one is asked of Temporal's list of running workflows, a thousand a page, so that ten thousand orders at rest
cost ten requests a minute and not ten thousand starts.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from activities.starter import OrderStarter, TemporalUnavailable
from observability.logging import get_logger
from observability.tracing import span_from
from schemas.wire import WORKFLOW_ORDER, WORKFLOW_PROTECT, order_workflow_id, protect_workflow_id
from storage.database import Database
from storage.orders import read_order
from storage.protection import open_protections
from storage.signals import read_signal
from storage.watch import FIRST_PAGE, count_unsettled_entries, unsettled
from workers.clients import utc_now

SWEEP_SECONDS: Final = 10.0
SWEEP_GRACE: Final = timedelta(seconds=10)
"""An order younger than this has its workflow being started by the gateway."""
SWEEP_PAGE: Final = 1000
LIST_ALWAYS_MAX: Final = 1000
"""Up to so many open orders, running workflows are listed at each look; above, where there are too few of them …"""
LIST_EVERY_SECONDS: Final = 60.0
"""… and so often in any case: one too many can hide one too few."""
STARTS_AT_ONCE: Final = 8
LIST_RPC_TIMEOUT: Final = timedelta(seconds=10)
RUNNING: Final = f"WorkflowType = '{WORKFLOW_ORDER}' AND ExecutionStatus = 'Running'"
RUNNING_PROTECTIONS: Final = f"WorkflowType = '{WORKFLOW_PROTECT}' AND ExecutionStatus = 'Running'"

_log = get_logger(__name__)


class Sweeper:
    """Starts workflows of orders and protections that nobody else has, or that were ended from outside."""

    def __init__(self, database: Database, client: Client, starter: OrderStarter) -> None:
        self._database = database
        self._client = client
        self._starter = starter
        self._listed_at = float("-inf")

    async def sweep(self) -> None:
        """Start what is missing.

        Raises:
            TemporalUnavailable: no answer; what is still missing is found by the next look.
        """
        async with self._database.connection() as connection:
            count = await count_unsettled_entries(connection)
        if not count:
            return
        try:
            if await self._all_may_run(count):
                return
            running = await self._running(RUNNING)
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal did not list what runs: {error}") from error
        self._listed_at = time.monotonic()
        await self._start_missing(running)

    async def sweep_protections(self) -> None:
        """Every entry with shares that are not closed has a running protection. Raises as `sweep`."""
        created_before, last = utc_now() - SWEEP_GRACE, ""
        running: set[str] | None = None
        while True:
            async with self._database.connection() as connection:
                page = await open_protections(
                    connection, created_before=created_before, after=last, limit=SWEEP_PAGE
                )
            if page and running is None:
                try:
                    running = await self._running(RUNNING_PROTECTIONS)
                except RPCError as error:
                    raise TemporalUnavailable(f"Temporal did not list what runs: {error}") from error
            for signal_id in page:
                if protect_workflow_id(signal_id) not in (running or ()):
                    await self._start_protection(signal_id)
            if len(page) < SWEEP_PAGE:
                return
            last = page[-1]

    async def _start_protection(self, signal_id: str) -> None:
        async with self._database.connection() as connection:
            entry = await read_order(connection, signal_id)
        _log.info("starting a protection", signal_id=signal_id)
        await self._starter.restart_protection(entry.view)

    async def _running(self, query: str) -> set[str]:
        listed = self._client.list_workflows(query, page_size=SWEEP_PAGE, rpc_timeout=LIST_RPC_TIMEOUT)
        return {each.id async for each in listed}

    async def _all_may_run(self, count: int) -> bool:
        """Whether by their number alone every order may have its workflow."""
        if count <= LIST_ALWAYS_MAX or time.monotonic() - self._listed_at >= LIST_EVERY_SECONDS:
            return False
        running = await self._client.count_workflows(RUNNING, rpc_timeout=LIST_RPC_TIMEOUT)
        return running.count >= count

    async def _start_missing(self, running: set[str]) -> None:
        created_before, last = utc_now() - SWEEP_GRACE, FIRST_PAGE
        while True:
            async with self._database.connection() as connection:
                page = await unsettled(
                    connection, created_before=created_before, after=last, limit=SWEEP_PAGE
                )
            missing = [signal_id for _, signal_id in page if order_workflow_id(signal_id) not in running]
            if missing:
                _log.info("starting order workflows", count=len(missing))
            for first in range(0, len(missing), STARTS_AT_ONCE):
                await self._start_all(missing[first : first + STARTS_AT_ONCE])
            if len(page) < SWEEP_PAGE:
                return
            last = page[-1]

    async def _start_all(self, signal_ids: Sequence[str]) -> None:
        answers = await asyncio.gather(*map(self._start, signal_ids), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _start(self, signal_id: str) -> None:
        async with self._database.connection() as connection:
            row = await read_signal(connection, signal_id)
        # The same trace as its signal's, however late.
        with span_from(row.traceparent, "restart order workflow", signal_id=signal_id):
            await self._starter.restart(row.proposal)
