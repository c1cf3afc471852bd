"""A database as it stands when signals are waiting for risk: account, limits, quote, clock, signals."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from market.clock import MarketClock
from schemas.broker import Account, BrokerClock
from schemas.market import Provider, Quote
from schemas.reconciliation import Outcome, Report
from schemas.risk import Limits
from schemas.signals import SignalIn
from storage.database import Connection, Database
from storage.limits import save_limits
from storage.market import save_account, save_quotes
from storage.reconciliation import finish
from storage.signals import accept_signal, find_token, save_token
from storage.switches import bind_installation, stream_connected

TOKEN = "a token of this test"
LIMITS = {
    "max_order_notional": "25000",
    "max_order_quantity": "1000",
    "price_collar_pct": "2",
    "max_ticker_exposure_pct": "100",
    "max_strategy_exposure_pct": "100",
    "max_gross_exposure_pct": "100",
    "max_daily_loss_pct": "100",
    "max_drawdown_pct": "100",
    "max_open_orders": 100000,
    "max_orders_per_minute": 100000,
    "max_strategy_orders_per_minute": 100000,
    "max_repeated_executions": 100000,
    "repeated_executions_window_seconds": 60,
    "duplicate_window_seconds": 1,
}


class RealTimeMarket:
    """A broker's clock that agrees with ours, in a session that is always open."""

    async def get_clock(self) -> BrokerClock:
        now = datetime.now(UTC)
        return BrokerClock(
            timestamp=now,
            is_open=True,
            next_open=now + timedelta(days=1),
            next_close=now + timedelta(hours=3),
        )


def market_clock() -> MarketClock:
    """A market clock read from ``RealTimeMarket``."""
    return MarketClock(RealTimeMarket())


async def prepare(database: Database, **limits: Any) -> None:
    """Token, limits, account A1 with $100,000 of equity and a fresh quote of 99.99 × 100.01 for AAPL."""
    now = datetime.now(UTC)
    async with database.transaction("test") as connection:
        await save_token(connection, name="test", strategy=None, secret=TOKEN, now=now)
        document = Limits.model_validate_json(json.dumps({**LIMITS, **limits}))
        await save_limits(connection, document, author="test", reason="test", now=now)
        await bind_installation(connection, account="A1", mode="paper", now=now)
        await refresh(connection)


async def refresh(connection: Connection) -> None:
    """A snapshot and quotes of this moment."""
    now = datetime.now(UTC)
    account = Account(
        account_id="A1", account_number="1", status="ACTIVE", cash=Decimal(100_000), equity=Decimal(100_000),
        last_equity=Decimal(100_000), buying_power=Decimal(400_000), tradable=True,
    )  # fmt: skip
    await save_account(connection, account, taken_at=now)
    quote = Quote(
        ticker="AAPL", provider=Provider.PRIMARY, bid=Decimal("99.99"), ask=Decimal("100.01"),
        bid_size=Decimal(500), ask_size=Decimal(500), quoted_at=now, received_at=now,
    )  # fmt: skip
    await save_quotes(connection, [quote])


async def reconciled(database: Database) -> None:
    """Books that agree with the broker's as of now, and an update stream, so that orders need not wait."""
    now = datetime.now(UTC)
    report = Report(
        run_id="r0", trigger="test", outcome=Outcome.CLEAN, started_at=now, finished_at=now, equity=Decimal(1)
    )
    async with database.transaction("test") as connection:
        await finish(connection, report, read_at=now, market_at=now)
        await stream_connected(connection, now)


async def propose(database: Database, signal_id: str, **fields: Any) -> None:
    """Store one signal as the gateway does."""
    now = datetime.now(UTC)
    signal = SignalIn.model_validate(
        {
            "signal_id": signal_id, "strategy": "momentum", "ticker": "AAPL", "action": "BUY_TO_OPEN",
            "order_type": "LIMIT", "quantity": Decimal(10), "limit_price": Decimal(100), "created_at": now,
            **fields,
        }
    )  # fmt: skip
    async with database.transaction("test") as connection:
        token = await find_token(connection, TOKEN, now)
        assert token is not None
        await accept_signal(
            connection, signal, token, valid_until=now + timedelta(minutes=5), now=now, traceparent=None
        )
