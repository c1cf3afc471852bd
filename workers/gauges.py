"""What operations read for /metrics alone: the book, reservations, refusals in a row, who polls, what is late."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from observability.metrics import Metrics
from risk.arithmetic import percent_of
from schemas.wire import RECONCILE_BY_SCHEDULE, Queue
from storage import gauges as rows
from storage.database import Database
from workers.clients import utc_now
from workflows.policies import RECONCILE_EVERY

READ_SECONDS: Final = 5.0
POLLERS_SECONDS: Final = 15.0
POLLED_WITHIN: Final = timedelta(seconds=75)
"""A long poll is renewed after a minute; the server itself remembers one for five."""
FUNDS_WITHIN: Final = timedelta(hours=1)
SCHEDULED_WITHIN: Final = timedelta(days=1)
RPC_TIMEOUT: Final = timedelta(seconds=5)
PERCENT_STEP: Final = Decimal("0.001")

_WORKFLOW_QUEUES: Final = frozenset({Queue.TRADING, Queue.ORDERS, Queue.KILL_SWITCH})


class RowGauges:
    """Every operations process reads the same rows, so a panel takes the largest."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._began_at = utc_now()

    async def read_gauges(self) -> None:
        """Read each once.

        Raises:
            DATABASE_ERRORS: the database does not answer; the age of the readings grows.
        """
        now = utc_now()
        async with self._database.connection() as connection:
            open_, dollars = await rows.read_reservations(connection)
            equity = await rows.read_equity(connection)
            held = await rows.read_held(connection)
            drift = await rows.read_drift(connection)
            streak = await rows.read_funds_streak(connection, now - FUNDS_WITHIN)
            scheduled = await rows.read_last_scheduled(
                connection, RECONCILE_BY_SCHEDULE, now - SCHEDULED_WITHIN
            )
        self._metrics.mark_read()
        self._metrics.set_reservations(open_, dollars)
        if equity is not None and equity > 0:
            self._metrics.set_exposure(equity, exposure(held, equity))
        if drift is not None:
            self._metrics.set_drift(drift)
        self._metrics.set_funds_streak(streak)
        # A process that has just started cannot blame the Schedule for what was before it.
        since = max(scheduled or self._began_at, self._began_at)
        self._metrics.set_schedule_lag((now - since - RECONCILE_EVERY).total_seconds())


class PollerGauges:
    """Who polls the task queues, as Temporal tells: a process that hangs, or polls another server, is not there."""

    def __init__(self, client: Client, metrics: Metrics, queues: Iterable[Queue]) -> None:
        self._client = client
        self._metrics = metrics
        self._queues = tuple(queues)

    async def count_pollers(self) -> None:
        """Ask of each queue once.

        Raises:
            RPCError: Temporal does not answer, so nobody is seen to poll it.
        """
        present = dict.fromkeys((queue.value for queue in self._queues), 0)
        try:
            for queue in self._queues:
                present[queue.value] = await self._pollers(queue)
        finally:
            self._metrics.set_workers(present)

    async def _pollers(self, queue: Queue) -> int:
        kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        if queue in _WORKFLOW_QUEUES:
            kind = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
        found = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=queue.value),
                task_queue_type=kind,
            ),
            timeout=RPC_TIMEOUT,
        )
        now = datetime.now(UTC)
        return len(
            {
                poller.identity
                for poller in found.pollers
                if now - poller.last_access_time.ToDatetime(UTC) <= POLLED_WITHIN
            }
        )


def queues_of(operations_queue: Queue) -> tuple[Queue, ...]:
    """The task queues of a topology, told by where operations are."""
    if operations_queue is Queue.TRADING:
        return (Queue.TRADING, Queue.KILL_SWITCH)
    return (Queue.ORDERS, Queue.RISK, Queue.EXECUTION, Queue.OPERATIONS, Queue.KILL_SWITCH)


def exposure(held: Iterable[tuple[str, str, Decimal]], equity: Decimal) -> Mapping[str, Decimal]:
    """Positions in % of ``equity`` (> 0), by scope: a set that does not grow with the tickers."""
    net = Decimal(0)
    tickers: dict[str, Decimal] = defaultdict(Decimal)
    strategies: dict[str, Decimal] = defaultdict(Decimal)
    for ticker, strategy, dollars in held:
        net += dollars
        tickers[ticker] += dollars
        strategies[strategy] += abs(dollars)
    found = {
        "gross": sum(map(abs, tickers.values()), Decimal(0)),
        "net": net,
        "largest_ticker": max(map(abs, tickers.values()), default=Decimal(0)),
        "largest_strategy": max(strategies.values(), default=Decimal(0)),
    }
    return {scope: percent_of(dollars, equity, PERCENT_STEP) for scope, dollars in found.items()}
