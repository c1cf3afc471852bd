"""How much was lost, of the session's start or of the peak, and whether that is over its limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from risk.arithmetic import HUNDREDTH, text
from schemas.conduct import Breach, EquityReading, LossKind
from schemas.risk import Limits

READINGS_APART: Final = timedelta(seconds=5)
"""A loss stops trading only when a second reading shows it that much later. Exactly this counts."""

_WORDS: Final = {
    LossKind.DAILY_LOSS: "equity at the session's start",
    LossKind.DRAWDOWN: "peak equity",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """US dollars. Compute it inside ``exact()``."""

    kind: LossKind
    base: Decimal
    equity: Decimal
    limit_pct: Decimal

    @property
    def lost(self) -> Decimal:
        """Negative for a gain."""
        return self.base - self.equity

    @property
    def allowed(self) -> Decimal:
        return self.limit_pct * HUNDREDTH * self.base

    @property
    def exceeded(self) -> bool:
        """Exactly at the limit it is not."""
        return self.lost > self.allowed

    @property
    def formula(self) -> str:
        """With the numbers put in."""
        relation = ">" if self.exceeded else "≤"
        return (
            f"{_WORDS[self.kind]} {text(self.base)} − equity {text(self.equity)} = {text(self.lost)} {relation} "
            f"{text(self.limit_pct)} % of {text(self.base)} = {text(self.allowed)}"
        )


def loss(kind: LossKind, base: Decimal | None, equity: Decimal | None, limits: Limits) -> Loss | None:
    """None where it cannot be measured: a number is not known, or there was nothing to lose."""
    if base is None or equity is None or base <= 0:
        return None
    limit = limits.max_daily_loss_pct if kind is LossKind.DAILY_LOSS else limits.max_drawdown_pct
    return Loss(kind, base, equity, limit)


def losses(reading: EquityReading, limits: Limits) -> dict[LossKind, Loss]:
    """Both, as far as the reading tells them."""
    bases = {LossKind.DAILY_LOSS: reading.session_equity, LossKind.DRAWDOWN: reading.peak_equity}
    found = {kind: loss(kind, base, reading.equity, limits) for kind, base in bases.items()}
    return {kind: each for kind, each in found.items() if each is not None}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reading changes in what is known of losses over their limit."""

    begun: tuple[Loss, ...] = ()
    confirmed: tuple[Loss, ...] = ()
    """Shown by a second reading: trading stops."""
    over: tuple[Loss, ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.begun or self.confirmed or self.over)


def judge(
    found: Mapping[LossKind, Loss],
    taken_at: datetime,
    standing: Mapping[LossKind, Breach],
    last_equity: Decimal | None = None,
) -> Judgement:
    """Hold a reading against the losses that earlier ones have shown; ``last_equity`` is the reading's.

    One that cannot be measured confirms nothing and ends nothing. One that was confirmed stops trading once: it
    does so anew only after a reading within the limit, so that no release is undone by the same loss. A daily
    loss is its session's: whoever was not there at the change of sessions must not take today's for yesterday's.
    """
    begun, confirmed, over = [], [], []
    for kind, each in found.items():
        breach = standing.get(kind)
        if breach is None:
            begun += [each] if each.exceeded else []
        elif not each.exceeded or _of_another_session(breach, last_equity):
            over.append(each)
        elif breach.confirmed_at is None and taken_at - breach.first_read_at >= READINGS_APART:
            confirmed.append(each)
    return Judgement(tuple(begun), tuple(confirmed), tuple(over))


def _of_another_session(breach: Breach, last_equity: Decimal | None) -> bool:
    known = breach.last_equity is not None and last_equity is not None
    return breach.kind is LossKind.DAILY_LOSS and known and breach.last_equity != last_equity
