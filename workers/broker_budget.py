"""One process's hand in the account's request budget, and its voice in the broker halt."""

import asyncio
from datetime import datetime
from typing import Final

import asyncpg

from broker.budget import BrokerBudget, BudgetUnavailable, NoToken, Share, allowance
from broker.errors import BrokerError, NetworkError, RateLimited, Unauthorized, UnknownOutcome
from broker.permit import LiveNotPermitted
from observability.logging import get_logger
from observability.metrics import Metrics
from storage import budget as rows
from storage import halt
from storage.database import Database
from workers.clients import utc_now

TOGETHER_MAX: Final = 50
"""Askers of one process that are served by one statement."""
PAUSE_WITHOUT_RESET_SECONDS: Final = 1.0
"""After a 429 that does not say when its window resets."""
NO_DATABASE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

_log = get_logger(__name__)


class SharedBudget(BrokerBudget):
    """Askers that come while a statement is under way share the next one, so the row is no bottleneck."""

    def __init__(self, database: Database, metrics: Metrics, *, requests_per_minute: int) -> None:
        self._database = database
        self._metrics = metrics
        self._allowances = {share: allowance(share, requests_per_minute) for share in Share}
        self._waiting: dict[Share, list[asyncio.Future[float]]] = {share: [] for share in Share}
        self._asking: dict[Share, asyncio.Task[None]] = {}
        self._failures = 0
        """In a row, as last read: a success must forget those of other processes too."""

    async def take(self, share: Share) -> None:
        """As the port says."""
        mine: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[share].append(mine)
        if share not in self._asking:
            self._asking[share] = asyncio.create_task(self._ask(share), name=f"budget {share.value}")
        wait_seconds = await mine
        self._metrics.token_asked(share.value, granted=wait_seconds == 0)
        if wait_seconds > 0:
            raise NoToken(share, wait_seconds)

    async def _ask(self, share: Share) -> None:
        try:
            while self._waiting[share]:
                served, self._waiting[share] = (
                    self._waiting[share][:TOGETHER_MAX],
                    self._waiting[share][TOGETHER_MAX:],
                )
                await self._serve(share, served)
        finally:
            del self._asking[share]

    async def _serve(self, share: Share, served: "list[asyncio.Future[float]]") -> None:
        """One statement for all of them; the first come are granted, the others told how long to stay away."""
        terms = self._allowances[share]
        wanted = [each for each in served if not each.done()]
        try:
            async with self._database.transaction("budget.taken", one_statement=True) as connection:
                grant = await rows.take(
                    connection,
                    share.value,
                    len(wanted),
                    burst=terms.burst,
                    interval_seconds=terms.interval_seconds,
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody knows what was sent: nothing more is
            unknown = BudgetUnavailable(f"nothing was sent: the request budget cannot be read: {error}")
            for each in wanted:
                if not each.done():
                    each.set_exception(unknown)
            return
        self._failures = grant.failures
        for place, each in enumerate(wanted):
            if each.done():  # Its asker left while the statement ran: its token is lost.
                continue
            each.set_result(0.0 if place < grant.granted else max(grant.wait_seconds, 0.001))

    async def give_back(self, share: Share) -> None:
        """As the port says."""
        interval = self._allowances[share].interval_seconds
        try:
            async with self._database.transaction("budget.given_back", one_statement=True) as connection:
                await rows.give_back(connection, share.value, 1, interval_seconds=interval)
        except NO_DATABASE as error:
            _log.warning("a token was lost", share=share.value, reason=str(error))

    async def heard(self, share: Share, error: BrokerError | None) -> None:
        """As the port says."""
        try:
            await self._note(share, error)
        except NO_DATABASE as problem:
            _log.warning("the end of a broker call was not counted", reason=str(problem))

    async def _note(self, share: Share, error: BrokerError | None) -> None:
        if isinstance(error, LiveNotPermitted):
            return  # The broker was not asked.
        if isinstance(error, Unauthorized) and error.of_replaced_keys:
            return  # Neither for the keys in use nor against them.
        if isinstance(error, NetworkError | UnknownOutcome | Unauthorized):
            await self._count(error, utc_now())
            return
        if isinstance(error, RateLimited):
            seconds = error.retry_after_seconds
            if seconds is None:
                seconds = PAUSE_WITHOUT_RESET_SECONDS
            async with self._database.transaction("budget.paused") as connection:
                await rows.pause(connection, share.value, seconds)
        if self._failures > 0:
            async with self._database.transaction("halt.forgotten") as connection:
                await halt.forget_failures(connection)
            self._failures = 0

    async def _count(self, error: BrokerError, now: datetime) -> None:
        self._failures += 1
        at_once = isinstance(error, Unauthorized)
        async with self._database.transaction("halt.counted") as connection:
            opened = await halt.note_failure(
                connection, f"{error.code}: {error.message}", at_once=at_once, now=now
            )
        if opened:
            self._metrics.set_broker_halt(is_open=True)
