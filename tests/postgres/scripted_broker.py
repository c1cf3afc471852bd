"""A broker that says what a test tells it to, for steps whose rows are what is tested."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from broker.budget import NoToken, Share
from broker.errors import BrokerError, NotFound
from broker.permit import LivePermit
from schemas.broker import Account, Position
from schemas.orders import BrokerOrder, CancelAnswer, OrderRequest, Side


class NoLimit:
    """A request budget that never runs out, unless a test says what is ``left``; ``told`` is what it heard."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.taken = 0
        self.given_back = 0
        self.told: list[BrokerError | None] = []

    async def take(self, share: Share) -> None:
        if self.left == 0:
            raise NoToken(share, 1.0)
        self.left = None if self.left is None else self.left - 1
        self.taken += 1

    async def give_back(self, share: Share) -> None:
        self.given_back += 1

    async def heard(self, share: Share, error: BrokerError | None) -> None:
        self.told.append(error)


class ScriptedBroker:
    """``answer`` is what a POST comes to; look-ups know ``orders``, and of them those that are open."""

    def __init__(self, answer: BrokerError | None = None) -> None:
        self.answer = answer
        self.posts: list[str] = []
        self.orders: dict[str, BrokerOrder] = {}
        self.positions: list[Position] = []
        self.away: BrokerError | None = None
        self.cancels = 0
        self.cancelled: list[str] = []
        """One by one, by broker id."""
        self.is_reachable = True
        self.sending = asyncio.Event()
        self.sent = asyncio.Event()
        self.sent.set()

    async def place_order(
        self, order: OrderRequest, *, before_send: Callable[[], None], permit: LivePermit | None = None
    ) -> BrokerOrder:
        self.sending.set()
        await self.sent.wait()
        if self.is_reachable:
            before_send()
        self.posts.append(order.client_order_id)
        if self.answer is not None:
            raise self.answer
        return told(order.client_order_id, "new", quantity=order.quantity, limit_price=order.limit_price)

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        if client_order_id not in self.orders:
            raise NotFound("order not found")
        return self.orders[client_order_id]

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        for order in self.orders.values():
            if order.broker_order_id == broker_order_id:
                return order
        raise NotFound("order not found")

    async def get_orders(self, *, after: datetime, until: datetime) -> list[BrokerOrder]:
        return list(self.orders.values())

    async def get_open_orders(self) -> list[BrokerOrder]:
        if self.away is not None:
            raise self.away
        return [order for order in self.orders.values() if order.raw_status in ("new", "pending_cancel")]

    async def get_positions(self) -> list[Position]:
        return self.positions

    async def cancel_all(self) -> dict[str, CancelAnswer]:
        if self.away is not None:
            raise self.away
        self.cancels += 1
        return {}

    async def cancel_order(self, broker_order_id: str) -> None:
        self.cancelled.append(broker_order_id)

    async def get_account(self) -> Account:
        money = Decimal(100_000)
        return Account(
            account_id="A1", account_number="1", status="ACTIVE", cash=money, equity=money, last_equity=money,
            buying_power=money, tradable=True,
        )  # fmt: skip


def told(
    client_order_id: str,
    raw_status: str,
    *,
    quantity: Decimal | None = Decimal(10),
    limit_price: Decimal | None = Decimal(100),
    filled: int = 0,
) -> BrokerOrder:
    """One order as the broker tells it."""
    return BrokerOrder(
        broker_order_id=f"at-the-broker-{client_order_id}", client_order_id=client_order_id, ticker="AAPL",
        side=Side.BUY, raw_type="limit", raw_time_in_force="day", raw_status=raw_status, quantity=quantity,
        filled_quantity=Decimal(filled), limit_price=limit_price, created_at=datetime.now(UTC),
    )  # fmt: skip


def held(ticker: str, quantity: int) -> Position:
    """A position as the broker tells it; negative is short."""
    side = Side.BUY if quantity > 0 else Side.SELL
    return Position(ticker=ticker, quantity=Decimal(quantity), average_entry_price=Decimal(100), side=side)
