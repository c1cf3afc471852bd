"""What a user is told: the specification's failure table (section H), word for word."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from schemas.risk import CheckName, CheckResult


class UserMessage(StrEnum):
    """One text for each row of the failure table."""

    BROKER_API_DOWN = "Broker API unreachable. Trading sequence halted to prevent duplicate execution."
    MARKET_DATA_STALE = "Signal rejected due to stale market data. Required < 15s latency."
    RATE_LIMITING = "Broker rate limit hit. Throttling execution speed."
    PARTIAL_FILLS = "Order partially filled. Awaiting liquidity for remainder."
    NETWORK_TIMEOUTS = "Network degradation. Resubmitting with idempotent key validation."
    CLOCK_SKEW = "Critical Time Sync Error. Halting to prevent market-open anomalies."


_BY_CHECK: Final = {
    CheckName.BROKER_HALT: UserMessage.BROKER_API_DOWN,
    CheckName.STALE_MARKET_DATA: UserMessage.MARKET_DATA_STALE,
}


def user_message(checks: Iterable[CheckResult]) -> str | None:
    """The failure table's text for the first failed check, or None where the table has none for it."""
    first = next((check for check in checks if not check.passed), None)
    message = None if first is None else _BY_CHECK.get(first.name)
    return None if message is None else message.value
