"""Everything that can be chosen about a paper exchange, frozen once it runs."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from simulation.fault_plan import DEFAULT_SEED, FaultPlan

Feed = Literal["iex", "sip"]
FEEDS: tuple[Feed, ...] = ("iex", "sip")
PRIMARY_FEED: Feed = "iex"

Positive = Annotated[Decimal, Field(gt=0)]


class SymbolSettings(BaseModel):
    """One listed name and how its generated quotes behave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str = Field(pattern=r"^[A-Z][A-Z0-9.]{0,11}$")
    name: str = ""
    exchange: Literal["NASDAQ", "NYSE", "ARCA", "AMEX", "BATS"] = "NASDAQ"
    price: Positive = Decimal("100")
    spread_bps: Annotated[Decimal, Field(ge=0, le=5_000)] = Decimal("2")
    size: int = Field(300, gt=0, description="typical displayed shares on each side")
    tick_ms: int = Field(250, ge=10, description="market time between two quotes")
    volatility_bps: Annotated[Decimal, Field(ge=0, le=100)] = Decimal("0.5")
    stale: bool = Field(False, description="no quote after the first one, in every feed")
    bid_missing: bool = Field(False, description="bid price and size are 0: no active bid")
    tradable: bool = True
    shortable: bool = True
    fractionable: bool = True
    marginable: bool = True
    status: Literal["active", "inactive"] = "active"


def _name(
    symbol: str, name: str, exchange: Literal["NASDAQ", "NYSE", "ARCA"], price: str, size: int
) -> SymbolSettings:
    return SymbolSettings(symbol=symbol, name=name, exchange=exchange, price=Decimal(price), size=size)


DEFAULT_SYMBOLS: tuple[SymbolSettings, ...] = (
    _name("AAPL", "Apple Inc. Common Stock", "NASDAQ", "180.50", 300),
    _name("MSFT", "Microsoft Corporation Common Stock", "NASDAQ", "415.50", 200),
    _name("NVDA", "NVIDIA Corporation Common Stock", "NASDAQ", "140.20", 600),
    _name("AMZN", "Amazon.com, Inc. Common Stock", "NASDAQ", "205.30", 300),
    _name("GOOGL", "Alphabet Inc. Class A Common Stock", "NASDAQ", "175.10", 300),
    _name("META", "Meta Platforms, Inc. Class A Common Stock", "NASDAQ", "560.40", 150),
    _name("TSLA", "Tesla, Inc. Common Stock", "NASDAQ", "330.70", 300),
    _name("SPY", "SPDR S&P 500 ETF Trust", "ARCA", "590.10", 800),
    _name("QQQ", "Invesco QQQ Trust, Series 1", "NASDAQ", "505.60", 500),
    _name("IBM", "International Business Machines Corporation", "NYSE", "225.40", 200),
    _name("BAC", "Bank of America Corporation", "NYSE", "46.30", 1500),
    _name("AIG", "American International Group, Inc.", "NYSE", "77.80", 400),
    SymbolSettings(
        symbol="WIDE",
        name="Wide Spread Test Issue",
        exchange="NYSE",
        price=Decimal("20"),
        spread_bps=Decimal("400"),
    ),
    SymbolSettings(
        symbol="STALE", name="Stale Quote Test Issue", exchange="NYSE", price=Decimal("50"), stale=True
    ),
)


def synthetic_symbols(count: int) -> tuple[SymbolSettings, ...]:
    """``count`` names T0001, T0002 … with prices spread from $20 to $420."""
    return tuple(
        SymbolSettings(
            symbol=f"T{number:04d}",
            name=f"Synthetic Issue {number}",
            price=Decimal(20 + number * 37 % 400),
            size=1_000,
            tick_ms=1_000,
        )
        for number in range(1, count + 1)
    )


class ExchangeSettings(BaseModel):
    """Settings of one paper exchange; money in US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: SecretStr
    secret: SecretStr
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535, description="0 picks a free port")

    cash: Positive = Decimal(100_000)
    multiplier: Literal[1, 2, 4] = 4
    shorting_enabled: bool = True

    symbols: tuple[SymbolSettings, ...] | None = Field(None, description="None: a default list of names")
    tickers: int = Field(0, ge=0, le=20_000, description="synthetic names T0001… added for load")
    seed: int = 1
    market: tuple[Path, ...] = Field((), description="recorded quotes that drive the market and the clock")

    session: Literal["calendar", "always_open"] = "calendar"
    start: Literal["auto", "now"] | AwareDatetime = "auto"
    speed: float = Field(1.0, ge=0, le=20)

    partial_fills: Literal["displayed_size", "none"] = "displayed_size"
    venue_latency_ms: int = Field(5, ge=0, description="real time from acceptance to the venue's answer")
    cancel_latency_ms: int = Field(5, ge=0, description="real time from a cancel request to its outcome")

    requests_per_minute: int = Field(200, gt=0)
    data_requests_per_minute: int = Field(10_000, gt=0)
    data_stream_connections: int = Field(1, gt=0, description="live data sockets per feed")
    trading_stream_connections: int | None = Field(None, gt=0, description="None: no limit")

    fault_plan: FaultPlan | None = Field(None, description="faults on order from the start on")
    fault_seed: int = Field(DEFAULT_SEED, description="of the chances of faults ordered one by one")

    def universe(self) -> tuple[SymbolSettings, ...]:
        """The names to list besides the recorded ones; a later entry for a symbol replaces an earlier one.

        With recorded quotes the default list is left out: its generated prices are of another time.
        """
        chosen = self.symbols
        if chosen is None:
            chosen = () if self.market else DEFAULT_SYMBOLS
        by_symbol = {entry.symbol: entry for entry in (*chosen, *synthetic_symbols(self.tickers))}
        return tuple(by_symbol.values())
