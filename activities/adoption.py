"""Taking in what a reconciliation found of our own orders: by evidence, as the update stream would have."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from activities.evidence import Evidence, take_in
from broker.errors import NotFound
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill
from schemas.reconciliation import DriftKind, Finding

if TYPE_CHECKING:
    from activities.notifier import OrderNotifier
    from broker.port import BrokerReader
    from storage.database import Database

SOURCE: Final = "reconciliation"
CHAIN_MAX: Final = 20
"""Replacements of one order followed back to one of ours."""


class Adopter:
    """What was taken back first, then orders, so that an execution finds the one it belongs to; then executions."""

    KINDS: ClassVar[frozenset[DriftKind]] = frozenset(
        {
            DriftKind.MISSED_FILL,
            DriftKind.FILL_TAKEN_BACK,
            DriftKind.ORDER_ENDED_THERE,
            DriftKind.ORDER_OPEN_THERE,
        }
    )

    def __init__(self, database: "Database", broker: "BrokerReader", notifier: "OrderNotifier") -> None:
        self._database = database
        self._broker = broker
        self._notifier = notifier

    async def adopt(self, findings: Iterable[Finding], *, now: datetime) -> None:
        """Take in every order and execution of ours. A repeat changes nothing.

        Raises:
            BrokerError: an order could not be read; what was taken in before stays.
        """
        ours = [finding for finding in findings if finding.kind in self.KINDS]
        missed = [each.fill for each in ours if each.kind is DriftKind.MISSED_FILL and each.fill is not None]
        for finding in ours:
            if finding.kind is DriftKind.FILL_TAKEN_BACK and finding.fill is not None:
                await self._take_back(finding.fill, missed, now)
        for finding in ours:
            if finding.fill is None and finding.broker_order_id is not None:
                await self._order(finding.broker_order_id, now)
        for finding in ours:
            if finding.kind is DriftKind.FILL_TAKEN_BACK:
                continue
            if finding.fill is not None and not await self._take_in(finding.fill, now):
                # Of an order whose answer was lost, or that replaced one of ours: the order first.
                await self._order(finding.fill.broker_order_id, now)
                await self._take_in(finding.fill, now)

    async def _take_back(self, gone: Fill, missed: list[Fill], now: datetime) -> None:
        """As the stream would have told it: a bust, or a correction where the list has another in its place.

        ``missed``: what has not taken the place of another yet.
        """
        order = await self._broker.get_order_status(gone.broker_order_id)
        event, fill = TradeEvent.TRADE_BUST, gone
        instead = next((each for each in missed if each.broker_order_id == gone.broker_order_id), None)
        if instead is not None and gone.execution_id is not None:
            missed.remove(instead)
            event = TradeEvent.TRADE_CORRECT
            fill = instead.model_copy(update={"execution_id": gone.execution_id, "activity_id": None})
        await self._take_in(
            TradeUpdate(event=event, raw_event=event.value, at=fill.executed_at, order=order, fill=fill), now
        )

    async def _order(self, broker_order_id: str, now: datetime) -> None:
        chain: list[BrokerOrder] = []
        wanted: str | None = broker_order_id
        while wanted is not None and len(chain) < CHAIN_MAX:
            try:
                order = await self._broker.get_order_status(wanted)
            except NotFound:
                break
            chain.append(order)
            wanted = order.replaces
        for order in reversed(chain):
            await self._take_in(order, now)

    async def _take_in(self, evidence: Evidence, now: datetime) -> bool:
        """Whether it is of an order of ours."""
        taken = await take_in(self._database, evidence, now=now, source=SOURCE)
        if taken is not None and taken.is_told:
            await self._notifier.notify(taken.order)
        return taken is not None
