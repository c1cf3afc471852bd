"""Executions as differences, and what a person should do about each kind of difference. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from risk.arithmetic import text
from schemas.orders import Fill, Side
from schemas.reconciliation import DriftKind, Finding, SeenFill

ZERO: Final = Decimal(0)

LOOK_AT_THE_BROKER: Final = (
    "look at the account's activity at the broker: who traded it, outside this service?"
)
WHAT_TO_DO: Final[Mapping[DriftKind, str]] = {
    DriftKind.MISSED_FILL: "nothing: it is adopted; if it repeats, look at the update stream in `trading status`",
    DriftKind.EXTERNAL_FILL: LOOK_AT_THE_BROKER,
    DriftKind.FILL_TAKEN_BACK: "nothing: it counts no more; see what was traded because of it",
    DriftKind.POSITION_ONLY_THERE: LOOK_AT_THE_BROKER,
    DriftKind.POSITION_ONLY_HERE: LOOK_AT_THE_BROKER,
    DriftKind.POSITION_BIGGER_THERE: LOOK_AT_THE_BROKER,
    DriftKind.POSITION_SMALLER_THERE: LOOK_AT_THE_BROKER,
    DriftKind.CASH: "look for a fee, a transfer or a correction in the broker's statement",
    DriftKind.ORDER_ENDED_THERE: "nothing: the broker's word is adopted; who cancelled it, if nobody here did?",
    DriftKind.ORDER_OPEN_THERE: "watch it with `trading order show`: it can still fill",
    DriftKind.ORDER_UNKNOWN_THERE: "ask the broker's support for this order by both its ids: no command here ends "
    "it; it stays open with its room reserved until the broker shows it again, as nothing is freed by guess",
    DriftKind.EXTERNAL_ORDER: "who placed it? `trading kill` cancels it with all others",
    DriftKind.FOREIGN_INSTALLATION: "another installation trades this account: stop it before `trading release`",
}


def missing_fill(seen: SeenFill) -> Finding:
    """An execution that the broker lists and our books lack."""
    fill = seen.fill
    kind = DriftKind.MISSED_FILL if seen.ours else DriftKind.EXTERNAL_FILL
    whose = "our order" if seen.ours else "an order that is not ours"
    return Finding(
        kind=kind,
        subject=fill.activity_id or fill.execution_id or "",
        ticker=fill.ticker,
        here=ZERO,
        there=seen.shares,
        difference=seen.shares,
        price=fill.price,
        fill=fill,
        broker_order_id=fill.broker_order_id,
        detail=f"{fill.side.value} {text(fill.quantity)} {fill.ticker} at {text(fill.price)} of {whose}, "
        f"executed {fill.executed_at.isoformat()}, was not in our books",
        do=WHAT_TO_DO[kind],
    )


def taken_back(
    unlisted: Iterable[Fill],
    here: Mapping[str, Decimal],
    there: Mapping[str, Decimal],
    moved: Mapping[str, Decimal],
    left_out: set[str],
) -> list[Fill]:
    """Executions that the list lacks, of tickers of which the broker lacks exactly their shares: busted, untold."""
    by_ticker: dict[str, list[Fill]] = defaultdict(list)
    for fill in unlisted:
        by_ticker[fill.ticker].append(fill)
    found = []
    for ticker, fills in by_ticker.items():
        lacking = here.get(ticker, ZERO) + moved.get(ticker, ZERO) - there.get(ticker, ZERO)
        if ticker not in left_out and lacking and lacking == sum(map(shares_of, fills)):
            found += fills
    return found


def shares_of(fill: Fill) -> Decimal:
    """Signed."""
    return fill.quantity if fill.side is Side.BUY else -fill.quantity


def gone_fill(fill: Fill) -> Finding:
    """An execution in our books that the broker has taken back."""
    kind = DriftKind.FILL_TAKEN_BACK
    shares = shares_of(fill)
    return Finding(
        kind=kind,
        subject=fill.execution_id or fill.activity_id or "",
        ticker=fill.ticker,
        here=shares,
        there=ZERO,
        difference=-shares,
        price=fill.price,
        fill=fill,
        broker_order_id=fill.broker_order_id,
        detail=f"{fill.side.value} {text(fill.quantity)} {fill.ticker} at {text(fill.price)} of our order, of "
        f"{fill.executed_at.isoformat()}, is no longer in the broker's list, nor are its shares in the account",
        do=WHAT_TO_DO[kind],
    )
