"""Taking in what a reconciliation found of our own orders: by evidence, as the update stream would have."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from activities.evidence import Evidence, take_in
from broker.errors import NotFound
from schemas.orders import BrokerOrder
from schemas.reconciliation import DriftKind, Finding

if TYPE_CHECKING:
    from activities.notifier import OrderNotifier
    from broker.port import BrokerReader
    from storage.database import Database

SOURCE: Final = "reconciliation"
CHAIN_MAX: Final = 20
"""Replacements of one order followed back to one of ours."""


class Adopter:
    """Orders first, so that an execution finds the order it belongs to; then executions, oldest first."""

    KINDS: ClassVar[frozenset[DriftKind]] = frozenset(
        {DriftKind.MISSED_FILL, DriftKind.ORDER_ENDED_THERE, DriftKind.ORDER_OPEN_THERE}
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
        for finding in ours:
            if finding.fill is None and finding.broker_order_id is not None:
                await self._order(finding.broker_order_id, now)
        for finding in ours:
            if finding.fill is not None and not await self._take_in(finding.fill, now):
                # Of an order whose answer was lost, or that replaced one of ours: the order first.
                await self._order(finding.fill.broker_order_id, now)
                await self._take_in(finding.fill, now)

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
