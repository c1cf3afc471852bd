"""The account of a run of joint limits: its limits, its signals, and how its orders end, by the product's own code.

There is no broker: what one would answer is made up here, as orders ended by it are the same to the reservations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import cycle
from typing import Any, Final

import asyncpg

from activities.requests import canonical_request
from broker.lifecycle import Refused, Submitted, Withdrawn, apply
from schemas.broker import Account
from schemas.limits import NewDocument
from schemas.market import Provider, Quote
from schemas.orders import Action, BrokerOrder, Fill, OrderState
from schemas.signals import SignalIn
from schemas.wire import Leg, client_order_id
from storage.database import Database
from storage.limits import save_limits
from storage.market import ClockRow, save_account, save_clock_reading, save_quotes
from storage.orders import LockedOrder, lock_order
from storage.placement import write_intent
from storage.risk import read_decision
from storage.signals import accept_signal, find_token, save_token
from storage.switches import Installation, bind_installation
from storage.transitions import Step, advance, refuse, settle

EQUITY: Final = Decimal(100_000)
BUYING_POWER: Final = Decimal(400_000)
QUANTITY: Final = Decimal(10)
BID: Final = Decimal("99.99")
ASK: Final = Decimal("100.01")
LOWEST_STOP: Final = Decimal(50)
CENT: Final = Decimal("0.01")
STOPS: Final = 4000
SET_TRIES_MAX: Final = 5
TICKERS: Final = ("AAPL", "MSFT")
STRATEGIES: Final = ("carry", "momentum")
TOKEN: Final = "a run of joint limits"  # noqa: S105 - of a database that is thrown away
AUTHOR: Final = "trading chaos"
COMPONENT: Final = "JointLimits"


class End(StrEnum):
    """How an approved order ends."""

    WITHDRAWN = "withdrawn"
    """Before any POST."""
    REFUSED = "refused"
    """By the broker, after a POST."""
    CANCELLED = "cancelled"
    PARTLY_FILLED = "partly filled"
    """Then cancelled."""
    FILLED = "filled"

    @property
    def filled(self) -> Decimal:
        """Shares of ``QUANTITY``."""
        return {End.FILLED: QUANTITY, End.PARTLY_FILLED: QUANTITY // 2}.get(self, Decimal(0))


@dataclass(frozen=True)
class Proposed:
    """One signal."""

    signal_id: str
    strategy: str
    ticker: str
    limit_price: Decimal
    """US dollars."""
    quantity: Decimal = QUANTITY
    action: Action = Action.BUY_TO_OPEN


class Book:
    """Rows of one account."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._installation: Installation | None = None
        self._cents = cycle(range(STOPS))

    async def open(self) -> None:
        """Token and binding; nothing trades yet."""
        now = _now()
        async with self._database.transaction("chaos.opened") as connection:
            await save_token(connection, name="chaos", strategy=None, secret=TOKEN, now=now)
            self._installation = await bind_installation(connection, account="J1", mode="paper", now=now)

    async def refresh(self) -> None:
        """An account snapshot, quotes and a reading of the market's clock, all of this moment."""
        now = _now()
        account = Account(
            account_id="J1", account_number="1", status="ACTIVE", cash=EQUITY, equity=EQUITY, last_equity=EQUITY,
            buying_power=BUYING_POWER, tradable=True,
        )  # fmt: skip
        quotes = [
            Quote(
                ticker=ticker, provider=Provider.PRIMARY, bid=BID, ask=ASK, bid_size=Decimal(1000),
                ask_size=Decimal(1000), quoted_at=now, received_at=now,
            )
            for ticker in TICKERS
        ]  # fmt: skip
        clock = ClockRow(
            read_at=now, broker_at=now, speed=1.0, is_open=True, next_open=now + timedelta(days=1),
            next_close=now + timedelta(hours=3),
        )  # fmt: skip
        async with self._database.transaction("chaos.refreshed") as connection:
            await save_account(connection, account, taken_at=now)
            await save_quotes(connection, quotes)
            await save_clock_reading(connection, clock)

    async def set(self, document: NewDocument, name: str, reason: str) -> int:
        """Put limits into force; the version.

        Asked again, as a person would, where 64 decisions before it hold the account too long.
        """
        for tries_left in range(SET_TRIES_MAX - 1, -1, -1):
            try:
                async with self._database.transaction("chaos.limits") as connection:
                    return await save_limits(
                        connection, document, author=AUTHOR, reason=reason, now=_now(), name=name
                    )
            except asyncpg.LockNotAvailableError:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    async def propose(self, signals: Sequence[Proposed]) -> None:
        """Store signals as the gateway does."""
        now = _now()
        async with self._database.transaction("chaos.proposed") as connection:
            token = await find_token(connection, TOKEN, now)
            assert token is not None, "saved when the book was opened"
            for each in signals:
                values: Mapping[str, Any] = vars(each) | {"order_type": "LIMIT", "created_at": now}
                if each.action.opens:
                    # No two are the same: of those only one would be approved.
                    values = {**values, "hard_stop_loss": LOWEST_STOP + next(self._cents) * CENT}
                await accept_signal(
                    connection, SignalIn.model_validate(values), token, valid_until=now + timedelta(minutes=5),
                    now=now, traceparent=None,
                )  # fmt: skip

    async def end(self, signal_id: str, how: End) -> None:
        """Bring an approved order to its end, and give back its reservation."""
        if how is End.WITHDRAWN:
            async with self._database.transaction("chaos.withdrawn") as connection:
                locked = await lock_order(connection, signal_id)
                await refuse(locked, apply(locked.state, Withdrawn("CHAOS")), _step("WITHDRAWN"))
            return
        async with self._database.transaction("chaos.intent") as connection:
            locked = await lock_order(connection, signal_id)
            await self._leave(locked)
        async with self._database.transaction("chaos.ended") as connection:
            locked = await lock_order(connection, signal_id)
            if how is End.REFUSED:
                refused = apply(locked.state, Refused("CHAOS"))
                await refuse(locked, refused, _step("REFUSED", answers_post=True))
                return
            await advance(locked, _told(locked, how), _step("TOLD", answers_post=True))
            await settle(await lock_order(connection, signal_id), _step("SETTLED"))

    async def _leave(self, locked: LockedOrder) -> None:
        installation, order, now = self._installation, locked.order, _now()
        assert installation is not None, "the book is open"
        decision = await read_decision(locked.connection, order.signal_id)
        assert decision is not None, "it was approved"
        assert decision.approval_id is not None, "it was approved"
        own_id = client_order_id(installation.namespace, "J1", order.signal_id, Leg.ENTRY, order.generation)
        request = canonical_request(order, own_id)
        await write_intent(locked, request, decision.approval_id, market_now=now, now=now)


