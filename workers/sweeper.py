"""Every order that has not settled has a running workflow: those that have none are started.

A start finds the running one, so it is also the check. Ten thousand resting orders must not be started anew at
every look: a row's mark says when it was last seen to; who was never is started at once, the rest in turn.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from activities.notifier import OrderNotifier
from activities.starter import OrderStarter, TemporalUnavailable
from observability.logging import get_logger
from observability.tracing import span_from
from schemas.wire import WORKFLOW_ORDER, WORKFLOW_PROTECT, protect_workflow_id
from storage.database import Database
from storage.orders import read_order
from storage.protection import open_protections
from storage.signals import read_signal
from storage.watch import (
    FIRST_PAGE,
    count_unsettled_before,
    is_unsettled,
    longest_unchecked,
    never_checked,
    unsettled,
)
from workers.clients import utc_now

SWEEP_SECONDS: Final = 10.0
SWEEP_GRACE: Final = timedelta(seconds=10)
"""An order younger than this has its workflow being started by the gateway."""
SWEEP_PAGE: Final = 1000
CHECKED_AT_ONCE: Final = 100
"""At each look so many orders are seen to in turn: with fewer open ones, every one at every look."""
CHECK_ALL_SECONDS: Final = 60.0
"""Between passes over all orders while fewer workflows run than there should."""
STARTS_AT_ONCE: Final = 8
COUNT_RPC_TIMEOUT: Final = timedelta(seconds=10)
RUNNING: Final = f"WorkflowType = '{WORKFLOW_ORDER}' AND ExecutionStatus = 'Running'"
RUNNING_PROTECTIONS: Final = f"WorkflowType = '{WORKFLOW_PROTECT}' AND ExecutionStatus = 'Running'"

_log = get_logger(__name__)


class Sweeper:
    """Starts workflows of orders and protections that nobody else has, or that were ended from outside."""

    def __init__(
        self, database: Database, client: Client, starter: OrderStarter, notifier: OrderNotifier
    ) -> None:
        self._database = database
        self._client = client
        self._starter = starter
        self._notifier = notifier
        self._all_checked_at = float("-inf")

    async def sweep(self) -> None:
        """See to every order that was never seen to, and to some of the others; to all where workflows are missing.

        Raises:
            TemporalUnavailable: no answer; what is still missing is found by the next look.
        """
        created_before = utc_now() - SWEEP_GRACE
        fresh = await self._never_checked(created_before)
        await self._check(fresh)
        if len(fresh) == SWEEP_PAGE:
            return  # There are more of them: who was seen to before can wait.
        if await self._some_are_missing(created_before):
            await self._check_all(created_before)
            return
        async with self._database.connection() as connection:
            some = await longest_unchecked(connection, created_before=created_before, limit=CHECKED_AT_ONCE)
        await self._check(some)

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
                running = await self._running_protections()
            for signal_id in page:
                if protect_workflow_id(signal_id) not in (running or ()):
                    await self._start_protection(signal_id)
            if len(page) < SWEEP_PAGE:
                return
            last = page[-1]

    async def _running_protections(self) -> set[str]:
        """By their ids, a thousand a request."""
        listed = self._client.list_workflows(
            RUNNING_PROTECTIONS, page_size=SWEEP_PAGE, rpc_timeout=COUNT_RPC_TIMEOUT
        )
        try:
            return {each.id async for each in listed}
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal did not list what runs: {error}") from error

    async def _start_protection(self, signal_id: str) -> None:
        async with self._database.connection() as connection:
            entry = await read_order(connection, signal_id)
        _log.info("starting a protection", signal_id=signal_id)
        await self._starter.restart_protection(entry.view)

    async def _never_checked(self, created_before: datetime) -> list[str]:
        async with self._database.connection() as connection:
            return await never_checked(connection, created_before=created_before, limit=SWEEP_PAGE)

    async def _some_are_missing(self, created_before: datetime) -> bool:
        """Whether by their number alone some order has no workflow."""
        if time.monotonic() - self._all_checked_at < CHECK_ALL_SECONDS:
            return False
        async with self._database.connection() as connection:
            wanted = await count_unsettled_before(connection, created_before)
        if wanted <= CHECKED_AT_ONCE:
            return False
        try:
            running = (await self._client.count_workflows(RUNNING, rpc_timeout=COUNT_RPC_TIMEOUT)).count
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal did not count what runs: {error}") from error
        if running < wanted:
            _log.warning("fewer order workflows run than there should", running=running, wanted=wanted)
        return running < wanted

    async def _check_all(self, created_before: datetime) -> None:
        self._all_checked_at = time.monotonic()
        last = FIRST_PAGE
        while True:
            async with self._database.connection() as connection:
                page = await unsettled(
                    connection, created_before=created_before, after=last, limit=SWEEP_PAGE
                )
            await self._check([signal_id for _, signal_id in page])
            if len(page) < SWEEP_PAGE:
                return
            last = page[-1]

    async def _check(self, signal_ids: Sequence[str]) -> None:
        """Start each, which finds the one that runs; the notifier stores their marks."""
        for first in range(0, len(signal_ids), STARTS_AT_ONCE):
            some = signal_ids[first : first + STARTS_AT_ONCE]
            answers = await asyncio.gather(*map(self._start, some), return_exceptions=True)
            self._notifier.seen_to(
                [each for each, answer in zip(some, answers, strict=True) if answer is None], utc_now()
            )
            for signal_id, answer in zip(some, answers, strict=True):
                if isinstance(answer, TemporalUnavailable):
                    raise answer
                if answer is not None:  # One that cannot be started must not keep the others from it.
                    _log.error("order workflow not started", signal_id=signal_id, reason=str(answer))

    async def _start(self, signal_id: str) -> None:
        async with self._database.connection() as connection:
            if not await is_unsettled(connection, signal_id):
                return  # Since the list was read; its workflow may have ended, and would begin anew for nothing.
            row = await read_signal(connection, signal_id)
        # The same trace as its signal's, however late.
        with span_from(row.traceparent, "restart order workflow", signal_id=signal_id):
            await self._starter.restart(row.proposal)
