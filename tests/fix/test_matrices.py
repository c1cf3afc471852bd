"""Every matrix of FIX appendix D, message by message; then with messages doubled, lost, and in another order."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import lifecycle
from broker.lifecycle import Update, apply
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import OrderFlag, OrderState, OrderStatus
from tests.fix.life import Life, live
from tests.fix.matrices import FLAGS, MATRICES, ORDER_QUANTITY, Matrix, Row, status_of

EXAMPLES = 60
ONLY_THE_STREAM_TELLS = (TradeEvent.TRADE_BUST, TradeEvent.TRADE_CORRECT)
Shown = tuple[OrderStatus, Decimal, Decimal, Decimal, Decimal | None, frozenset[OrderFlag], str | None]

each_matrix = pytest.mark.parametrize("matrix", MATRICES, ids=str)


def start() -> OrderState:
    return apply(lifecycle.created(ORDER_QUANTITY), lifecycle.Submitted())


def run(updates: Sequence[Update]) -> OrderState:
    state = start()
    for update in updates:
        state = apply(state, update)
        assert_invariant(state)
    return state


def assert_invariant(state: OrderState) -> None:
    """FIX: OrderQty = CumQty + LeavesQty, and leaves are zero once the order has ended."""
    leaves = Decimal(0) if state.status.is_final else state.quantity - state.filled_quantity
    assert state.leaves_quantity == leaves
    # Of a message from before a bust, told after it, the word may be too old for the count until a look-up.
    is_amended = any(fill.busted for fill in state.fills)
    if state.status is OrderStatus.FILLED and OrderFlag.FILLS_MISSING not in state.flags and not is_amended:
        assert state.quantity == state.filled_quantity


def shown(state: OrderState) -> Shown:
    """All that anybody is told of an order."""
    return (
        state.status,
        state.quantity,
        state.filled_quantity,
        state.leaves_quantity,
        state.average_price,
        state.flags,
        state.reason,
    )


def assert_shows(state: OrderState, row: Row) -> None:
    assert state.status is status_of(row), row
    assert (state.quantity, state.filled_quantity, state.leaves_quantity) == (
        row.quantity,
        row.cumulative,
        row.leaves,
    ), row
    assert state.average_price == (None if row.average is None else Decimal(row.average)), row
    assert state.broker_filled_quantity == row.cumulative, row
    asked = {OrderFlag.CANCEL_REQUESTED, OrderFlag.OUTCOME_UNKNOWN}
    assert state.flags - asked == FLAGS.get(row.status, frozenset()), row
    assert_invariant(state)


@each_matrix
@pytest.mark.parametrize("times", [1, 2])
def test_the_states_after_each_message_are_the_appendix_s(matrix: Matrix, times: int) -> None:
    """Twice is as once: redelivery, and FIX's PossDup and PossResend."""
    state, life = start(), Life(ORDER_QUANTITY)
    for row in matrix.rows:
        update = life.say(row.line)
        for _ in range(times):
            state = apply(state, update)
        assert_shows(state, row)
    assert (state.reason == "expired") == (matrix.rows[-1].status == "Expired")


@each_matrix
def test_all_messages_again_change_nothing(matrix: Matrix) -> None:
    messages, rest = live(matrix.lines, ORDER_QUANTITY)
    once = run([*messages, *rest])
    again = run([*messages, *rest, *messages, *rest])
    assert shown(again) == shown(once)


@each_matrix
def test_any_one_message_lost_is_found_by_catch_up(matrix: Matrix) -> None:
    """A bust or correction is told by the stream alone: what is lost of it shows once it is told again."""
    messages, rest = live(matrix.lines, ORDER_QUANTITY)
    whole = shown(run([*messages, *rest]))
    assert whole == shown(run(messages)), "a catch-up finds nothing that the stream has not told"
    for index, lost in enumerate(messages):
        updates = [*messages[:index], *messages[index + 1 :], *rest]
        if isinstance(lost, TradeUpdate) and lost.event in ONLY_THE_STREAM_TELLS:
            updates += [lost, *rest]
        assert shown(run(updates)) == whole, matrix.lines[index]


@each_matrix
def test_any_two_neighbours_may_swap(matrix: Matrix) -> None:
    messages, rest = live(matrix.lines, ORDER_QUANTITY)
    whole = shown(run([*messages, *rest]))
    for index in range(len(messages) - 1):
        swapped = [*messages[:index], *reversed(messages[index : index + 2]), *messages[index + 2 :]]
        assert shown(run([*swapped, *rest])) == whole, matrix.lines[index : index + 2]


@given(st.sampled_from(MATRICES), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_order_of_the_messages_ends_alike(matrix: Matrix, data: st.DataObject) -> None:
    """After the POST's answer: nothing of a replacement is told before the order itself is known."""
    (answer, *messages), rest = live(["status", *matrix.lines], ORDER_QUANTITY)
    mixed = data.draw(st.permutations(messages))
    assert shown(run([answer, *mixed, *rest])) == shown(run([answer, *messages, *rest]))
