"""How our books and the broker's differ, and whether that stops trading. Exact, and without a clock."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from risk.arithmetic import exact, text
from risk.drift_fills import WHAT_TO_DO, gone_fill, missing_fill, shares_of, taken_back
from risk.late_cash import CASH_TOLERANCE, late_activities, waiting_activities
from schemas.reconciliation import (
    CASH,
    EXTERNAL,
    Books,
    BrokerState,
    Comparison,
    DriftKind,
    Finding,
    Graces,
    Held,
    Owner,
    Place,
    SeenOrder,
)

DRIFT_MAX_PCT: Final = Decimal(5)
"""In % of equity (specification D). Exactly this does not trip."""

ZERO: Final = Decimal(0)


def compare(broker: BrokerState, books: Books, graces: Graces) -> Comparison:
    """Every difference that is not merely on its way.

    Fills younger than their grace leave their ticker, and cash, out of this reading; older ones are
    differences of their own, and only what they do not explain is a difference of the position.
    """
    with exact():
        flying = [fill for fill in broker.fills if fill.age_seconds < graces.fill_seconds]
        due = [fill for fill in broker.fills if fill.age_seconds >= graces.fill_seconds]
        moved: dict[str, Decimal] = defaultdict(Decimal)
        for fill in due:
            moved[fill.fill.ticker] += fill.shares
        holdings = {holding.ticker: holding for holding in broker.holdings}
        prices = {**books.marks, **{ticker: holding.price for ticker, holding in holdings.items()}}
        left_out = {fill.fill.ticker for fill in flying}
        there = {ticker: holding.quantity for ticker, holding in holdings.items()}
        here = shares_by_ticker(books.held)
        gone = taken_back(books.unlisted, here, there, moved, left_out)
        for each in gone:
            moved[each.ticker] -= shares_of(each)
        positions = _positions(here, there, moved, left_out, prices)
        cash_moved = sum((fill.cash for fill in due), ZERO)
        cash_moved += sum((shares_of(each) * each.price for each in gone), ZERO)
        late = {} if flying else late_activities(broker, books, cash_moved)
        cash = [] if flying else _cash(broker, books, cash_moved - sum(late.values(), ZERO))
        orders, young = _orders(broker.orders, graces)
        for found in positions:
            moved[found.subject] += found.difference or ZERO
        cash_drift = cash_moved + sum((found.difference or ZERO for found in cash), ZERO)
        shares_drift = sum((abs(shares) * prices.get(name, ZERO) for name, shares in moved.items()), ZERO)
    fills = [*(missing_fill(fill) for fill in due), *(gone_fill(each) for each in gone)]
    return Comparison(
        findings=(*fills, *positions, *cash, *orders),
        left_out=len(flying) + young,
        drift=max(shares_drift, abs(cash_drift)),
        late=late,
        waiting=waiting_activities(broker, books) if flying else (),
    )


def agree(earlier: Comparison, later: Comparison) -> bool:
    """Whether two readings show the same differences.

    An execution need not stand twice: its id says what it is, and a busy stranger always has a new one. What it
    does not explain must, and so must orders and executions that are no longer there; the later reading's
    executions count.
    """
    return _unidentified(earlier) == _unidentified(later)


def residual(comparison: Comparison) -> dict[str, Decimal]:
    """Shares by ticker, and dollars under ``$CASH``, that no execution and no activity explains."""
    return {
        found.subject: found.difference
        for found in comparison.findings
        if found.difference is not None and found.fill is None
    }


def trips(drift: Decimal, equity: Decimal) -> bool:
    """Whether drift is more than 5 % of equity. Any drift trips an account that is worth nothing."""
    with exact():
        return drift * 100 > DRIFT_MAX_PCT * max(equity, ZERO)


def worth_of_fills(findings: Iterable[Finding]) -> Decimal:
    """US dollars of the executions among the findings, bought and sold alike."""
    with exact():
        return sum(
            (found.fill.quantity * found.fill.price for found in findings if found.fill is not None), ZERO
        )


def stops_everything(findings: Iterable[Finding]) -> bool:
    """Whether a finding by itself must engage the kill switch."""
    return any(found.kind is DriftKind.FOREIGN_INSTALLATION for found in findings)


def allocate(held: Iterable[Held], ticker: str, change: Decimal) -> list[tuple[str, Decimal]]:
    """Whose shares a change of the account's position is: (strategy, signed shares).

    What shrinks comes off external shares first, then off the largest holding; what grows, or is left, is
    nobody's: external. The parts always sum up to ``change``.
    """
    parts: dict[str, Decimal] = defaultdict(Decimal)
    owners = [row for row in held if row.ticker == ticker and row.quantity * change < 0]
    for row in sorted(owners, key=lambda row: (row.strategy != EXTERNAL, -abs(row.quantity), row.strategy)):
        part = min(change, -row.quantity, key=abs)
        parts[row.strategy] += part
        change -= part
        if not change:
            break
    if change:
        parts[EXTERNAL] += change
    return list(parts.items())


def shares_by_ticker(held: Iterable[Held]) -> dict[str, Decimal]:
    """Net over all strategies."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in held:
        found[row.ticker] += row.quantity
    return found


