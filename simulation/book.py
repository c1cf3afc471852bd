"""The account's books: cash, positions, orders, executions. Pure: events in, state out."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from simulation.events import (
    AccountAdjusted,
    AccountConfiguration,
    AccountConfigured,
    AccountOpened,
    BookEvent,
    DayStarted,
    EquityMarked,
    ExecutionBusted,
    ExecutionCorrected,
    OrderChanged,
    OrderCreated,
    OrderExecuted,
    Watchlist,
    WatchlistDeleted,
    WatchlistSaved,
)
from simulation.orders import ZERO, Order


@dataclass(frozen=True, slots=True)
class Position:
    """Signed shares and what they cost; both are negative for a short."""

    symbol: str
    qty: Decimal
    cost: Decimal
    # Like cost, with shares carried overnight valued at yesterday's mark.
    day_cost: Decimal

    @property
    def avg_entry_price(self) -> Decimal:
        return self.cost / self.qty

    def after(self, signed_qty: Decimal, price: Decimal) -> "Position":
        """The position after ``signed_qty`` more shares at ``price``."""
        qty = self.qty + signed_qty
        if self.qty * signed_qty >= 0:
            added = signed_qty * price
            return replace(self, qty=qty, cost=self.cost + added, day_cost=self.day_cost + added)
        kept = qty / self.qty
        return replace(self, qty=qty, cost=self.cost * kept, day_cost=self.day_cost * kept)


@dataclass(frozen=True, slots=True)
class Execution:
    """One FILL activity."""

    activity_id: str
    execution_id: str
    order_id: str
    symbol: str
    side: str
    at: datetime
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    order_status: str


class UnknownOrder(LookupError):
    """An event names an order that was never created: the ledger is not whole."""


@dataclass
class Book:
    """State of one account; change it only through ``apply``."""

    account_id: str = ""
    account_number: str = ""
    created_at: datetime | None = None
    multiplier: int = 1
    shorting_enabled: bool = True
    configuration: AccountConfiguration = field(default_factory=AccountConfiguration)
    initial_cash: Decimal = ZERO
    cash: Decimal = ZERO
    last_equity: Decimal = ZERO
    day: date | None = None
    day_marks: dict[str, Decimal] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    by_client_order_id: dict[str, str] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    # Open orders in order of submission, all and by symbol.
    open_ids: dict[str, None] = field(default_factory=dict)
    open_by_symbol: dict[str, dict[str, None]] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    execution_places: dict[str, int] = field(default_factory=dict)
    adjustments: list[AccountAdjusted] = field(default_factory=list)
    reserved: Decimal = ZERO
    watchlists: dict[str, Watchlist] = field(default_factory=dict)
    equity_marks: list[tuple[datetime, Decimal]] = field(default_factory=list)

    def apply(self, event: BookEvent) -> None:
        """Change the state by one event.

        Raises UnknownOrder if the event names an order the book does not have.
        """
        match event:
            case AccountOpened():
                self._open(event)
            case OrderCreated(order=order):
                self._store(None, order)
            case OrderChanged():
                before = self._order(event.order_id)
                self._store(before, before.changed(event.at, event.changes))
            case OrderExecuted():
                self._execute(event)
            case ExecutionBusted():
                self._take_back(event.execution_id, event.at)
            case ExecutionCorrected():
                self._correct(event)
            case AccountAdjusted():
                self._adjust(event)
            case DayStarted():
                self._start_day(event)
            case EquityMarked(at=at, equity=equity):
                self.equity_marks.append((at, equity))
            case WatchlistSaved(watchlist=watchlist):
                self.watchlists[watchlist.id] = watchlist
            case WatchlistDeleted(watchlist_id=watchlist_id):
                del self.watchlists[watchlist_id]
            case AccountConfigured(configuration=configuration):
                self.configuration = configuration

    @property
    def margin_multiplier(self) -> int:
        """The account's multiplier, or the lower one its owner chose."""
        return min(self.multiplier, int(self.configuration.max_margin_multiplier))

    @property
    def may_short(self) -> bool:
        return self.shorting_enabled and not self.configuration.no_shorting

    def position_qty(self, symbol: str) -> Decimal:
        position = self.positions.get(symbol)
        return position.qty if position else ZERO

    def open_orders(self, symbol: str) -> Iterable[Order]:
        return [self.orders[order_id] for order_id in self.open_by_symbol.get(symbol, ())]

    def held_qty(self, symbol: str) -> Decimal:
        """Shares of the position that open closing orders already claim.

        Of a group, or of an order and its replacement, only one can execute: the largest counts.
        """
        by_group: dict[str, Decimal] = {}
        for order in self.open_orders(symbol):
            if not order.opens and order.status != "held":
                group = order.parent_id or order.chain_id or order.id
                by_group[group] = max(by_group.get(group, ZERO), order.claimed_qty)
        return sum(by_group.values(), ZERO)

    def execution(self, execution_id: str) -> Execution:
        """Raises LookupError if there is none, or it was busted."""
        for execution in self.executions:
            if execution.execution_id == execution_id:
                return execution
        raise LookupError(f"no execution {execution_id}")

    def _open(self, event: AccountOpened) -> None:
        self.account_id = event.account_id
        self.account_number = event.account_number
        self.created_at = event.at
        self.multiplier = event.multiplier
        self.shorting_enabled = event.shorting_enabled
        self.initial_cash = self.cash = self.last_equity = event.cash

    def _order(self, order_id: str) -> Order:
        try:
            return self.orders[order_id]
        except KeyError:
            raise UnknownOrder(order_id) from None

    def _store(self, before: Order | None, order: Order) -> None:
        self.orders[order.id] = order
        self.reserved += order.reserved - (before.reserved if before else ZERO)
        if before is None:
            self.by_client_order_id[order.client_order_id] = order.id
        if order.parent_id and (before is None or before.parent_id != order.parent_id):
            self._adopt(order, before.parent_id if before else None)
        for open_ids in (self.open_ids, self.open_by_symbol.setdefault(order.symbol, {})):
            if order.is_open:
                open_ids[order.id] = None
            else:
                open_ids.pop(order.id, None)

    def _adopt(self, leg: Order, former_parent: str | None) -> None:
        if former_parent is not None:
            self.children[former_parent].remove(leg.id)
        assert leg.parent_id is not None
        self.children.setdefault(leg.parent_id, []).append(leg.id)

    def _execute(self, event: OrderExecuted | ExecutionCorrected) -> None:
        before = self._order(event.order_id)
        order = replace(
            before,
            updated_at=event.at,
            filled_qty=before.filled_qty + event.qty,
            filled_value=before.filled_value + event.qty * event.price,
        )
        execution_id = event.execution_id
        if isinstance(event, ExecutionCorrected):
            execution_id = event.correction_id
        else:
            filled_at = event.at if event.status == "filled" else before.filled_at
            order = replace(order, status=event.status, filled_at=filled_at)
        self._store(before, order)
        signed = event.qty if order.side == "buy" else -event.qty
        self.cash -= signed * event.price
        self._move(order.symbol, signed, event.price)
        self.execution_places[event.activity_id] = len(self.executions)
        self.executions.append(
            Execution(
                activity_id=event.activity_id,
                execution_id=execution_id,
                order_id=order.id,
                symbol=order.symbol,
                side=order.side,
                at=event.at,
                qty=event.qty,
                price=event.price,
                cum_qty=order.filled_qty,
                leaves_qty=order.leaves_qty,
                order_status="filled" if order.status == "filled" else "partially_filled",
            )
        )

    def _move(self, symbol: str, signed_qty: Decimal, price: Decimal) -> None:
        position = self.positions.get(symbol, Position(symbol, ZERO, ZERO, ZERO)).after(signed_qty, price)
        if position.qty:
            self.positions[symbol] = position
        else:
            self.positions.pop(symbol, None)

    def _correct(self, event: ExecutionCorrected) -> None:
        self._take_back(event.execution_id, event.at)
        self._execute(event)

    def _take_back(self, execution_id: str, at: datetime) -> None:
        gone = self.execution(execution_id)
        before = self._order(gone.order_id)
        order = replace(
            before,
            updated_at=at,
            filled_qty=before.filled_qty - gone.qty,
            filled_value=before.filled_value - gone.qty * gone.price,
        )
        self._store(before, order)
        signed = gone.qty if order.side == "buy" else -gone.qty
        self.cash += signed * gone.price
        self._move(order.symbol, -signed, gone.price)
        self.executions.remove(gone)
        self.execution_places = {row.activity_id: place for place, row in enumerate(self.executions)}

    def _adjust(self, event: AccountAdjusted) -> None:
        self.cash += event.cash
        if event.symbol is not None and event.qty:
            self._move(event.symbol, event.qty, event.price)
        self.adjustments.append(event)

    def _start_day(self, event: DayStarted) -> None:
        self.day = event.day
        self.last_equity = event.last_equity
        self.day_marks = dict(event.marks)
        for symbol, position in self.positions.items():
            if symbol in event.marks:
                self.positions[symbol] = replace(position, day_cost=position.qty * event.marks[symbol])
