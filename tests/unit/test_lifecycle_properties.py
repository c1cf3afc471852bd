"""Whatever becomes of the messages on their way, an order ends where the broker's own record ends.

Each case draws a whole life of an order as a broker would live it, then mangles the messages about it:
shuffled, repeated, lost, mixed with listings and look-ups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from broker import lifecycle
from broker.lifecycle import Update, apply
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderState, OrderStatus, Side

ORDER_ID = "0b0e2b0a-6a55-4f43-9a0c-0d7f6f7c2a01"
OPENED = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
EXAMPLES = 50
PRICES = [Decimal("180.47"), Decimal("180.5"), Decimal("0.0001")]
ENDS = {"canceled": OrderStatus.CANCELED, "expired": OrderStatus.CANCELED, "filled": OrderStatus.FILLED}


@dataclass(repr=False)
class Life:
    """One order as the broker lived it: every message it sent, and its own final record."""

    quantity: Decimal
    stream: list[TradeUpdate] = field(default_factory=list)
    rows: list[Fill] = field(default_factory=list)
    snapshots: list[BrokerOrder] = field(default_factory=list)
    good: dict[str, Fill] = field(default_factory=dict)
    raw: str = "pending_new"

    def __repr__(self) -> str:
        return " ".join(f"{update.raw_event}:{update.order.filled_quantity}" for update in self.stream)

    def tell(self, event: TradeEvent, raw: str, fill: Fill | None = None) -> None:
        self.raw = raw
        at = OPENED + timedelta(seconds=len(self.stream))
        snapshot = BrokerOrder(
            broker_order_id=ORDER_ID,
            client_order_id="ti-1",
            ticker="AAPL",
            side=Side.BUY,
            raw_type="limit",
            raw_time_in_force="day",
            raw_status=raw,
            quantity=self.quantity,
            filled_quantity=self.filled,
            created_at=OPENED,
            updated_at=at,
        )
        self.snapshots.append(snapshot)
        self.stream.append(TradeUpdate(event=event, raw_event=event.value, at=at, order=snapshot, fill=fill))

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.good.values()), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        cash = sum((fill.quantity * fill.price for fill in self.good.values()), Decimal(0))
        return cash / self.filled if self.filled else None

    @property
    def status(self) -> OrderStatus:
        if self.raw in ENDS:
            return ENDS[self.raw]
        return OrderStatus.PARTIALLY_FILLED if self.filled else OrderStatus.ACKNOWLEDGED

    def execute(self, quantity: Decimal, price: Decimal) -> None:
        number = len(self.rows)
        fill = Fill(
            execution_id=f"exec-{number}",
            broker_order_id=ORDER_ID,
            ticker="AAPL",
            side=Side.BUY,
            quantity=quantity,
            price=price,
            cumulative_quantity=self.filled + quantity,
            executed_at=OPENED + timedelta(seconds=len(self.stream)),
        )
        self.good[f"exec-{number}"] = fill
        self.rows.append(fill.model_copy(update={"execution_id": None, "activity_id": f"row-{number}"}))
        whole = self.filled == self.quantity
        self.tell(
            TradeEvent.FILL if whole else TradeEvent.PARTIAL_FILL,
            "filled" if whole else "partially_filled",
            fill,
        )

    def bust(self, execution_id: str) -> None:
        busted = self.good.pop(execution_id)
        told = busted.model_copy(update={"executed_at": OPENED + timedelta(seconds=len(self.stream))})
        self.tell(TradeEvent.TRADE_BUST, self.raw, told)

    def correct(self, execution_id: str, price: Decimal) -> None:
        at = OPENED + timedelta(seconds=len(self.stream))
        told = self.good[execution_id].model_copy(update={"price": price, "executed_at": at})
        self.good[execution_id] = told
        self.tell(TradeEvent.TRADE_CORRECT, self.raw, told)


@st.composite
def lives(draw: st.DrawFn, *, busts: bool = False, corrections: bool = False) -> Life:
    life = Life(quantity=Decimal(draw(st.integers(1, 12))))
    life.tell(TradeEvent.PENDING_NEW, "pending_new")
    life.tell(TradeEvent.NEW, "new")
    for _ in range(draw(st.integers(0, 6))):
        rare = ["bust"] * busts + ["correct"] * corrections
        step = draw(st.sampled_from(["fill", "fill", "aside", *rare]))
        if step == "aside" and life.raw != "filled":
            aside = draw(
                st.sampled_from(["suspended", "done_for_day", "pending_cancel", "calculated", "odd"])
            )
            known = TradeEvent(aside) if aside in set(TradeEvent) else TradeEvent.OTHER
            life.tell(known, aside)
        elif step == "bust" and life.good:
            life.bust(draw(st.sampled_from(sorted(life.good))))
        elif step == "correct" and life.good:
            life.correct(draw(st.sampled_from(sorted(life.good))), draw(st.sampled_from(PRICES)))
        elif life.filled < life.quantity and life.raw != "filled":
            size = draw(st.integers(1, int(life.quantity - life.filled)))
            life.execute(Decimal(size), draw(st.sampled_from(PRICES)))
    if life.raw != "filled" and draw(st.booleans()):
        end = draw(st.sampled_from(["canceled", "expired"]))
        life.tell(TradeEvent(end), end)
    return life


def after(updates: Sequence[Update], life: Life) -> OrderState:
    state = apply(lifecycle.created(life.quantity), lifecycle.Submitted())
    for update in updates:
        state = apply(state, update)
    return state


def assert_is_the_truth(state: OrderState, life: Life) -> None:
    assert state.status is life.status
    assert state.filled_quantity == life.filled == state.broker_filled_quantity
    assert state.average_price == life.average_price
    assert OrderFlag.FILLS_MISSING not in state.flags
    assert state.broker_order_id == ORDER_ID
    assert state.status.is_final or state.quantity == state.filled_quantity + state.leaves_quantity


@st.composite
def mangled(draw: st.DrawFn, life: Life, *, keep_all: bool) -> list[Update]:
    """The messages of a life in any order, some repeated; some lost unless ``keep_all``."""
    everything: list[Update] = [*life.stream, *life.rows, *life.snapshots]
    if not keep_all:
        everything = draw(st.lists(st.sampled_from(everything), max_size=len(everything)))
    repeats = draw(st.lists(st.sampled_from(everything), max_size=4)) if everything else []
    return draw(st.permutations([*everything, *repeats]))


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_order_and_any_repeats_of_all_messages_end_alike(data: st.DataObject) -> None:
    life = data.draw(lives())
    state = after(data.draw(mangled(life, keep_all=True)), life)
    assert_is_the_truth(state, life)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_stream_alone_is_enough_in_any_order(data: st.DataObject) -> None:
    life = data.draw(lives())
    assert_is_the_truth(after(data.draw(st.permutations(life.stream)), life), life)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_after_any_loss_a_catch_up_repairs_everything(data: st.DataObject) -> None:
    life = data.draw(lives())
    lossy = data.draw(mangled(life, keep_all=False))
    catch_up = data.draw(st.permutations([*life.rows, life.snapshots[-1]]))
    late = data.draw(mangled(life, keep_all=False))
    assert_is_the_truth(after([*lossy, *catch_up, *late], life), life)


def repeats_a_key(life: Life) -> bool:
    keys = [(row.cumulative_quantity, row.quantity, row.price) for row in life.rows]
    return len(set(keys)) < len(keys)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_after_busts_too_a_catch_up_repairs_everything(data: st.DataObject) -> None:
    """The look-up comes last: nothing else tells a message from before a bust from one after it.

    Where an execution after a bust repeats the busted one's count, size and price and the messages come in
    an order no stream makes, the two can be mixed up; then the order says so.
    """
    life = data.draw(lives(busts=True))
    lossy = data.draw(mangled(life, keep_all=False))
    busts = [update for update in life.stream if update.event is TradeEvent.TRADE_BUST]
    catch_up = data.draw(st.permutations([*life.rows, *busts]))
    state = after([*lossy, *catch_up, life.snapshots[-1]], life)
    if not repeats_a_key(life) or OrderFlag.FILLS_MISSING not in state.flags:
        assert_is_the_truth(state, life)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_repeated_key_after_a_bust_is_no_mix_up_in_the_order_a_stream_makes(data: st.DataObject) -> None:
    life = Life(quantity=Decimal(12))
    life.tell(TradeEvent.NEW, "new")
    for _ in range(data.draw(st.integers(2, 4))):
        life.execute(Decimal(3), PRICES[0])
        life.bust(f"exec-{len(life.rows) - 1}")
    life.execute(Decimal(3), PRICES[0])
    assert repeats_a_key(life)
    lost = data.draw(st.sets(st.integers(0, len(life.stream) - 1)))
    updates = [
        update
        for index, update in enumerate(life.stream)
        if index not in lost or update.event is TradeEvent.TRADE_BUST
    ]
    assert_is_the_truth(after([*updates, *life.rows, life.snapshots[-1]], life), life)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_corrections_in_any_order_end_in_the_corrected_price(data: st.DataObject) -> None:
    life = data.draw(lives(corrections=True))
    updates = data.draw(st.permutations([*life.stream, *life.stream, *life.rows]))
    assert_is_the_truth(after([*updates, life.snapshots[-1]], life), life)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_without_busts_nothing_ever_runs_backwards(data: st.DataObject) -> None:
    life = data.draw(lives())
    state = apply(lifecycle.created(life.quantity), lifecycle.Submitted())
    for update in data.draw(mangled(life, keep_all=False)):
        new = apply(state, update)
        assert new.filled_quantity >= state.filled_quantity
        assert new.broker_filled_quantity >= state.broker_filled_quantity
        assert new.filled_quantity <= new.broker_filled_quantity <= life.quantity
        assert new.status.is_final or not state.status.is_final
        assert (OrderFlag.FILLS_MISSING in new.flags) == (new.filled_quantity != new.broker_filled_quantity)
        assert new.status.is_final or new.leaves_quantity >= 0
        state = new


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_same_update_twice_is_the_same_as_once(data: st.DataObject) -> None:
    life = data.draw(lives(busts=True))
    state = after(data.draw(mangled(life, keep_all=False)), life)
    update = data.draw(st.sampled_from([*life.stream, *life.rows, *life.snapshots]))
    once = apply(state, update)
    assert apply(once, update) == once


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_swapping_any_two_neighbours_changes_no_outcome(data: st.DataObject) -> None:
    life = data.draw(lives())
    updates = data.draw(mangled(life, keep_all=False))
    index = data.draw(st.integers(0, max(0, len(updates) - 2)))
    swapped = [*updates[:index], *reversed(updates[index : index + 2]), *updates[index + 2 :]]
    one, other = after(updates, life), after(swapped, life)
    assert (one.status, one.filled_quantity, one.average_price, one.broker_filled_quantity) == (
        other.status,
        other.filled_quantity,
        other.average_price,
        other.broker_filled_quantity,
    )


_decimals = st.decimals(0, 20, places=1)
_times = st.integers(0, 5).map(lambda seconds: OPENED + timedelta(seconds=seconds))
_ids = st.sampled_from([ORDER_ID, "another"])
_words = st.sampled_from(
    [*(event.value for event in TradeEvent), "partially_filled", "filled", "accepted_for_bidding", "", "?"]
)
_any_order = st.builds(
    BrokerOrder,
    broker_order_id=_ids,
    client_order_id=st.just("ti-1"),
    ticker=st.just("AAPL"),
    side=st.sampled_from(Side),
    raw_type=st.just("limit"),
    raw_time_in_force=st.just("day"),
    raw_status=_words,
    quantity=st.none() | _decimals,
    filled_quantity=_decimals,
    created_at=_times,
    replaced_by=st.none() | _ids,
    replaces=st.none() | _ids,
)
_any_fill = st.builds(
    Fill,
    execution_id=st.none() | st.sampled_from(["e1", "e2"]),
    activity_id=st.none() | st.sampled_from(["a1", "a2"]),
    broker_order_id=_ids,
    ticker=st.just("AAPL"),
    side=st.sampled_from(Side),
    quantity=_decimals,
    price=_decimals,
    cumulative_quantity=_decimals,
    executed_at=_times,
    busted=st.booleans(),
)
_any_message = st.builds(
    TradeUpdate,
    event=st.sampled_from(TradeEvent),
    raw_event=_words,
    at=_times,
    order=_any_order,
    fill=st.none() | _any_fill,
)
_any_own = st.one_of(
    st.builds(lifecycle.Submitted),
    st.builds(lifecycle.OutcomeUnknown),
    st.builds(lifecycle.CancelRequested),
    st.builds(lifecycle.Refused, reason=st.text(max_size=5)),
    st.builds(lifecycle.Withdrawn, reason=st.none()),
    st.builds(lifecycle.Fatal, reason=st.text(max_size=5)),
    st.builds(lifecycle.Adopted, order=_any_order),
)


@given(_decimals, st.lists(st.one_of(_any_order, _any_fill, _any_message, _any_own), max_size=12))
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_update_at_all_raises(quantity: Decimal, updates: list[Update]) -> None:
    state = lifecycle.created(quantity)
    for update in updates:
        new = apply(state, update)
        assert apply(new, update) == new, "a repeat changes nothing"
        assert OrderState.model_validate_json(new.model_dump_json()) == new
        assert new.status.is_final or new.quantity == new.filled_quantity + new.leaves_quantity
        missing = OrderFlag.FILLS_MISSING in new.flags
        assert missing == (new.filled_quantity != new.broker_filled_quantity)
        if new.status.is_final:
            assert new.flags <= {OrderFlag.FILLS_MISSING}
            assert new.leaves_quantity == 0
        known = {fill.execution_id for fill in state.fills if fill.execution_id}
        assert known <= {fill.execution_id for fill in new.fills}, "an execution once recorded is never lost"
        state = new
