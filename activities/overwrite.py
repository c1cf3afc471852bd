"""What one run books: the entries that bring our books to the broker's, in the order they must be booked."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from risk.drift import allocate
from schemas.base import decimal_text
from schemas.broker import CashActivity
from schemas.reconciliation import BrokerState, Comparison, DriftKind, Finding, Held
from storage.journal import Entry, TradingDay, book, reverse_cash, save_trading_day

if TYPE_CHECKING:
    from storage.database import Connection

ZERO: Final = Decimal(0)


async def book_activities(
    connection: "Connection",
    run_id: str,
    state: BrokerState,
    comparison: Comparison,
    now: datetime,
    *,
    since: datetime,
) -> list[CashActivity]:
    """Fees, dividends, deposits: each under its own id, so that none is ever booked twice. Those that were new.

    What an overwrite after ``since`` has booked already of one that is listed late is reversed with it.
    """
    booked = []
    for each in state.activities:
        if each.activity_id in comparison.waiting:
            continue
        what = " ".join(part for part in (each.ticker, each.description) if part)
        detail = (
            f"{each.activity_type} of {each.day.isoformat()}: ${decimal_text(each.amount)} {what}".strip()
        )
        entry = Entry(
            run_id=run_id,
            cause="ACTIVITY",
            cash=each.amount,
            activity_id=each.activity_id,
            activity_type=each.activity_type,
            snapshot_at=state.market_at,
            detail=detail,
        )
        if not await book(connection, entry, now):
            continue
        booked.append(each)
        if late := comparison.late.get(each.activity_id):
            await reverse_cash(connection, entry, late, now, since=since)
    return booked


async def keep_day(connection: "Connection", state: BrokerState) -> None:
    """By what a day's result is measured: when it began, and what shares were worth at the close before."""
    if state.day is None or state.day_began_at is None:
        return
    marks = {each.ticker: each.last_day_price for each in state.holdings if each.last_day_price is not None}
    await save_trading_day(connection, TradingDay(day=state.day, began_at=state.day_began_at), marks)


class Overwrite:
    """Books external executions and what nothing explains. The books are locked."""

    def __init__(
        self,
        connection: "Connection",
        run_id: str,
        state: BrokerState,
        held: Sequence[Held],
        *,
        opening: bool,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._state = state
        self._held: dict[str, dict[str, Held]] = defaultdict(dict)
        for row in held:
            self._held[row.ticker][row.strategy] = row
        self._cause = "OPENING" if opening else "RESIDUAL"
        self._costs = {each.ticker: each.average_price for each in state.holdings} if opening else {}
        self._now = now
        self._cash = ZERO

    async def book(self, findings: Iterable[Finding]) -> None:
        """Executions first; the last entry is the cash that is left over, so that the sum is the broker's."""
        ordered = sorted(findings, key=lambda finding: finding.fill is None)
        for finding in ordered:
            if finding.kind is DriftKind.EXTERNAL_FILL:
                await self._external_fill(finding)
            elif finding.kind is DriftKind.CASH:
                self._cash += finding.difference or ZERO
            elif finding.subject == finding.ticker:
                await self._position(finding)
        if self._cash:
            left = f"{self._cause.lower()}: cash as the broker has it, ${decimal_text(self._state.cash)}"
            await self._book(self._cause, left, cash=self._cash)

    async def _external_fill(self, finding: Finding) -> None:
        fill = finding.fill
        assert fill is not None, "a fill's finding carries it"
        for strategy, part in self._parts(fill.ticker, finding.difference or ZERO):
            await self._book(
                "EXTERNAL_FILL",
                finding.detail,
                ticker=fill.ticker,
                strategy=strategy,
                quantity=part,
                cash=-part * fill.price,
                price=fill.price,
                activity_id=fill.activity_id,
            )

    async def _position(self, finding: Finding) -> None:
        ticker = finding.subject
        price = self._costs.get(ticker, finding.price or ZERO)
        for strategy, part in self._parts(ticker, finding.difference or ZERO):
            # What the shares are booked at is taken from the rest of the cash: the account's sum stays.
            self._cash += part * price
            await self._book(
                self._cause,
                f"{self._cause.lower()}: {finding.detail}",
                ticker=ticker,
                strategy=strategy,
                quantity=part,
                cash=-part * price,
                price=price,
            )

    def _parts(self, ticker: str, change: Decimal) -> list[tuple[str, Decimal]]:
        owners = self._held[ticker]
        parts = allocate(owners.values(), ticker, change)
        for strategy, part in parts:
            row = owners.get(strategy, Held(ticker=ticker, strategy=strategy, quantity=ZERO))
            owners[strategy] = row.model_copy(update={"quantity": row.quantity + part})
        return parts

    async def _book(self, cause: str, detail: str, **moved: Any) -> None:
        shared = {"run_id": self._run_id, "snapshot_at": self._state.market_at}
        entry = Entry.model_validate({**shared, "cause": cause, "detail": detail, **moved})
        await book(self._connection, entry, self._now)