def _told(locked: LockedOrder, how: End) -> OrderState:
    """The state after everything that the broker tells of an order that ends so."""
    order, now, filled = locked.order, _now(), how.filled and min(how.filled, locked.order.quantity)
    if how is End.FILLED:
        filled = order.quantity
    assert order.client_order_id is not None, "it has left"
    assert order.limit_price is not None, "all of them have one"
    shown = BrokerOrder(
        broker_order_id=f"b-{order.internal_order_id}", client_order_id=order.client_order_id, ticker=order.ticker,
        side=order.action.side, raw_type="limit", raw_time_in_force="day",
        raw_status="filled" if how is End.FILLED else "canceled", quantity=order.quantity, filled_quantity=filled,
        limit_price=order.limit_price, created_at=now,
    )  # fmt: skip
    state = apply(apply(locked.state, Submitted()), shown)
    if not filled:
        return state
    fill = Fill(
        execution_id=f"e-{order.internal_order_id}", broker_order_id=shown.broker_order_id, ticker=order.ticker,
        side=order.action.side, quantity=filled, price=order.limit_price, cumulative_quantity=filled,
        executed_at=now,
    )  # fmt: skip
    return apply(state, fill)


def _step(decision: str, *, answers_post: bool = False) -> Step:
    return Step(now=_now(), component=COMPONENT, decision=decision, answers_post=answers_post)


def _now() -> datetime:
    return datetime.now(UTC)
