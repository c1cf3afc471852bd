"""A provider's quote stream, held open: reconnects, keeps the last quote of each ticker, measures latency."""

import asyncio
from collections.abc import Collection
from typing import Final, Protocol

from market.errors import MarketDataError
from market.latency import FeedLatency
from market.port import QuoteStream
from observability.logging import get_logger
from schemas.market import Provider, Quote

RECONNECT_SECONDS: Final = 1.0
"""Before the first try after a break; doubles up to the maximum until a quote has come."""
RECONNECT_MAX_SECONDS: Final = 30.0

_log = get_logger(__name__)


class Streams(Protocol):
    """The part of ``MarketData`` that a feed needs."""

    def stream_quotes(self) -> QuoteStream: ...


class QuoteFeed:
    """One provider's stream. ``run`` it as a task; it ends only by cancellation."""

    def __init__(self, data: Streams, provider: Provider, latency: FeedLatency) -> None:
        self.provider = provider
        self.latency = latency
        self._data = data
        self._wanted: frozenset[str] = frozenset()
        self._wanted_changed = asyncio.Event()
        self._subscribed: frozenset[str] = frozenset()
        self._last: dict[str, Quote] = {}
        self._changed: set[str] = set()
        self._is_connected = False
        self._delay = RECONNECT_SECONDS

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    def watch(self, tickers: Collection[str]) -> None:
        """Make ``tickers`` the whole of what is streamed; takes effect at once on an open connection."""
        self._wanted = frozenset(tickers)
        self._wanted_changed.set()
        for ticker in self._last.keys() - self._wanted:
            del self._last[ticker]

    def last(self, ticker: str) -> Quote | None:
        """The last streamed quote, None while the ticker is not streamed: what is told is the newest."""
        if not self._is_connected or ticker not in self._subscribed:
            return None
        return self._last.get(ticker)

    def take_changed(self) -> list[Quote]:
        """The newest quote of each ticker that changed since the last call, to be stored at leisure."""
        changed, self._changed = self._changed, set()
        return [self._last[ticker] for ticker in sorted(changed) if ticker in self._last]

    async def run(self) -> None:
        """Stream for ever."""
        while True:
            try:
                await self._hold()
            except MarketDataError as error:
                _log.warning(
                    "quote stream broke", provider=self.provider.value, reason=error.message, code=error.code
                )
            await asyncio.sleep(self._delay)
            self._delay = min(self._delay * 2, RECONNECT_MAX_SECONDS)

    async def _hold(self) -> None:
        """One connection, from open to broken."""
        # What came before a break is not known to be the newest any more.
        self._last.clear()
        self._subscribed = frozenset()
        async with self._data.stream_quotes() as stream:
            self._is_connected = True
            both = [
                asyncio.create_task(self._keep_subscribed(stream)),
                asyncio.create_task(self._read(stream)),
            ]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._is_connected = False
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _keep_subscribed(self, stream: QuoteStream) -> None:
        while True:
            self._wanted_changed.clear()
            wanted = self._wanted
            await stream.subscribe(wanted)
            self._subscribed = wanted
            await self._wanted_changed.wait()

    async def _read(self, stream: QuoteStream) -> None:
        async for quote in stream:
            self._delay = RECONNECT_SECONDS
            self.latency.observe(quote)
            known = self._last.get(quote.ticker)
            if quote.ticker in self._wanted and (known is None or known.quoted_at <= quote.quoted_at):
                self._last[quote.ticker] = quote
                self._changed.add(quote.ticker)
