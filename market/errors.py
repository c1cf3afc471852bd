"""Every way market data, the market's clock or its calendar can fail, by meaning.

MarketDataError
├── FeedNetworkError        ERR_MARKET_DATA_NETWORK      retryable: no answer, 5xx, a broken connection
├── FeedRateLimitError      ERR_MARKET_DATA_RATE_LIMIT   retryable, ``retry_after_seconds``
├── FeedUnreadableError     ERR_MARKET_DATA_UNREADABLE   retryable: an answer nobody can read
├── FeedUnauthorizedError   ERR_MARKET_DATA_UNAUTHORIZED the provider does not accept the keys
├── FeedNotEntitledError    ERR_MARKET_DATA_FORBIDDEN    the keys do not cover this feed
├── FeedRequestError        ERR_MARKET_DATA_REQUEST      the provider finds the question wrong
├── ClockUnavailableError   ERR_CLOCK                    retryable: no fresh reading of the broker's clock
└── CalendarUnavailableError ERR_CALENDAR                the trading calendar could not be built

Retryability is an attribute of the class, never read off a text.
"""

from typing import ClassVar


class MarketDataError(Exception):
    """A question about the market got no usable answer."""

    code: ClassVar[str] = "ERR_MARKET_DATA"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status


class FeedNetworkError(MarketDataError):
    """The provider did not answer, or the connection broke."""

    code = "ERR_MARKET_DATA_NETWORK"
    retryable = True


class FeedRateLimitError(MarketDataError):
    """The provider refused to look at the request."""

    code = "ERR_MARKET_DATA_RATE_LIMIT"
    retryable = True

    def __init__(
        self, message: str, *, http_status: int | None = 429, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, http_status=http_status)
        self.retry_after_seconds = retry_after_seconds


class FeedUnreadableError(MarketDataError):
    """The provider answered in a form we do not know. Nothing of it is used."""

    code = "ERR_MARKET_DATA_UNREADABLE"
    retryable = True


class FeedUnauthorizedError(MarketDataError):
    """The provider does not accept these keys."""

    code = "ERR_MARKET_DATA_UNAUTHORIZED"


class FeedNotEntitledError(MarketDataError):
    """The subscription does not cover this feed. Choose another feed or subscribe."""

    code = "ERR_MARKET_DATA_FORBIDDEN"


class FeedRequestError(MarketDataError):
    """The provider finds the request wrong."""

    code = "ERR_MARKET_DATA_REQUEST"


class ClockUnavailableError(MarketDataError):
    """The broker's clock has not been read recently, so nobody can say what time it is on the market."""

    code = "ERR_CLOCK"
    retryable = True


class CalendarUnavailableError(MarketDataError):
    """The trading calendar could not be built."""

    code = "ERR_CALENDAR"
