"""The market the exchange shows: listed assets, and for each feed the latest quote of every symbol."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID, uuid5

from simulation.quotes import Quote, QuoteGenerator
from simulation.recorded import RecordedQuotes
from simulation.sessions import Sessions
from simulation.settings import FEEDS, PRIMARY_FEED, Feed, SymbolSettings
from simulation.wire import from_ns, parse_moment, to_ns

ASSET_NAMESPACE = UUID("0f7d5f0e-6a3c-4e5e-9b57-6f0c2f1c9a11")
EVERY_SYMBOL = "*"
CENT = Decimal("0.01")
MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000


class UnknownSymbol(LookupError):
    """No such symbol is listed on this exchange."""


class QuoteSource(Protocol):
    """Where the quotes of one symbol come from."""

    def at(self, t_ns: int, feed: Feed) -> Quote | None: ...
    def between(
        self, start_ns: int, end_ns: int, feed: Feed, *, newest_first: bool = False
    ) -> Iterator[Quote]: ...


@dataclass(frozen=True, slots=True)
class Asset:
    id: str
    settings: SymbolSettings

    @property
    def symbol(self) -> str:
        return self.settings.symbol


@dataclass(frozen=True, slots=True)
class _Cached:
    quote: Quote
    valid_until_ns: int


class Market:
    """Listed names and their quotes at any moment of the exchange's time."""

    def __init__(
        self,
        symbols: Iterable[SymbolSettings],
        sessions: Sessions,
        *,
        seed: int,
        opened_at: datetime,
        recordings: Mapping[str, RecordedQuotes] | None = None,
    ) -> None:
        self.sessions = sessions
        self._opened_ns = to_ns(opened_at)
        self._recordings = recordings or {}
        listed = {entry.symbol: entry for entry in symbols}
        listed |= {
            symbol: recording.listing()
            for symbol, recording in self._recordings.items()
            if symbol not in listed
        }
        self.assets = {
            symbol: Asset(str(uuid5(ASSET_NAMESPACE, symbol)), entry) for symbol, entry in listed.items()
        }
        self._by_id = {asset.id: asset for asset in self.assets.values()}
        self._sources: dict[str, QuoteSource] = {
            symbol: self._recordings.get(symbol) or QuoteGenerator(asset.settings, seed)
            for symbol, asset in self.assets.items()
        }
        self._cache: dict[tuple[str, Feed], _Cached] = {}
        self._manual: dict[tuple[str, Feed], Quote] = {}
        self._frozen: dict[tuple[str, Feed], int] = {}
        self._marks: dict[str, Decimal] = {}

    def source(self, symbol: str) -> QuoteSource:
        """Where the symbol's quotes come from, whatever was set by hand since."""
        return self._sources[symbol]

    def is_recorded(self, symbol: str) -> bool:
        return symbol in self._recordings

    def new_quotes(self, symbol: str, after_ns: int, now_ns: int, feed: Feed = PRIMARY_FEED) -> list[Quote]:
        """The quotes since that moment: each recorded one, else the latest, which may be known already."""
        by_hand = (symbol, feed) in self._manual
        frozen = {(symbol, feed), (EVERY_SYMBOL, feed)} & self._frozen.keys()
        if self.is_recorded(symbol) and not by_hand and not frozen:
            return list(self._sources[symbol].between(after_ns + 1, now_ns, feed))
        quote = self.quote(symbol, now_ns, feed)
        return [] if quote is None else [quote]

    def asset(self, symbol_or_id: str) -> Asset:
        """Raises UnknownSymbol if neither a listed symbol nor an asset id."""
        asset = self.assets.get(symbol_or_id) or self._by_id.get(symbol_or_id.lower())
        if asset is None:
            raise UnknownSymbol(symbol_or_id)
        return asset

    def quote(self, symbol: str, now_ns: int, feed: Feed = PRIMARY_FEED) -> Quote | None:
        """The latest quote, or None if the symbol never had one by then."""
        frozen_at = min(
            self._frozen.get((symbol, feed), now_ns), self._frozen.get((EVERY_SYMBOL, feed), now_ns), now_ns
        )
        manual = self._manual.get((symbol, feed))
        if manual is not None:
            return manual if manual.t_ns >= frozen_at else replace(manual, t_ns=frozen_at)
        cached = self._cache.get((symbol, feed))
        if cached is not None and cached.quote.t_ns <= frozen_at < cached.valid_until_ns:
            return cached.quote
        return self._fresh(symbol, frozen_at, feed)

    def _fresh(self, symbol: str, t_ns: int, feed: Feed) -> Quote | None:
        source, settings = self._sources[symbol], self.assets[symbol].settings
        if self.is_recorded(symbol):
            return source.at(t_ns, feed)
        if settings.stale:
            return source.at(self._opened_ns, feed)
        active_ns = to_ns(self.sessions.last_active(from_ns(t_ns)))
        quote = source.at(min(t_ns, active_ns), feed)
        if quote is not None and active_ns + MICROSECOND_NS >= t_ns:
            # No newer tick can come before seven eighths of the tick length are over.
            valid_until_ns = quote.t_ns + settings.tick_ms * MILLISECOND_NS * 7 // 8
            self._cache[symbol, feed] = _Cached(quote, valid_until_ns)
        return quote

    def mark(self, symbol: str, now_ns: int) -> Decimal:
        """What one share is worth now: the middle of the primary quote, or its one side, or the last mark."""
        quote = self.quote(symbol, now_ns)
        if quote is not None and (quote.bid or quote.ask):
            sides = [price for price in (quote.bid, quote.ask) if price]
            self._marks[symbol] = (sum(sides, Decimal(0)) / len(sides)).quantize(CENT)
        return self._marks.get(symbol, self.assets[symbol].settings.price)

    def set_quote(
        self,
        symbol: str,
        now_ns: int,
        *,
        bid: Decimal,
        ask: Decimal,
        bid_size: int,
        ask_size: int,
        feeds: Sequence[Feed] = FEEDS,
    ) -> None:
        """Fix a symbol's quote by hand; it stays fresh, and taken shares stay taken until the next setting.

        Raises UnknownSymbol.
        """
        self.asset(symbol)
        for feed in feeds:
            self._manual[symbol, feed] = Quote(
                symbol, feed, now_ns, bid, ask, bid_size, ask_size, version=-now_ns
            )

    def release_quote(self, symbol: str) -> None:
        """Give the symbol back to its generator."""
        for feed in FEEDS:
            self._manual.pop((symbol, feed), None)

    def freeze(self, symbol: str, now_ns: int, feeds: Sequence[Feed]) -> None:
        """Let no newer quote come out; ``*`` freezes every symbol."""
        if symbol != EVERY_SYMBOL:
            self.asset(symbol)
        for feed in feeds:
            self._frozen.setdefault((symbol, feed), now_ns)

    def thaw(self, symbol: str, feeds: Sequence[Feed]) -> None:
        for feed in feeds:
            self._frozen.pop((symbol, feed), None)

    def replay_control(self, record: Mapping[str, Any]) -> None:
        """Apply a control record of the ledger again; names that are no longer listed are passed over."""
        symbol, now_ns, feeds = (
            record["symbol"],
            to_ns(parse_moment(record["at"])),
            record.get("feeds", FEEDS),
        )
        if symbol != EVERY_SYMBOL and symbol not in self.assets:
            return
        match record["control"]:
            case "quote":
                self.set_quote(
                    symbol,
                    now_ns,
                    bid=Decimal(record["bid"]),
                    ask=Decimal(record["ask"]),
                    bid_size=record["bid_size"],
                    ask_size=record["ask_size"],
                    feeds=feeds,
                )
            case "release_quote":
                self.release_quote(symbol)
            case "freeze":
                self.freeze(symbol, now_ns, feeds)
            case "thaw":
                self.thaw(symbol, feeds)
