"""What the account was worth over time, from the minute marks in the ledger."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from simulation import errors
from simulation.queries import day, moment
from simulation.sessions import at_new_york
from simulation.wire import NEW_YORK, json_number, rounded

Mark = tuple[datetime, Decimal]
_UNITS = {"D": timedelta(days=1), "W": timedelta(days=7), "M": timedelta(days=31), "A": timedelta(days=366)}
_FRAMES = {
    "1Min": timedelta(minutes=1),
    "5Min": timedelta(minutes=5),
    "15Min": timedelta(minutes=15),
    "1H": timedelta(hours=1),
    "1D": timedelta(days=1),
}
_SHORT, _MEDIUM = timedelta(days=7), timedelta(days=30)
PERIOD_DEFAULT = "1M"
PERIOD_COUNT_MAX = 999


def portfolio_history(
    marks: Sequence[Mark], query: Mapping[str, str], now: datetime, initial: Decimal
) -> dict[str, Any]:
    """Equity at the end of each step of the period; numbers are JSON numbers here, timestamps epoch seconds.

    Raises Refusal 422 for a period or timeframe there is none of.
    """
    start, end = _range(query, now)
    frame = query.get("timeframe") or _default_frame(end - start)
    if frame not in _FRAMES:
        raise errors.invalid("invalid timeframe")
    inside = [mark for mark in marks if start <= mark[0] <= end]
    before = [mark for mark in marks if mark[0] < start]
    base = before[-1][1] if before else initial
    last_of_step = [list(group)[-1] for _, group in groupby(inside, key=lambda mark: _step(mark[0], frame))]
    profits = [equity - base for _, equity in last_of_step]
    return {
        "timestamp": [int(at.timestamp()) for at, _ in last_of_step],
        "equity": [json_number(rounded(equity, Decimal("0.01"))) for _, equity in last_of_step],
        "profit_loss": [json_number(rounded(profit, Decimal("0.01"))) for profit in profits],
        "profit_loss_pct": [json_number(rounded(profit / base)) if base else None for profit in profits],
        "base_value": json_number(rounded(base, Decimal("0.01"))),
        "timeframe": frame,
        "cashflow": {},
    }


def _range(query: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    start, end, last_day = moment(query, "start"), moment(query, "end"), day(query, "date_end")
    if end is None:
        end = now if last_day is None else min(now, at_new_york(last_day + timedelta(days=1), time()))
    if start is None:
        start = end - _period(query.get("period") or PERIOD_DEFAULT)
    if start >= end:
        raise errors.invalid("start must be before end")
    return start, end


def _period(text: str) -> timedelta:
    count, unit = text[:-1], text[-1:]
    if not count.isdigit() or unit not in _UNITS or not 0 < int(count) <= PERIOD_COUNT_MAX:
        raise errors.invalid("invalid period")
    return int(count) * _UNITS[unit]


def _default_frame(length: timedelta) -> str:
    if length < _SHORT:
        return "1Min"
    return "15Min" if length < _MEDIUM else "1D"


def _step(at: datetime, frame: str) -> object:
    if frame == "1D":
        return at.astimezone(NEW_YORK).date()
    return int(at.timestamp() // _FRAMES[frame].total_seconds())
