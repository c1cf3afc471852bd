"""Starting an order's workflow: the gateway does it once, the sweeper again whenever none runs."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from observability.crash_points import calling
from schemas.base import decimal_text, dollars_text
from schemas.orders import OrderType, OrderView, price_line
from schemas.protection import ProtectInput
from schemas.risk import Proposal
from schemas.runs import OrderInput
from schemas.wire import WORKFLOW_ORDER, WORKFLOW_PROTECT, order_workflow_id, protect_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

START_RPC_TIMEOUT: Final = timedelta(seconds=3)
HEALTH_RPC_TIMEOUT: Final = timedelta(seconds=2)

TICKER: Final = SearchAttributeKey.for_keyword("Ticker")
STRATEGY: Final = SearchAttributeKey.for_keyword("Strategy")
SIDE: Final = SearchAttributeKey.for_keyword("Side")


class TemporalUnavailable(Exception):
    """Temporal gave no answer, or refused. The start may or may not have happened; starting again is safe."""


def display_line(proposal: Proposal) -> str:
    """One line for people: ``buy 10 AAPL ≤ 180.50 · momentum``, ``buy 10 AAPL stop 181.00 limit 181.50 · …``."""
    action, quantity = proposal.action, decimal_text(proposal.quantity)
    price = price_line(action.side, proposal.limit_price, proposal.stop_price)
    if proposal.order_type is OrderType.MARKET:
        price = f"at {price}"
    return f"{action.words} {quantity} {proposal.ticker} {price} · {proposal.strategy}"


def protection_line(entry: OrderView) -> str:
    """One line for people: ``stop 95.00 for 10 AAPL · momentum``."""
    stop = dollars_text(entry.hard_stop_loss) if entry.hard_stop_loss is not None else "?"
    return f"stop {stop} for {decimal_text(entry.filled_quantity)} {entry.ticker} · {entry.strategy}"


class OrderStarter:
    """Starts order workflows on one queue. The signal's row must be committed before.

    Give it the client that the process' own worker uses: only then does the first workflow task come back
    with the answer to the start.
    """

    def __init__(self, client: "Client", task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, proposal: Proposal) -> None:
        """Start the workflow unless one with its id runs or ever ran.

        Raises:
            TemporalUnavailable: no answer; the sweeper will start what has none.
        """
        try:
            await self._start(proposal, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError:
            return  # It ran to its end before: the row has its outcome.

    async def restart(self, proposal: Proposal, *, replace: bool = False) -> None:
        """Start the workflow unless one with its id runs now. For orders whose row is not settled.

        ``replace``: one that runs is terminated, for those that no process can run any more.

        Raises:
            TemporalUnavailable: no answer; ask again later.
        """
        await self._start(proposal, WorkflowIDReusePolicy.ALLOW_DUPLICATE, replace=replace)

    async def restart_protection(self, entry: OrderView, *, replace: bool = False) -> None:
        """Start the entry's protection unless it runs now. ``replace`` as for `restart`.

        Raises:
            TemporalUnavailable: no answer; ask again later.
        """
        await self._begin(
            WORKFLOW_PROTECT,
            ProtectInput(signal_id=entry.signal_id, display=protection_line(entry)),
            protect_workflow_id(entry.signal_id),
            _attributes(entry.ticker, entry.strategy, entry.action.side.value),
            WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            replace=replace,
        )

    async def check(self) -> None:
        """Ask the server whether it serves.

        Raises:
            TemporalUnavailable: it does not.
        """
        try:
            healthy = await self._client.service_client.check_health(timeout=HEALTH_RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            raise TemporalUnavailable(f"Temporal does not answer: {error}") from error
        if not healthy:
            raise TemporalUnavailable("Temporal answers that it does not serve")

    async def _start(
        self, proposal: Proposal, reuse: WorkflowIDReusePolicy, *, replace: bool = False
    ) -> None:
        await self._begin(
            WORKFLOW_ORDER,
            OrderInput(signal_id=proposal.signal_id, display=display_line(proposal)),
            order_workflow_id(proposal.signal_id),
            _attributes(proposal.ticker, proposal.strategy, proposal.action.side.value),
            reuse,
            replace=replace,
        )

    async def _begin(
        self,
        workflow: str,
        argument: OrderInput | ProtectInput,
        workflow_id: str,
        attributes: TypedSearchAttributes,
        reuse: WorkflowIDReusePolicy,
        *,
        replace: bool = False,
    ) -> None:
        conflict = WorkflowIDConflictPolicy
        try:
            with calling("temporal.start"):
                await self._client.start_workflow(
                    workflow,
                    argument,
                    id=workflow_id,
                    task_queue=self._task_queue,
                    id_reuse_policy=reuse,
                    id_conflict_policy=conflict.TERMINATE_EXISTING if replace else conflict.USE_EXISTING,
                    request_eager_start=True,
                    static_summary=argument.display,
                    search_attributes=attributes,
                    rpc_timeout=START_RPC_TIMEOUT,
                )
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal did not start it: {error.status.name} {error}") from error
        except RuntimeError as error:  # A lazy client that never got its first connection.
            raise TemporalUnavailable(f"Temporal does not answer: {error}") from error


def _attributes(ticker: str, strategy: str, side: str) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(TICKER, ticker),
            SearchAttributePair(STRATEGY, strategy),
            SearchAttributePair(SIDE, side),
        ]
    )
