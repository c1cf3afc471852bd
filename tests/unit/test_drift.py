"""Our books against the broker's: what differs, what is merely on its way, and when trading stops."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.drift import (
    DRIFT_MAX_PCT,
    agree,
    allocate,
    compare,
    residual,
    shares_by_ticker,
    stops_everything,
    trips,
)
from schemas.broker import CashActivity
from schemas.orders import Fill, Side
from schemas.reconciliation import (
    CASH,
    EXTERNAL,
    Books,
    BrokerState,
    Comparison,
    DriftKind,
    Graces,
    Held,
    Holding,
    Owner,
    Place,
    SeenFill,
    SeenOrder,
)
from tests.unit.risk_builders import D, any_speed

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
GRACES = Graces(fill_seconds=10, order_seconds=60)
ZERO = D(0)
TICKERS = ("AAA", "BBB", "CCC")

shares = st.integers(-10_000, 10_000).map(Decimal)
money = st.decimals(D("-1e9"), D("1e9"), places=2)
prices = st.decimals(D("0.01"), D(10_000), places=2)
tickers = st.sampled_from(TICKERS)
held_rows = st.lists(
    st.builds(Held, ticker=tickers, strategy=st.sampled_from(["a", "b", EXTERNAL]), quantity=shares),
    max_size=6,
    unique_by=lambda row: (row.ticker, row.strategy),
)


@st.composite
def seen_fills(draw: st.DrawFn) -> tuple[SeenFill, ...]:
    found = []
    for number in range(draw(st.integers(0, 4))):
        fill = Fill(
            activity_id=f"f{number}",
            broker_order_id="o",
            ticker=draw(tickers),
            side=draw(st.sampled_from(Side)),
            quantity=draw(st.integers(1, 1000).map(Decimal)),
            price=draw(prices),
            cumulative_quantity=D(1),
            executed_at=NOW,
        )
        age = draw(st.sampled_from([0.0, 9.999, 10.0, 500.0]))
        found.append(SeenFill(fill=fill, ours=draw(st.booleans()), age_seconds=age))
    return tuple(found)


def bought(quantity: int, name: str = "f") -> Fill:
    """AAA at $100."""
    return Fill(
        activity_id=name, broker_order_id="o", ticker="AAA", side=Side.BUY, quantity=D(quantity), price=D(100),
        cumulative_quantity=D(quantity), executed_at=NOW,
    )  # fmt: skip


activities = st.lists(money, max_size=3).map(
    lambda amounts: tuple(
        CashActivity(activity_id=f"a{number}", activity_type="FEE", amount=amount, day=NOW.date())
        for number, amount in enumerate(amounts)
    )
)


def books(held: list[Held], cash: Decimal = ZERO) -> Books:
    return Books(held=tuple(held), cash=cash, opened=True, marks=dict.fromkeys(TICKERS, D(100)))


def broker(
    held: dict[str, Decimal],
    cash: Decimal = ZERO,
    fills: tuple[SeenFill, ...] = (),
    booked: tuple[CashActivity, ...] = (),
    orders: tuple[SeenOrder, ...] = (),
) -> BrokerState:
    holdings = tuple(
        Holding(ticker=name, quantity=quantity, price=D(100), average_price=D(90))
        for name, quantity in held.items()
        if quantity
    )
    return BrokerState(
        market_at=NOW, cash=cash, equity=D(100_000), holdings=holdings, fills=fills, activities=booked,
        orders=orders,
    )  # fmt: skip


def explained(
    held: list[Held], cash: Decimal, fills: tuple[SeenFill, ...], booked: tuple[CashActivity, ...]
) -> BrokerState:
    """The broker of books that lack exactly these executions and activities."""
    there = defaultdict(Decimal, shares_by_ticker(held))
    for fill in fills:
        there[fill.fill.ticker] += fill.shares
        cash += fill.cash
    cash += sum((each.amount for each in booked), ZERO)
    return broker(dict(there), cash, fills, booked)


class TestComparing:
    @given(held=held_rows, cash=money, fills=seen_fills(), booked=activities)
    @any_speed
    def test_what_executions_and_activities_explain_is_never_journaled(
        self, held: list[Held], cash: Decimal, fills: tuple[SeenFill, ...], booked: tuple[CashActivity, ...]
    ) -> None:
        found = compare(explained(held, cash, fills, booked), books(held, cash), GRACES)
        assert residual(found) == {}
        due = [fill for fill in fills if fill.age_seconds >= GRACES.fill_seconds]
        assert len(found.findings) == len(due)
        assert found.left_out == len(fills) - len(due)
        assert bool(found.drift) <= bool(due)

    @given(held=held_rows, cash=money, changes=st.dictionaries(tickers, shares), cash_change=money)
    @any_speed
    def test_the_residual_is_exactly_what_nothing_explains(
        self, held: list[Held], cash: Decimal, changes: dict[str, Decimal], cash_change: Decimal
    ) -> None:
        there = {name: shares_by_ticker(held)[name] + changes.get(name, ZERO) for name in TICKERS}
        found = compare(broker(there, cash + cash_change), books(held, cash), GRACES)
        wanted = {name: change for name, change in changes.items() if change}
        if abs(cash_change) >= D("0.01"):
            wanted[CASH] = cash_change
        assert residual(found) == wanted
        value = sum((abs(change) * 100 for change in changes.values()), ZERO)
        assert found.drift == max(value, abs(wanted.get(CASH, ZERO)))

    @given(held=held_rows, cash=money, fills=seen_fills(), changes=st.dictionaries(tickers, shares))
    @any_speed
    def test_a_ticker_with_an_execution_on_its_way_is_left_out(
        self, held: list[Held], cash: Decimal, fills: tuple[SeenFill, ...], changes: dict[str, Decimal]
    ) -> None:
        flying = {fill.fill.ticker for fill in fills if fill.age_seconds < GRACES.fill_seconds}
        there = {name: shares_by_ticker(held)[name] + changes.get(name, ZERO) for name in TICKERS}
        found = compare(broker(there, cash + 1, fills), books(held, cash), GRACES)
        assert not flying & residual(found).keys()
        assert (CASH in residual(found)) <= (not flying)

    @pytest.mark.parametrize(
        ("ours", "theirs", "unlisted", "kind"),
        [
            (0, 7, 0, DriftKind.POSITION_ONLY_THERE),
            (10, 0, 0, DriftKind.POSITION_ONLY_HERE),
            (10, 15, 0, DriftKind.POSITION_BIGGER_THERE),
            (10, 7, 0, DriftKind.POSITION_SMALLER_THERE),
            (-10, -15, 0, DriftKind.POSITION_BIGGER_THERE),
            (10, 0, 4, DriftKind.POSITION_ONLY_HERE),
        ],
    )
    def test_kinds_of_positions(self, ours: int, theirs: int, unlisted: int, kind: DriftKind) -> None:
        mine = books([Held(ticker="AAA", strategy="a", quantity=D(ours))] if ours else [])
        if unlisted:
            mine = mine.model_copy(update={"unlisted": (bought(unlisted),)})
        (found,) = compare(broker({"AAA": D(theirs)}), mine, GRACES).findings
        assert (found.kind, found.difference) == (kind, D(theirs - ours))
        assert found.detail
        assert found.do

    @pytest.mark.parametrize("corrected", [None, 7])
    def test_an_execution_that_is_gone_with_its_shares_and_its_cash_is_taken_back(
        self, corrected: int | None
    ) -> None:
        gone = bought(10)
        mine = books([Held(ticker="AAA", strategy="a", quantity=D(10))], D(-1000))
        mine = mine.model_copy(update={"unlisted": (gone,)})
        left = D(corrected or 0)
        instead = [
            SeenFill(fill=bought(corrected, "f2"), ours=True, age_seconds=500) for _ in range(bool(corrected))
            if corrected
        ]  # fmt: skip
        found = compare(broker({"AAA": left}, -100 * left, tuple(instead)), mine, GRACES)
        assert [each.kind for each in found.findings] == [
            *([DriftKind.MISSED_FILL] if corrected else []), DriftKind.FILL_TAKEN_BACK
        ]  # fmt: skip
        assert residual(found) == {}
        assert not agree(compare(broker({"AAA": D(10)}, D(-1000)), mine, GRACES), found), (
            "it must stand twice"
        )
        assert agree(found, found)

    @given(held=held_rows, cash=money, changes=st.dictionaries(tickers, shares), later=shares)
    @any_speed
    def test_readings_agree_by_their_differences_alone(
        self, held: list[Held], cash: Decimal, changes: dict[str, Decimal], later: Decimal
    ) -> None:
        """What was traded between two readings, seen by both sides, changes nothing."""

        def reading(traded: Decimal, extra: Decimal) -> Comparison:
            mine = [*held, Held(ticker="AAA", strategy="c", quantity=traded)]
            there = {name: shares_by_ticker(mine)[name] + changes.get(name, ZERO) for name in TICKERS}
            there["BBB"] += extra
            return compare(broker(there, cash), books(mine, cash), GRACES)

        assert agree(reading(ZERO, ZERO), reading(later, ZERO))
        assert not agree(reading(ZERO, ZERO), reading(later, D(1)))


def order(
    owner: Owner, here: Place, there: Place, *, age_seconds: float = 100, known: bool = False
) -> SeenOrder:
    return SeenOrder(
        broker_order_id="o1", client_order_id="c1", ticker="AAA", owner=owner, here=here, there=there,
        known=known, age_seconds=age_seconds, text="buy 1 AAA",
    )  # fmt: skip


class TestOrders:
    @pytest.mark.parametrize(
        ("seen", "kind"),
        [
            (order(Owner.OURS, Place.OPEN, Place.ENDED), DriftKind.ORDER_ENDED_THERE),
            (order(Owner.OURS, Place.OPEN, Place.UNKNOWN), DriftKind.ORDER_UNKNOWN_THERE),
            (order(Owner.OURS, Place.ENDED, Place.OPEN), DriftKind.ORDER_OPEN_THERE),
            (order(Owner.OURS, Place.OPEN, Place.OPEN), None),
            (order(Owner.OURS, Place.OPEN, Place.ENDED, age_seconds=59.9), None),
            (order(Owner.EXTERNAL, Place.UNKNOWN, Place.OPEN, age_seconds=0), DriftKind.EXTERNAL_ORDER),
            (order(Owner.EXTERNAL, Place.UNKNOWN, Place.OPEN, known=True), None),
            (order(Owner.FOREIGN, Place.UNKNOWN, Place.OPEN, age_seconds=0), DriftKind.FOREIGN_INSTALLATION),
            (order(Owner.FOREIGN, Place.UNKNOWN, Place.ENDED, known=True), DriftKind.FOREIGN_INSTALLATION),
        ],
    )
    def test_kinds(self, seen: SeenOrder, kind: DriftKind | None) -> None:
        found = compare(broker({}, orders=(seen,)), books([]), GRACES)
        assert [each.kind for each in found.findings] == ([kind] if kind else [])
        assert stops_everything(found.findings) is (kind is DriftKind.FOREIGN_INSTALLATION)


class TestStopping:
    @given(equity=st.decimals(D("0.01"), D("1e12"), places=2))
    @any_speed
    def test_exactly_five_per_cent_does_not_trip_and_the_smallest_step_more_does(
        self, equity: Decimal
    ) -> None:
        edge = equity * DRIFT_MAX_PCT / 100
        assert not trips(edge, equity)
        assert trips(edge + D("0.000000001"), equity)

    def test_an_account_worth_nothing_trips_at_anything(self) -> None:
        assert trips(D("0.01"), ZERO)
        assert trips(D("0.01"), D(-5))
        assert not trips(ZERO, ZERO)


class TestAllocating:
    @given(held=held_rows, change=shares.filter(bool))
    @any_speed
    def test_parts_sum_up_and_never_turn_a_strategy_round(self, held: list[Held], change: Decimal) -> None:
        parts = allocate(held, "AAA", change)
        assert sum((part for _, part in parts), ZERO) == change
        assert all(part * change > 0 for _, part in parts), "nobody gains by what another loses"
        assert len({strategy for strategy, _ in parts}) == len(parts)
        before = {row.strategy: row.quantity for row in held if row.ticker == "AAA"}
        for strategy, part in parts:
            if strategy != EXTERNAL:
                assert before[strategy] * (before[strategy] + part) >= 0

    def test_external_shares_go_first_then_the_largest_holding(self) -> None:
        held = [
            Held(ticker="AAA", strategy="small", quantity=D(5)),
            Held(ticker="AAA", strategy="large", quantity=D(20)),
            Held(ticker="AAA", strategy=EXTERNAL, quantity=D(3)),
        ]
        assert allocate(held, "AAA", D(-30)) == [
            (EXTERNAL, D(-5)),
            ("large", D(-20)),
            ("small", D(-5)),
        ]
        assert allocate(held, "AAA", D(4)) == [(EXTERNAL, D(4))]
