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
MARK_GOOD_FOR_NS = 1_000_000_000
# A mark made so long ago is only good for want of a better one.
FORGOTTEN = -1_000_000_000_000_000_000_000


class UnknownSymbol(LookupError):
    """No such symbol is listed on this exchange."""


class QuoteSource(Protocol):
    """Where the quotes of one symbol come from."""

    def at(self, t_ns: int, feed: Feed) -> Quote | None: ...
    def next_after(self, quote: Quote) -> int: ...
    def between(
        self, start_ns: int, end_ns: int, feed: Feed, *, newest_first: bool = False
    ) -> Iterator[Quote]: ...


@dataclass(frozen=True, slots=True)
class Asset:
    """A listed name and its id, the same in every exchange."""

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
        # The last mark of each symbol and when it was made.
        self._marks: dict[str, tuple[Decimal, int]] = {}
        self._active: tuple[int, int] = (0, -1)
        self.changes = 0

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
        key = (symbol, feed)
        if self._frozen:
            now_ns = min(
                now_ns, self._frozen.get(key, now_ns), self._frozen.get((EVERY_SYMBOL, feed), now_ns)
            )
        manual = self._manual.get(key)
        if manual is not None:
            return manual if manual.t_ns >= now_ns else replace(manual, t_ns=now_ns)
        cached = self._cache.get(key)
        if cached is not None and cached.quote.t_ns <= now_ns < cached.valid_until_ns:
            return cached.quote
        return self._fresh(symbol, now_ns, feed)

    def next_change(self, symbol: str, now_ns: int) -> int:
        """A moment before which the primary quote stays as it is, unless a control route changes it."""
        if (symbol, PRIMARY_FEED) in self._manual or self.is_recorded(symbol):
            return now_ns
        cached = self._cache.get((symbol, PRIMARY_FEED))
        return now_ns if cached is None else cached.valid_until_ns

    def _fresh(self, symbol: str, t_ns: int, feed: Feed) -> Quote | None:
        source, settings = self._sources[symbol], self.assets[symbol].settings
        if settings.stale and not self.is_recorded(symbol):
            return source.at(self._opened_ns, feed)
        active_ns = t_ns if self.is_recorded(symbol) else self._last_active_ns(t_ns)
        quote = source.at(active_ns, feed)
        if quote is not None and active_ns == t_ns:
            self._cache[symbol, feed] = _Cached(quote, source.next_after(quote))
        return quote

    def _last_active_ns(self, t_ns: int) -> int:
        """That moment while any session runs, else the end of the last one."""
        first, last = self._active
        if not first <= t_ns <= last:
            now = from_ns(t_ns)
            session = self.sessions.current_or_last(now)
            first, last = self._active = (to_ns(session.pre_open), to_ns(session.post_close))
        return min(t_ns, last)

    def mark(self, symbol: str, now_ns: int) -> Decimal:
        """What one share is worth now: the middle of the primary quote, or its one side, or the last mark.

        A mark is good for a second: an account is valued with each order it places.
        """
        known = self._marks.get(symbol)
        if known is not None and known[1] <= now_ns < known[1] + MARK_GOOD_FOR_NS:
            return known[0]
        quote = self.quote(symbol, now_ns)
        if quote is not None and (quote.bid or quote.ask):
            middle = (quote.bid + quote.ask) / 2 if quote.bid and quote.ask else quote.bid or quote.ask
            known = self._marks[symbol] = (middle.quantize(CENT), now_ns)
        return self.assets[symbol].settings.price if known is None else known[0]

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
        self._changed()

    def release_quote(self, symbol: str) -> None:
        """Give the symbol back to its generator."""
        for feed in FEEDS:
            self._manual.pop((symbol, feed), None)
        self._changed()

    def freeze(self, symbol: str, now_ns: int, feeds: Sequence[Feed]) -> None:
        """Let no newer quote come out; ``*`` freezes every symbol."""
        if symbol != EVERY_SYMBOL:
            self.asset(symbol)
        for feed in feeds:
            self._frozen.setdefault((symbol, feed), now_ns)
        self._changed()

    def thaw(self, symbol: str, feeds: Sequence[Feed]) -> None:
        for feed in feeds:
            self._frozen.pop((symbol, feed), None)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self._marks = {symbol: (mark, FORGOTTEN) for symbol, (mark, _) in self._marks.items()}

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
