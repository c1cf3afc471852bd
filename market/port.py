"""What the product asks of a market-data provider, and of a broker's clock and calendar."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import date
from typing import Protocol, Self

from schemas.broker import BrokerClock, CalendarDay
from schemas.market import Quote


class MarketData(Protocol):
    """One provider of quotes. Every method raises ``MarketDataError`` subclasses only."""

    async def latest_quotes(self, tickers: Collection[str]) -> Mapping[str, Quote]:
        """The last quote of each ticker, by ticker. One the provider does not know is simply missing."""
        ...

    def stream_quotes(self) -> "QuoteStream": ...

    async def close(self) -> None: ...


class QuoteStream(Protocol):
    """One connection to the quote stream. It never reconnects by itself: the holder opens a new one."""

    async def __aenter__(self) -> Self:
        """Connect and authenticate. Raises MarketDataError."""
        ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def subscribe(self, tickers: Collection[str]) -> None:
        """Make ``tickers`` the whole of the subscription: new ones are added, others dropped.

        Raises:
            FeedNetworkError: the connection is gone.
        """
        ...

    def __aiter__(self) -> AsyncIterator[Quote]:
        """Quotes until the connection ends.

        Raises:
            FeedNetworkError: it broke.
            FeedUnreadableError: a frame cannot be read; the connection is of no more use.
            MarketDataError: the provider's own error, mapped.
        """
        ...

    async def ping(self, timeout_seconds: float) -> None:
        """Prove that the peer answers. Raises FeedNetworkError."""
        ...


class ClockReader(Protocol):
    """The part of a broker's reader that tells the market's time."""

    async def get_clock(self) -> BrokerClock:
        """The market's clock; ``waited_seconds`` says how long the question stood before it was sent."""
        ...


class CalendarReader(Protocol):
    """The part of a broker's reader that tells trading days, both ends included."""

    async def get_calendar(self, start: date, end: date) -> Sequence[CalendarDay]: ...


class BrokerTimes(ClockReader, CalendarReader, Protocol):
    """Both; every ``BrokerReader`` is one."""