def _unidentified(comparison: Comparison) -> list[tuple[str, str, str]]:
    return sorted(
        _sortable(found)
        for found in comparison.findings
        if found.fill is None or found.kind is DriftKind.FILL_TAKEN_BACK
    )


def _sortable(found: Finding) -> tuple[str, str, str]:
    kind, subject, difference = found.identity
    return kind, subject, "" if difference is None else text(difference)


def _positions(
    here: Mapping[str, Decimal],
    there: Mapping[str, Decimal],
    moved: Mapping[str, Decimal],
    left_out: set[str],
    prices: Mapping[str, Decimal],
) -> list[Finding]:
    found = []
    for ticker in sorted(({*here, *there, *moved}) - left_out):
        ours = here.get(ticker, ZERO) + moved.get(ticker, ZERO)
        theirs = there.get(ticker, ZERO)
        if ours == theirs:
            continue
        kind = _position_kind(ours, theirs)
        found.append(
            Finding(
                kind=kind,
                subject=ticker,
                ticker=ticker,
                here=ours,
                there=theirs,
                difference=theirs - ours,
                price=prices.get(ticker, ZERO),
                detail=f"{ticker}: {text(ours)} shares here, {text(theirs)} at the broker",
                do=WHAT_TO_DO[kind],
            )
        )
    return found


def _position_kind(ours: Decimal, theirs: Decimal) -> DriftKind:
    if not ours:
        return DriftKind.POSITION_ONLY_THERE
    if not theirs:
        return DriftKind.POSITION_ONLY_HERE
    bigger = abs(theirs) > abs(ours)
    return DriftKind.POSITION_BIGGER_THERE if bigger else DriftKind.POSITION_SMALLER_THERE


def _cash(broker: BrokerState, books: Books, moved: Decimal) -> list[Finding]:
    booked = sum((activity.amount for activity in broker.activities), ZERO)
    ours = books.cash + moved + booked
    difference = broker.cash - ours
    if abs(difference) < CASH_TOLERANCE:
        return []
    return [
        Finding(
            kind=DriftKind.CASH,
            subject=CASH,
            here=ours,
            there=broker.cash,
            difference=difference,
            detail=f"cash: ${text(ours)} here, ${text(broker.cash)} at the broker",
            do=WHAT_TO_DO[DriftKind.CASH],
        )
    ]


def _orders(orders: Iterable[SeenOrder], graces: Graces) -> tuple[list[Finding], int]:
    found, young = [], 0
    for order in orders:
        kind = _order_kind(order)
        if kind is None:
            continue
        if order.owner is Owner.OURS and order.age_seconds < graces.order_seconds:
            young += 1
            continue
        found.append(
            Finding(
                kind=kind,
                subject=order.broker_order_id,
                ticker=order.ticker,
                broker_order_id=order.broker_order_id,
                client_order_id=order.client_order_id,
                signal_id=order.signal_id,
                detail=f"{order.text}: {order.here.value} here, {order.there.value} at the broker"
                + (f" ({order.raw_status})" if order.raw_status else ""),
                do=WHAT_TO_DO[kind],
            )
        )
    return found, young


def _order_kind(order: SeenOrder) -> DriftKind | None:
    if order.owner is Owner.FOREIGN:
        return DriftKind.FOREIGN_INSTALLATION
    if order.owner is Owner.EXTERNAL:
        return None if order.known or order.there is not Place.OPEN else DriftKind.EXTERNAL_ORDER
    if order.there is Place.UNKNOWN:
        return DriftKind.ORDER_UNKNOWN_THERE
    if order.here is order.there:
        return None
    return DriftKind.ORDER_ENDED_THERE if order.there is Place.ENDED else DriftKind.ORDER_OPEN_THERE
