"""Checks of what was lost: today, and since equity stood highest. Opens only: a close ends risk."""

from decimal import Decimal

from risk.arithmetic import text
from risk.candidate import Candidate, result
from risk.losses import loss
from schemas.conduct import LossKind
from schemas.risk import CheckName, CheckResult

NOT_FOR_CLOSES = "not applied to a close: it ends risk"


def daily_loss(order: Candidate) -> CheckResult:
    """Equity against the broker's equity at the previous close, with what was paid in or out since."""
    base, limit = order.facts.conduct.session_equity, order.facts.limits.max_daily_loss_pct
    return _within(CheckName.DAILY_LOSS, LossKind.DAILY_LOSS, order, base, limit)


def drawdown(order: Candidate) -> CheckResult:
    """Equity against its highest reading."""
    base, limit = order.facts.conduct.peak_equity, order.facts.limits.max_drawdown_pct
    return _within(CheckName.DRAWDOWN, LossKind.DRAWDOWN, order, base, limit)


def _within(
    name: CheckName, kind: LossKind, order: Candidate, base: Decimal | None, limit: Decimal
) -> CheckResult:
    found = loss(kind, base, order.facts.equity, order.facts.limits)
    if order.reduces:
        return result(name, True, "none" if found is None else text(found.lost), "none", NOT_FOR_CLOSES)
    if found is None:
        known = "not known" if base is None else f"{text(base)}, not positive"
        told = f"what the loss is measured from is {known}: nothing may be opened"
        return result(name, False, "unknown", f"≤ {text(limit)} %", told)
    return result(name, not found.exceeded, text(found.lost), text(found.allowed), found.formula)
