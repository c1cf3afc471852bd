"""Every way a broker call can fail, by meaning.

BrokerError
├── RateLimited            ERR_RATE_LIMIT          retryable, ``retry_after_seconds``
├── NetworkError           ERR_NETWORK             retryable
│   └── NothingSent        ERR_NETWORK             retryable, proof that no request byte left
├── UnknownOutcome         ERR_UNKNOWN_OUTCOME     only for calls that change something: it may have landed
├── InsufficientFunds      ERR_INSUFFICIENT_FUNDS
├── InvalidTicker          ERR_INVALID_TICKER
├── MarketClosed           ERR_MARKET_CLOSED
├── DuplicateOrder         ERR_DUPLICATE_ORDER     proof that this client_order_id is taken: look it up
├── WashTrade              ERR_WASH_TRADE
├── NotCancelable          ERR_NOT_CANCELABLE
├── NotFound               ERR_NOT_FOUND
├── Unauthorized           ERR_UNAUTHORIZED        401: proves nothing about an order
├── Forbidden              ERR_FORBIDDEN
│   └── SharesHeld         ERR_FORBIDDEN           another order holds the shares: they may come free
└── ValidationRefused      ERR_VALIDATION
    └── StopThroughMarket  ERR_VALIDATION          the market is past the stop already

Retryability and refusal are attributes of the class, never read off a text.
"""

from typing import ClassVar

from observability.redaction import redact_text


class BrokerError(Exception):
    """A broker call failed."""

    code: ClassVar[str] = "ERR_BROKER"
    retryable: ClassVar[bool] = False
    refusal: ClassVar[bool] = False
    """True where the broker's own answer proves that this order was not placed."""

    def __init__(
        self, message: str, *, http_status: int | None = None, request_id: str | None = None
    ) -> None:
        # A broker, or a proxy before it, may say what it was sent; this text goes into rows that are never changed.
        self.message = redact_text(message)
        super().__init__(self.message)
        self.http_status = http_status
        self.request_id = request_id
        """The broker's X-Request-ID, for its support desk."""


class RateLimited(BrokerError):
    """The broker refused to look at the request: nothing happened."""

    code = "ERR_RATE_LIMIT"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        http_status: int | None = 429,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, http_status=http_status, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds


class NetworkError(BrokerError):
    """No usable answer to a call that only reads."""

    code = "ERR_NETWORK"
    retryable = True


class NothingSent(NetworkError):
    """No byte of the request left this machine (DNS, refused, TLS, connect timeout)."""


class UnknownOutcome(BrokerError):
    """The request may have landed: timeout, dropped connection, 5xx, or an answer nobody can read."""

    code = "ERR_UNKNOWN_OUTCOME"
    retryable = False


class InsufficientFunds(BrokerError):
    """The account cannot pay for this order."""

    code = "ERR_INSUFFICIENT_FUNDS"
    refusal = True


class InvalidTicker(BrokerError):
    """The broker does not know or does not trade this ticker."""

    code = "ERR_INVALID_TICKER"
    refusal = True


class MarketClosed(BrokerError):
    """The broker does not take this order at this hour."""

    code = "ERR_MARKET_CLOSED"
    refusal = True


class DuplicateOrder(BrokerError):
    """This client_order_id is taken: an earlier try landed."""

    code = "ERR_DUPLICATE_ORDER"


class WashTrade(BrokerError):
    """An own order rests on the opposite side."""

    code = "ERR_WASH_TRADE"
    refusal = True


class NotCancelable(BrokerError):
    """The order has ended or cannot be cancelled now."""

    code = "ERR_NOT_CANCELABLE"
    refusal = True


class NotFound(BrokerError):
    """The broker does not know this order, position or asset."""

    code = "ERR_NOT_FOUND"


class Unauthorized(BrokerError):
    """The broker does not accept these keys."""

    code = "ERR_UNAUTHORIZED"
    of_replaced_keys: bool = False
    """The request was made with keys that have been replaced since: nothing is known of those in use."""


class Forbidden(BrokerError):
    """The account may not do this (shares held, short selling, account blocked)."""

    code = "ERR_FORBIDDEN"
    refusal = True


class SharesHeld(Forbidden):
    """Fewer shares are free than the order would take."""


class ValidationRefused(BrokerError):
    """The broker finds a field of the order wrong."""

    code = "ERR_VALIDATION"
    refusal = True


class StopThroughMarket(ValidationRefused):
    """The stop lies on the wrong side of the market: it would trigger at once."""
