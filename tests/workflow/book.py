"""An order's row and what the broker knows of it, in memory: the ground that the scripted steps stand on.

States follow from ``broker.lifecycle.apply`` and versions grow as in the database, so a workflow cannot tell.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from broker import lifecycle
from schemas import wire
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import Action, BrokerOrder, Fill, OrderState, OrderType, OrderView, TimeInForce
from schemas.risk import Proposal
from schemas.wire import Leg

INSTALLATION = UUID("3f0a9d1e-5a0f-4c53-9a57-0a4d0f6d7c11")
ACCOUNT = "PA-TEST"
WRITTEN_AT = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


def proposal(signal_id: str, **fields: Any) -> Proposal:
    """A signal's proposal: buy 10 AAPL at 180.50 at most, for the day."""
    return Proposal.model_validate(
        {
            "signal_id": signal_id,
            "strategy": "momentum",
            "ticker": "AAPL",
            "action": Action.BUY_TO_OPEN,
            "order_type": OrderType.LIMIT,
            "time_in_force": TimeInForce.DAY,
            "quantity": Decimal(10),
            "limit_price": Decimal("180.50"),
            "created_at": WRITTEN_AT,
            "valid_until": WRITTEN_AT + timedelta(minutes=5),
            **fields,
        }
    )


class Book:
    """The row, and the broker's word that changes it."""

    def __init__(self, proposed: Proposal) -> None:
        self.proposal = proposed
        self.state = lifecycle.created(proposed.quantity)
        self.row_version = 1
        self.settled = False
        self.post_count = 0
        self.posts_proved_absent = 0
        self.cancel_requested_by: str | None = None
        self._executions = 0
        self._order_id = str(uuid5(INSTALLATION, proposed.signal_id))

    @property
    def may_stand(self) -> bool:
        return self.post_count > self.posts_proved_absent

    @property
    def view(self) -> OrderView:
        """The row as a workflow sees it."""
        proposed, state = self.proposal, self.state
        sent = wire.client_order_id(INSTALLATION, ACCOUNT, proposed.signal_id, Leg.ENTRY, 0)
        return OrderView(
            signal_id=proposed.signal_id,
            internal_order_id=uuid5(INSTALLATION, f"internal {proposed.signal_id}"),
            client_order_id=sent if self.post_count else None,
            broker_order_id=state.broker_order_id,
            ticker=proposed.ticker,
            action=proposed.action,
            strategy=proposed.strategy,
            order_type=proposed.order_type,
            time_in_force=proposed.time_in_force,
            quantity=state.quantity,
            limit_price=proposed.limit_price,
            status=state.status,
            flags=tuple(sorted(state.flags)),
            raw_status=state.raw_status,
            filled_quantity=state.filled_quantity,
            average_price=state.average_price,
            reason=state.reason,
            post_count=self.post_count,
            may_stand=self.may_stand,
            cancel_requested_by=self.cancel_requested_by,
            row_version=self.row_version,
            settled=self.settled,
            created_at=WRITTEN_AT,
            updated_at=WRITTEN_AT,
        )

    # --- what the broker does --------------------------------------------------------------------

    def fill(self, quantity: str, price: str = "180.47") -> OrderView:
        """The broker executes ``quantity`` shares and tells it by its stream."""
        self._executions += 1
        filled = self.state.filled_quantity + Decimal(quantity)
        done = filled == self.state.quantity
        execution = Fill(
            execution_id=f"execution-{self._executions}",
            broker_order_id=self._order_id,
            ticker=self.proposal.ticker,
            side=self.proposal.action.side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            cumulative_quantity=filled,
            executed_at=WRITTEN_AT,
        )
        event = TradeEvent.FILL if done else TradeEvent.PARTIAL_FILL
        return self.hear(event, "filled" if done else "partially_filled", filled, execution)

    def says(self, event: TradeEvent) -> OrderView:
        """The broker's stream tells ``event``, which is its status word too."""
        return self.hear(event, event.value, self.state.filled_quantity)

    def bust(self) -> OrderView:
        """The exchange takes the last execution back, and the order works again."""
        last = self.state.fills[-1]
        left = self.state.filled_quantity - last.quantity
        return self.hear(TradeEvent.TRADE_BUST, "partially_filled" if left else "new", left, last)

    def hear(self, event: TradeEvent, raw: str, filled: Decimal, fill: Fill | None = None) -> OrderView:
        """Take in one message of the stream."""
        order = self.broker_order(raw, filled)
        return self.apply(
            TradeUpdate(event=event, raw_event=event.value, at=WRITTEN_AT, order=order, fill=fill)
        )

    def broker_order(self, raw: str, filled: Decimal = Decimal(0)) -> BrokerOrder:
        """The order as the broker lists it."""
        assert self.view.client_order_id is not None, "the broker knows only what was sent"
        return BrokerOrder(
            broker_order_id=self._order_id,
            client_order_id=self.view.client_order_id,
            ticker=self.proposal.ticker,
            side=self.proposal.action.side,
            raw_type="limit",
            raw_time_in_force=self.proposal.time_in_force.value.lower(),
            raw_status=raw,
            quantity=self.proposal.quantity,
            filled_quantity=filled,
            created_at=WRITTEN_AT,
        )

    def apply(self, update: lifecycle.Update) -> OrderView:
        """Bring the row to the state after ``update``."""
        after = lifecycle.apply(self.state, update)
        if _news(after) != _news(self.state):
            self.row_version += 1
        self.state = after
        return self.view


def _news(state: OrderState) -> tuple[object, ...]:
    """What makes a version: the broker's word alone does not."""
    return state.status, state.flags, state.filled_quantity, state.reason, state.broker_order_id
