"""Proposals and facts that pass every check, to be changed one field at a time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings

from schemas.conduct import Conduct
from schemas.market import Provider, Quote
from schemas.orders import Action, OrderType, TimeInForce
from schemas.risk import (
    CheckName,
    CheckResult,
    Exposure,
    Limits,
    PreTradeFacts,
    PreTradeVerdict,
    Proposal,
    RiskFacts,
    RiskVerdict,
    WorkingOrder,
)

any_speed = settings(deadline=None)
"""For property tests: how long one example takes on a busy machine says nothing."""

D = Decimal
NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
MARKET_NOW = datetime(2013, 10, 8, 15, 15, tzinfo=UTC)
"""Years away from ours on purpose: nothing may mix the two clocks."""
MICROSECOND = timedelta(microseconds=1)

LIMITS = Limits(
    max_order_notional=D(10_000),
    max_order_quantity=D(500),
    price_collar_pct=D(1),
    max_ticker_exposure_pct=D(20),
    max_gross_exposure_pct=D(100),
    max_strategy_exposure_pct=D(50),
    max_daily_loss_pct=D(5),
    max_drawdown_pct=D(10),
    max_open_orders=20,
    max_orders_per_minute=60,
    max_strategy_orders_per_minute=30,
    max_repeated_executions=10,
    repeated_executions_window_seconds=60,
    duplicate_window_seconds=30,
    extended_hours_strategies=("night",),
    short_selling_strategies=("pairs",),
)


def quote(bid: object = "99.98", ask: object = "100.02", **changes: Any) -> Quote:
    return Quote(
        **{
            "ticker": "AAPL",
            "bid": None if bid is None else D(str(bid)),
            "ask": None if ask is None else D(str(ask)),
            "quoted_at": MARKET_NOW - timedelta(seconds=1),
            "received_at": NOW,
            **changes,
        }
    )


def proposal(**changes: Any) -> Proposal:
    return Proposal(
        **{
            "signal_id": "s-1",
            "strategy": "momentum",
            "ticker": "AAPL",
            "action": Action.BUY_TO_OPEN,
            "order_type": OrderType.LIMIT,
            "time_in_force": TimeInForce.DAY,
            "quantity": D(10),
            "limit_price": D(100),
            "created_at": NOW - timedelta(seconds=5),
            "valid_until": NOW + timedelta(minutes=5),
            **changes,
        }
    )


def close(**changes: Any) -> Proposal:
    return proposal(**{"action": Action.SELL_TO_CLOSE, **changes})


def market_order(**changes: Any) -> Proposal:
    return proposal(**{"order_type": OrderType.MARKET, "limit_price": None, **changes})


def short(**changes: Any) -> Proposal:
    return proposal(**{"action": Action.SELL_TO_OPEN, "strategy": "pairs", **changes})


def cover(**changes: Any) -> Proposal:
    return proposal(**{"action": Action.BUY_TO_CLOSE, "strategy": "pairs", **changes})


def stop(action: Action, stop_price: object, limit_price: object = None, **changes: Any) -> Proposal:
    """A STOP, or with a limit a STOP_LIMIT."""
    return proposal(
        **{
            "action": action,
            "strategy": "pairs",
            "order_type": OrderType.STOP if limit_price is None else OrderType.STOP_LIMIT,
            "stop_price": D(str(stop_price)),
            "limit_price": None if limit_price is None else D(str(limit_price)),
            **changes,
        }
    )


def working(action: Action, limit_price: object = None, stop_price: object = None) -> WorkingOrder:
    """One of our orders on the ticker, as ``RiskFacts.working`` has it."""
    kinds = {(False, False): OrderType.STOP_LIMIT, (True, False): OrderType.STOP}
    return WorkingOrder(
        signal_id="resting",
        action=action,
        order_type=kinds.get((limit_price is None, stop_price is None), OrderType.LIMIT),
        limit_price=None if limit_price is None else D(str(limit_price)),
        stop_price=None if stop_price is None else D(str(stop_price)),
    )


def limits(**changes: Any) -> Limits:
    return Limits(**{**LIMITS.model_dump(), **changes})


def conduct(**changes: Any) -> Conduct:
    """Nothing done lately, nothing lost of $100,000."""
    return Conduct(
        **{
            "open_orders": 0,
            "approvals": 0,
            "strategy_approvals": 0,
            "rate_refusals": 0,
            "strategy_rate_refusals": 0,
            "executed": 0,
            "session_equity": D(100_000),
            "peak_equity": D(100_000),
            **changes,
        }
    )


def facts(**changes: Any) -> RiskFacts:
    """Where another equity is given, it was that from the start."""
    equity = changes.get("equity", D(100_000))
    return RiskFacts(
        **{
            "now": NOW,
            "market_now": MARKET_NOW,
            "equity": equity,
            "conduct": conduct(session_equity=equity, peak_equity=equity),
            "buying_power": D(100_000),
            "quote": quote(),
            "exposures": (),
            "kill_engaged": False,
            "limits": LIMITS,
            **changes,
        }
    )


def held(quantity: object, *, mark: object = 100, **changes: Any) -> Exposure:
    return Exposure(
        **{
            "ticker": "AAPL",
            "strategy": "momentum",
            "held": D(str(quantity)),
            "mark": D(str(mark)),
            **changes,
        }
    )


def pre_trade(**changes: Any) -> PreTradeFacts:
    return PreTradeFacts(
        **{
            "now": NOW,
            "market_now": MARKET_NOW,
            "approved_at": NOW - timedelta(seconds=2),
            "extended_hours": False,
            "is_open": True,
            "seconds_to_close": 3600.0,
            "primary": quote(),
            "secondary": None,
            **changes,
        }
    )


def second(bid: object = "99.98", ask: object = "100.02", **changes: Any) -> Quote:
    return quote(bid, ask, **{"provider": Provider.SECONDARY, **changes})


def outcome(verdict: RiskVerdict | PreTradeVerdict, name: CheckName) -> CheckResult:
    """The one result of that name."""
    found = [check for check in verdict.checks if check.name is name]
    assert len(found) == 1, f"{name} ran {len(found)} times"
    return found[0]
