"""Two providers behind one question: the last quotes by which an order may go out."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from market.clock import MarketClock
from market.errors import ClockUnavailableError, MarketDataError
from market.feed import QuoteFeed
from market.port import MarketData
from observability.logging import get_logger
from risk.clock import is_too_old
from risk.constants import QUOTE_AGE_MAX
from schemas.market import Provider, Quote

SECONDARY_GRACE_SECONDS: Final = 0.25
"""How much longer the secondary is waited for when the primary's quote is fresh: a provider that is only
there to compare must not hold up orders."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QuotePair:
    """What both providers say of one ticker."""

    primary: Quote | None
    secondary: Quote | None
    late: tuple[Provider, ...]
    """Providers whose feed latency is over its limit: their quotes count as stale."""
    market_now: datetime
    """Market time after the last answer: judge ages by this or later, never by an earlier one."""


class QuoteSource:
    """The primary, and the secondary where there is one. Owns the providers; their holder runs the feeds."""

    def __init__(
        self,
        clock: MarketClock,
        primary: MarketData,
        secondary: MarketData | None = None,
        *,
        feeds: Collection[QuoteFeed] = (),
    ) -> None:
        """``feeds``: streams whose last quote, while fresh, is taken instead of asking over HTTP."""
        self._clock = clock
        self._providers: dict[Provider, MarketData] = {Provider.PRIMARY: primary}
        if secondary is not None:
            self._providers[Provider.SECONDARY] = secondary
        self._feeds = {feed.provider: feed for feed in feeds}

    async def pair(self, ticker: str, as_of: datetime) -> QuotePair:
        """Ask both at once. A provider that fails has no quote; that both failed shows as no quotes.

        A quote from the future has the broker's clock read anew before anybody judges by that.

        Raises:
            ClockUnavailableError: nobody can say how old a quote is.
        """
        await self._clock.ensure_reading()
        asked = {
            provider: asyncio.create_task(self._last(provider, ticker, as_of)) for provider in self._providers
        }
        try:
            primary = await asked[Provider.PRIMARY]
            secondary = None
            if Provider.SECONDARY in asked:
                grace = SECONDARY_GRACE_SECONDS if self._is_fresh(primary, as_of) else None
                done, _ = await asyncio.wait([asked[Provider.SECONDARY]], timeout=grace)
                secondary = asked[Provider.SECONDARY].result() if done else None
        finally:
            for task in asked.values():
                task.cancel()
        await self._keep_up([quote for quote in (primary, secondary) if quote is not None])
        late = tuple(provider for provider, feed in self._feeds.items() if feed.latency.is_late)
        return QuotePair(primary, secondary, late, self._market_now(as_of))

    async def latest(self, tickers: Collection[str]) -> list[Quote]:
        """The last quotes of all ``tickers`` from every provider that answers, to be stored.

        Raises:
            MarketDataError: no provider answered; the primary's failure.
        """
        answers = await asyncio.gather(
            *(provider.latest_quotes(tickers) for provider in self._providers.values()),
            return_exceptions=True,
        )
        quotes: list[Quote] = []
        failures: list[MarketDataError] = []
        for provider, answer in zip(self._providers, answers, strict=True):
            if isinstance(answer, MarketDataError):
                _note(provider, answer)
                failures.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                quotes.extend(answer.values())
        if len(failures) == len(answers):
            raise failures[0]
        with suppress(ClockUnavailableError):
            # Who judges the quotes asks the clock, and is told.
            await self._keep_up(quotes)
        return quotes

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    async def _last(self, provider: Provider, ticker: str, as_of: datetime) -> Quote | None:
        feed = self._feeds.get(provider)
        streamed = feed.last(ticker) if feed is not None else None
        if self._is_fresh(streamed, as_of):
            return streamed
        try:
            asked = (await self._providers[provider].latest_quotes([ticker])).get(ticker)
        except MarketDataError as error:
            _note(provider, error)
            asked = None
        both = [quote for quote in (streamed, asked) if quote is not None]
        return max(both, key=lambda quote: quote.quoted_at, default=None)

    def _is_fresh(self, quote: Quote | None, as_of: datetime) -> bool:
        return quote is not None and not is_too_old(quote.quoted_at, self._market_now(as_of), QUOTE_AGE_MAX)

    async def _keep_up(self, quotes: Collection[Quote]) -> None:
        """Let market time be no earlier than what the market has just shown."""
        newest = max((quote.quoted_at for quote in quotes), default=None)
        if newest is not None:
            await self._clock.ensure_not_behind(newest)

    def _market_now(self, as_of: datetime) -> datetime:
        return self._clock.at(self._clock.instant(as_of))


def _note(provider: Provider, error: MarketDataError) -> None:
    _log.warning("no quotes", provider=provider.value, reason=error.message, code=error.code)
