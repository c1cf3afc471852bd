"""How late a provider's stream runs: from the exchange's time of a quote to its arrival here."""

import time
from collections.abc import Callable
from typing import Final

from market.clock import MarketClock
from market.errors import ClockUnavailableError
from schemas.market import Quote

LATENCY_MAX_SECONDS: Final = 0.5
"""Specification F: a feed slower than 500 ms triggers stale-data blocks. Exactly this is in time."""
LATENCY_WINDOW_SECONDS: Final = 10.0
"""Every quote must have been late for this long: one slow packet marks nobody."""


class FeedLatency:
    """The latency of one provider, in real milliseconds, and whether the provider counts as late.

    Late after 10 s in which no quote came in time; in time again with the first quote that does.
    """

    def __init__(
        self,
        clock: MarketClock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        told: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``told`` hears of each quote's latency in milliseconds."""
        self._told = told
        self._clock = clock
        self._monotonic = monotonic
        self._late_since: float | None = None
        self._is_late = False
        self._milliseconds: float | None = None

    @property
    def is_late(self) -> bool:
        return self._is_late

    @property
    def milliseconds(self) -> float | None:
        """Of the last quote; None before the first. Negative where the exchange's clock runs ahead."""
        return self._milliseconds

    def observe(self, quote: Quote) -> None:
        """Take one streamed quote into account. Without a reading of the market's clock nothing is judged."""
        try:
            arrived = self._clock.at(quote.received_at)
        except ClockUnavailableError:
            return
        seconds = self._clock.real_seconds((arrived - quote.quoted_at).total_seconds())
        self._milliseconds = seconds * 1000
        self._told(self._milliseconds)
        if seconds <= LATENCY_MAX_SECONDS:
            self._late_since, self._is_late = None, False
            return
        now = self._monotonic()
        if self._late_since is None:
            self._late_since = now
        self._is_late = self._is_late or now - self._late_since >= LATENCY_WINDOW_SECONDS
