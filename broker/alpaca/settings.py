"""What the adapter needs to know, and what it tells about each call."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from broker.alpaca.hosts import PAPER_STREAM_URL, PAPER_TRADING_URL, check_stream_url, check_trading_url


@dataclass(frozen=True, slots=True)
class AlpacaSettings:
    """Where the account is and its keys. ``repr`` shows no secret.

    Raises:
        HostRefused: an address that orders may not go to (``LiveHostRefused`` for the live one).
    """

    key_id: SecretStr
    secret_key: SecretStr
    trading_url: str = PAPER_TRADING_URL
    stream_url: str = PAPER_STREAM_URL

    def __post_init__(self) -> None:
        check_trading_url(self.trading_url)
        check_stream_url(self.stream_url)


OUTCOME_OK = "OK"


@dataclass(frozen=True, slots=True)
class BrokerCall:
    """One HTTP request to the broker, without ids, keys or bodies."""

    operation: str
    """The port's method: ``place_order``."""
    method: str
    path: str
    """A template: ``/v2/orders/{order_id}``."""
    http_status: int | None
    """None where no answer came."""
    outcome: str
    """``OK`` or the code of the ``BrokerError`` it ended in."""
    latency_ms: float
    request_id: str | None


OnCall = Callable[[BrokerCall], None]
"""Called once for each HTTP request, in the thread that made it, within the caller's context variables."""
