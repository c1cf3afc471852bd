"""The fixed sizes of risk and pre-trade checks. Limits that a person may change are ``schemas.risk.Limits``.

The first five are the specification's (sections C and H) and are not settings.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Final

APPROVAL_AGE_MAX: Final = timedelta(minutes=5)
"""An approval of exactly this age still passes."""

CLOSING_WINDOW_SECONDS: Final = 15 * 60
"""Market seconds before the bell in which nothing new is sent; exactly this many refuses."""

QUOTE_AGE_MAX: Final = timedelta(seconds=15)
"""On the market's clock. A quote of exactly this age still passes."""

SPREAD_MAX_PCT: Final = Decimal("2.000")
"""In % of the mid, for the spread and for the distance between two providers' mids. Exactly this passes."""

CLOCK_SKEW_MAX: Final = timedelta(seconds=2)
"""How far an approval or a quote may lie in the future: the broker's and our hosts' clocks may run ahead
of ours, but a host more than 2 s off does not start."""

TICK_THRESHOLD: Final = Decimal("1")
"""US dollars. Reg NMS Rule 612: at or above it prices move in cents, below it in 1/100 cent."""

TICK_AT_OR_ABOVE: Final = Decimal("0.01")
TICK_BELOW: Final = Decimal("0.0001")

RATE_WINDOW: Final = timedelta(seconds=60)
"""In which approvals, and refusals for their rate, are counted. What is exactly so old counts no more."""

SHORT_RESERVE: Final = Decimal("1.03")
"""Alpaca reserves buying power for a short sale at this much of the ask, or at its price if that is higher."""

BUY_STOP_THRESHOLD: Final = Decimal("50")
"""US dollars. Alpaca turns a buy stop into a stop-limit this far above its stop: below the threshold, and at or
above it (protocol page, section 4)."""
BUY_STOP_BELOW: Final = Decimal("1.04")
BUY_STOP_AT_OR_ABOVE: Final = Decimal("1.025")

EXPOSURE_PCT_DISPLAY_MAX: Final = Decimal("1000000")
"""What an exposure in % of equity is shown as when equity is zero or less, or the number is larger."""

RAISE_MAX: Final = timedelta(hours=24)
"""How long limits may be raised for a time; what shall last longer is set for good, by a person who says so."""
