"""Quotes and sessions."""

from datetime import date
from enum import StrEnum

from schemas.base import DecimalText, UtcTime, Wire


class Provider(StrEnum):
    """Which market-data adapter told a quote."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Quote(Wire):
    """The best bid and offer. A missing side is None; the broker's 0 means the same."""

    ticker: str
    provider: Provider = Provider.PRIMARY
    bid: DecimalText | None
    ask: DecimalText | None
    bid_size: DecimalText | None = None
    ask_size: DecimalText | None = None
    quoted_at: UtcTime
    """Exchange time, on the market's clock."""
    received_at: UtcTime
    """Our wall clock at arrival."""


class Session(Wire):
    """Where the market stands at one market instant, from the trading calendar."""

    day: date
    is_open: bool
    """Inside the regular session, halts aside."""
    is_extended_open: bool
    """Inside 04:00-20:00 New York of a trading day (17:00 on early closes)."""
    open: UtcTime | None = None
    close: UtcTime | None = None
    """Of the current or next regular session."""
    extended_close: UtcTime | None = None
    next_open: UtcTime
    seconds_to_close: float | None = None
    """Market seconds to the regular close; None while closed."""
    seconds_to_extended_close: float | None = None
    seconds_to_open: float | None = None
    """Market seconds to the next regular open; None while open."""
