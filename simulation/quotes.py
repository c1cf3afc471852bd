"""Quotes and the seeded generator: a random walk any moment of which can be computed on its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256

from simulation.settings import Feed, SymbolSettings

_MASK = (1 << 64) - 1
# Periods of the summed noise in ticks: 1, 4, 16 … 65,536. Amplitude doubles when the period quadruples, which
# is how far a random walk gets.
_OCTAVES = 9
_UNIT = 1_000
SIP_LAG_NS = 37_000_000
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and offer; a price of 0 means nobody is there. ``t_ns``: nanoseconds since the epoch.

    ``version`` tells two quotes apart: displayed shares already taken from one version stay taken.
    """

    symbol: str
    feed: Feed
    t_ns: int
    bid: Decimal
    ask: Decimal
    bid_size: int
    ask_size: int
    version: int


def _mix(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014): a cheap, well spread 64-bit hash."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


class QuoteGenerator:
    """Quotes of one symbol; the same seed and the same moment always give the same quote."""

    def __init__(self, symbol: SymbolSettings, seed: int) -> None:
        self._symbol = symbol
        digest = sha256(f"{seed}:{symbol.symbol}".encode()).digest()
        self._seed = int.from_bytes(digest[:8], "big")
        self._tick_ns = symbol.tick_ms * 1_000_000
        self._phase_ns = self._seed % self._tick_ns
        self._step_ppm = int(symbol.volatility_bps * 100)
        self._cents = symbol.price * 100
        self._spread_cents = max(1, int(self._cents * symbol.spread_bps / 10_000))
        self._corners: dict[int, tuple[int, int, int]] = {}

    def at(self, t_ns: int, feed: Feed) -> Quote:
        """The last quote at or before that moment."""
        lag = SIP_LAG_NS if feed == "sip" else 0
        tick = (t_ns - self._phase_ns - lag) // self._tick_ns
        stamp = self._stamp(tick, lag)
        if stamp > t_ns:
            tick -= 1
            stamp = self._stamp(tick, lag)
        return self._quote(tick, stamp, feed)

    def next_after(self, quote: Quote) -> int:
        """The moment at which this quote is replaced by the next one."""
        lag = SIP_LAG_NS if quote.feed == "sip" else 0
        return self._stamp((quote.t_ns - self._phase_ns - lag) // self._tick_ns + 1, lag)

    def between(
        self, start_ns: int, end_ns: int, feed: Feed, *, newest_first: bool = False
    ) -> Iterator[Quote]:
        """Every quote stamped in between, bounds included."""
        lag = SIP_LAG_NS if feed == "sip" else 0
        low, high = ((t_ns - self._phase_ns - lag) // self._tick_ns for t_ns in (start_ns, end_ns))
        ticks = range(low, high + 1)
        for tick in reversed(ticks) if newest_first else ticks:
            stamp = self._stamp(tick, lag)
            if start_ns <= stamp <= end_ns:
                yield self._quote(tick, stamp, feed)

    def _stamp(self, tick: int, lag: int) -> int:
        return tick * self._tick_ns + self._phase_ns + lag + _mix(self._seed ^ tick) % (self._tick_ns // 8)

    def _quote(self, tick: int, stamp: int, feed: Feed) -> Quote:
        noise = _mix(self._seed ^ tick ^ (0xFEED if feed == "sip" else 0))
        mid_cents = int(self._cents * (1_000_000 + self._walk(tick)) / 1_000_000)
        spread = self._spread_cents + noise % 3
        bid_cents = max(1, mid_cents - spread // 2)
        size = self._symbol.size
        bid_missing = self._symbol.bid_missing
        return Quote(
            symbol=self._symbol.symbol,
            feed=feed,
            t_ns=stamp,
            bid=Decimal(0) if bid_missing else bid_cents * CENT,
            ask=(bid_cents + spread) * CENT,
            bid_size=0 if bid_missing else size // 2 + (noise >> 8) % size,
            ask_size=size // 2 + (noise >> 24) % size,
            version=stamp,
        )

    def _walk(self, tick: int) -> int:
        """Distance from the start price in millionths."""
        total = 0
        for octave in range(_OCTAVES):
            period = 4**octave
            corner, offset = divmod(tick, period)
            known = self._corners.get(octave)
            if known is None or known[0] != corner:
                known = (corner, self._noise(octave, corner), self._noise(octave, corner + 1))
                self._corners[octave] = known
            level = known[1] + (known[2] - known[1]) * offset // period
            total += (level * self._step_ppm << octave) // _UNIT
        return total

    def _noise(self, octave: int, corner: int) -> int:
        return _mix(_mix(self._seed + octave) ^ corner & _MASK) % (2 * _UNIT + 1) - _UNIT
