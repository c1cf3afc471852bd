"""The rounds of a run of joint limits: which limit has the room, for how much, and what is proposed against it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from schemas.limits import MODELS, NewDocument
from schemas.risk import LimitScope
from workers.chaos.joint_book import EQUITY, QUANTITY, STRATEGIES, TICKERS, Proposed
from workers.chaos.stage import WIDE_LIMITS

SIGNALS: Final = 64
ROOM_MAX: Final = 16
"""Orders. Prices of one round are 0.7 % apart: one order more than k never fits where k of the dearest do."""
LOWERED_ROOM_MAX: Final = 32
"""Where limits are lowered in mid-flight: so much that the room is not full before anybody can."""
SLACK_MAX: Final = 300
"""US dollars beyond k orders: with what the cheaper of k orders leave, less than another one needs."""
PRICE_STEPS: Final = 8
"""Rounds after which prices come again: no signal repeats another's content within a second."""
PRICE_MAX: Final = Decimal(100)
CENT: Final = Decimal("0.01")


@dataclass(frozen=True)
class Kind:
    """Which limit has the room, and over how many strategies and tickers the signals are spread."""

    scope: LimitScope
    limit: str
    strategies: int
    tickers: int

    @property
    def name(self) -> str:
        return f"{self.scope.value} {self.limit}"

    @property
    def counts(self) -> bool:
        """Orders, not dollars: room for none cannot be said."""
        return self.limit == "max_open_orders"

    @property
    def owner(self) -> str:
        return {LimitScope.STRATEGY: STRATEGIES[0], LimitScope.TICKER: TICKERS[0]}.get(self.scope, "")


ROOMS: Final = (
    Kind(LimitScope.ACCOUNT, "max_gross_exposure_pct", 2, 2),
    Kind(LimitScope.ACCOUNT, "max_ticker_exposure_pct", 2, 1),
    Kind(LimitScope.ACCOUNT, "max_strategy_exposure_pct", 1, 2),
    Kind(LimitScope.STRATEGY, "max_strategy_exposure_pct", 1, 2),
    Kind(LimitScope.TICKER, "max_ticker_exposure_pct", 2, 1),
    Kind(LimitScope.ACCOUNT, "max_open_orders", 2, 2),
)


def top_price(number: int) -> Decimal:
    """US dollars a share of the round's dearest signal."""
    return PRICE_MAX - CENT * SIGNALS * (number % PRICE_STEPS)


def wide() -> NewDocument:
    """The account's limits that do not get in the way."""
    return MODELS[LimitScope.ACCOUNT].model_validate(dict(WIDE_LIMITS))


def room_for(number: int, kind: Kind, orders: int, *, slack: Decimal) -> NewDocument:
    """Limits of the kind with room for exactly so many of the round's orders; ``slack`` dollars are left over."""
    dollars = orders * QUANTITY * top_price(number) + slack
    rest = WIDE_LIMITS if kind.scope is LimitScope.ACCOUNT else {}
    limit = max(1, orders) if kind.counts else str(100 * dollars / EQUITY)
    return MODELS[kind.scope].model_validate({**rest, kind.limit: limit})


def signal_of(number: int, index: int, kind: Kind) -> Proposed:
    """One of the round's signals: strategies and tickers in turn, each at its own price."""
    strategy = STRATEGIES[index % kind.strategies]
    ticker = TICKERS[index // kind.strategies % kind.tickers]
    return Proposed(f"r{number}-{index}", strategy, ticker, top_price(number) - CENT * index)
