"""Account, positions, assets, clock and calendar as the broker's JSON."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulation.account_rules import buying_power
from simulation.book import Book, Execution, Position
from simulation.events import AccountAdjusted
from simulation.market import Asset
from simulation.orders import ZERO
from simulation.sessions import Phase, Session, Sessions
from simulation.valuation import MarketValue
from simulation.wire import NEW_YORK, plain, rfc3339, rfc3339_ns, rounded

INITIAL_MARGIN = Decimal("0.5")
MAINTENANCE_MARGIN = Decimal("0.3")
REG_T_MULTIPLIER = 2
CENTS = Decimal("0.01")


def money(value: Decimal) -> str:
    return plain(rounded(value, CENTS))


def account_json(book: Book, value: MarketValue, now: datetime) -> dict[str, Any]:
    """The account object; every amount is a string in US dollars."""
    gross, equity = value.gross, book.cash + value.net
    reg_t = max(ZERO, equity * min(REG_T_MULTIPLIER, book.margin_multiplier) - gross - book.reserved)
    created_at = rfc3339(book.created_at or now)
    return {
        "id": book.account_id,
        "account_number": book.account_number,
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": plain(book.cash),
        "equity": money(equity),
        "last_equity": money(book.last_equity),
        "portfolio_value": money(equity),
        "buying_power": money(buying_power(book, value)),
        "regt_buying_power": money(reg_t),
        "non_marginable_buying_power": money(max(ZERO, book.cash + value.short - book.reserved)),
        "options_buying_power": "0",
        "long_market_value": money(value.long),
        "short_market_value": money(value.short),
        "position_market_value": money(gross),
        "initial_margin": money(gross * INITIAL_MARGIN),
        "maintenance_margin": money(gross * MAINTENANCE_MARGIN),
        "last_maintenance_margin": "0",
        "multiplier": str(book.margin_multiplier),
        "sma": money(equity),
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
        "intraday_adjustments": "0",
        "balance_asof": (book.day or now.date()).isoformat(),
        "created_at": created_at,
        "trading_blocked": False,
        "account_blocked": False,
        "transfers_blocked": False,
        "trade_suspended_by_user": book.configuration.suspend_trade,
        "shorting_enabled": book.may_short,
        "options_approved_level": 0,
        "options_trading_level": 0,
    }


def position_json(book: Book, position: Position, asset: Asset, price: Decimal) -> dict[str, Any]:
    """One open position; shorts have negative quantity, value and cost."""
    last_day = book.day_marks.get(position.symbol, price)
    value = position.qty * price
    profit, day_profit = value - position.cost, value - position.day_cost
    held = book.held_qty(position.symbol)
    available = position.qty - held if position.qty > 0 else position.qty + held
    return {
        "asset_id": asset.id,
        "symbol": position.symbol,
        "exchange": asset.settings.exchange,
        "asset_class": "us_equity",
        "asset_marginable": asset.settings.marginable,
        "qty": plain(position.qty),
        "qty_available": plain(available),
        "avg_entry_price": plain(rounded(position.avg_entry_price)),
        "side": "long" if position.qty > 0 else "short",
        "market_value": plain(rounded(value)),
        "cost_basis": plain(rounded(position.cost)),
        "unrealized_pl": plain(rounded(profit)),
        "unrealized_plpc": _ratio(profit, abs(position.cost)),
        "unrealized_intraday_pl": plain(rounded(day_profit)),
        "unrealized_intraday_plpc": _ratio(day_profit, abs(position.day_cost)),
        "current_price": plain(price),
        "lastday_price": plain(last_day),
        "change_today": _ratio(price - last_day, last_day),
    }


def _ratio(part: Decimal, whole: Decimal) -> str:
    return plain(rounded(part / whole)) if whole else "0"


def asset_json(asset: Asset) -> dict[str, Any]:
    """The asset object; ``easy_to_borrow`` is served still, because clients require it."""
    listed = asset.settings
    return {
        "id": asset.id,
        "class": "us_equity",
        "exchange": listed.exchange,
        "symbol": listed.symbol,
        "name": listed.name or listed.symbol,
        "status": listed.status,
        "tradable": listed.tradable,
        "marginable": listed.marginable,
        "shortable": listed.shortable,
        "easy_to_borrow": listed.shortable,
        "borrow_status": "easy_to_borrow" if listed.shortable else "hard_to_borrow",
        "fractionable": listed.fractionable,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "attributes": [],
    }


def clock_json(sessions: Sessions, now_ns: int, now: datetime) -> dict[str, Any]:
    """Moments in New York time, as the broker gives them."""
    local = now.astimezone(NEW_YORK)
    offset = local.isoformat()[-6:]
    fraction = rfc3339_ns(now_ns)[-11:-1]
    return {
        "timestamp": f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{offset}",
        "is_open": sessions.phase(now) is Phase.REGULAR,
        "next_open": sessions.next_open(now).astimezone(NEW_YORK).isoformat(),
        "next_close": sessions.next_close(now).astimezone(NEW_YORK).isoformat(),
    }


def calendar_json(sessions: Sequence[Session], settlements: Sequence[str]) -> list[dict[str, str]]:
    """One row a session, times of day in New York; ``settlements`` are the rows' settlement dates."""

    def local(moment: datetime, pattern: str) -> str:
        return moment.astimezone(NEW_YORK).strftime(pattern)

    return [
        {
            "date": session.day.isoformat(),
            "open": local(session.open, "%H:%M"),
            "close": local(session.close, "%H:%M"),
            "session_open": local(session.pre_open, "%H%M"),
            "session_close": local(session.post_close, "%H%M"),
            "settlement_date": settlement,
        }
        for session, settlement in zip(sessions, settlements, strict=True)
    ]


def activity_json(execution: Execution) -> dict[str, str]:
    """One FILL row: no client order id and no execution id, as at the broker."""
    return {
        "id": execution.activity_id,
        "activity_type": "FILL",
        "type": "fill" if execution.order_status == "filled" else "partial_fill",
        "transaction_time": rfc3339(execution.at),
        "symbol": execution.symbol,
        "side": execution.side,
        "order_id": execution.order_id,
        "order_status": execution.order_status,
        "qty": plain(execution.qty),
        "price": plain(execution.price),
        "cum_qty": plain(execution.cum_qty),
        "leaves_qty": plain(execution.leaves_qty),
    }


def adjustment_json(row: AccountAdjusted) -> dict[str, str]:
    """One non-trade activity: a fee, a dividend, a deposit."""
    shares = {"symbol": row.symbol, "qty": plain(row.qty)} if row.symbol is not None else {}
    return {
        "id": row.activity_id,
        "activity_type": row.activity_type or "",
        "date": row.at.astimezone(NEW_YORK).date().isoformat(),
        "net_amount": plain(row.cash),
        "description": row.description,
        "status": "executed",
        **shares,
    }
