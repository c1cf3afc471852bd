"""The order states of FIX 4.4, volume 4, appendix D, told as the broker's messages, and our own on top."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from broker import lifecycle
from broker.lifecycle import Update, apply
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderState, OrderStatus, Side

ID = "0b0e2b0a-6a55-4f43-9a0c-0d7f6f7c2a01"
SUCCESSOR = "7e1c9a34-0a3c-4a53-8a0e-1c2f3d4e5f60"
T0 = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
QUANTITY = Decimal(10)


def order(raw: str, filled: str = "0", **fields: object) -> BrokerOrder:
    """The broker's order of 10 shares."""
    base = BrokerOrder(
        broker_order_id=ID,
        client_order_id="ti-1",
        ticker="AAPL",
        side=Side.BUY,
        raw_type="limit",
        raw_time_in_force="day",
        raw_status=raw,
        quantity=QUANTITY,
        filled_quantity=Decimal(filled),
        created_at=T0,
    )
    return base.model_copy(update=fields)


def fill(name: str, quantity: str, cumulative: str, price: str = "180.47") -> Fill:
    """An execution as the stream tells it."""
    return Fill(
        execution_id=name,
        broker_order_id=ID,
        ticker="AAPL",
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(price),
        cumulative_quantity=Decimal(cumulative),
        executed_at=T0 + timedelta(seconds=int(float(cumulative))),
    )


def row(name: str, quantity: str, cumulative: str, price: str = "180.47") -> Fill:
    """The same execution as the activity list tells it."""
    told = fill("unused", quantity, cumulative, price)
    return told.model_copy(update={"execution_id": None, "activity_id": name})


def message(event: str, told: BrokerOrder, execution: Fill | None = None) -> TradeUpdate:
    known = TradeEvent(event) if event in set(TradeEvent) else TradeEvent.OTHER
    return TradeUpdate(event=known, raw_event=event, at=T0, order=told, fill=execution)


def traded(name: str, quantity: str, cumulative: str, price: str = "180.47") -> TradeUpdate:
    whole = Decimal(cumulative) == QUANTITY
    raw = "filled" if whole else "partially_filled"
    event = "fill" if whole else "partial_fill"
    return message(event, order(raw, cumulative), fill(name, quantity, cumulative, price))


def run(*updates: Update, state: OrderState | None = None) -> OrderState:
    state = state or apply(lifecycle.created(QUANTITY), lifecycle.Submitted())
    for update in updates:
        state = apply(state, update)
    return state


def check(state: OrderState, status: OrderStatus, filled: str, leaves: str, *flags: OrderFlag) -> None:
    """OrdStatus, CumQty, LeavesQty as in the appendix's tables."""
    assert (state.status, state.filled_quantity, state.leaves_quantity) == (
        status,
        Decimal(filled),
        Decimal(leaves),
    )
    assert state.flags == set(flags)


# Filled orders


def test_d1_filled_order() -> None:
    state = run(order("pending_new"))
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10")
    state = run(message("new", order("new")), state=state)
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10")
    state = run(traded("e1", "2", "2"), state=state)
    check(state, OrderStatus.PARTIALLY_FILLED, "2", "8")
    state = run(traded("e2", "1", "3"), state=state)
    check(state, OrderStatus.PARTIALLY_FILLED, "3", "7")
    state = run(traded("e3", "7", "10"), state=state)
    check(state, OrderStatus.FILLED, "10", "0")


def test_part_filled_day_order_done_for_day_then_expired() -> None:
    state = run(traded("e1", "2", "2"), message("done_for_day", order("done_for_day", "2")))
    check(state, OrderStatus.PARTIALLY_FILLED, "2", "8", OrderFlag.DONE_FOR_DAY)
    state = run(message("expired", order("expired", "2")), state=state)
    check(state, OrderStatus.CANCELED, "2", "0")
    assert state.reason == "expired"
    assert state.raw_status == "expired"


def test_average_price_is_not_rounded() -> None:
    state = run(traded("e1", "1", "1", "10"), traded("e2", "2", "3", "10.01"))
    assert state.average_price == Decimal("30.02") / 3


# Cancels


def test_cancel_of_a_zero_filled_order() -> None:
    state = run(message("new", order("new")), lifecycle.CancelRequested())
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10", OrderFlag.CANCEL_REQUESTED)
    state = run(message("pending_cancel", order("pending_cancel")), state=state)
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10", OrderFlag.CANCEL_REQUESTED, OrderFlag.PENDING_CANCEL)
    check(run(message("canceled", order("canceled")), state=state), OrderStatus.CANCELED, "0", "0")


def test_cancel_of_a_part_filled_order_with_executions_while_it_is_pending() -> None:
    state = run(
        traded("e1", "2", "2"),
        message("pending_cancel", order("pending_cancel", "2")),
        message("partial_fill", order("pending_cancel", "5"), fill("e2", "3", "5")),
    )
    check(state, OrderStatus.PARTIALLY_FILLED, "5", "5", OrderFlag.PENDING_CANCEL)
    check(run(message("canceled", order("canceled", "5")), state=state), OrderStatus.CANCELED, "5", "0")


def test_cancel_request_for_an_order_that_fills_before_it_is_accepted() -> None:
    state = run(
        message("pending_cancel", order("pending_cancel")),
        traded("e1", "10", "10"),
        message("order_cancel_rejected", order("filled", "10")),
    )
    check(state, OrderStatus.FILLED, "10", "0")


def test_rejected_cancel_takes_the_pending_flag_away() -> None:
    state = run(
        message("pending_cancel", order("pending_cancel")), message("order_cancel_rejected", order("new"))
    )
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10")


def test_fill_after_canceled_counts() -> None:
    state = run(message("canceled", order("canceled", "0")), fill("e1", "4", "4"))
    check(state, OrderStatus.CANCELED, "4", "0")
    assert state.average_price == Decimal("180.47")


def test_fill_that_completes_the_order_outranks_the_cancel() -> None:
    state = run(message("canceled", order("canceled")), traded("e1", "10", "10"))
    check(state, OrderStatus.FILLED, "10", "0")
    check(run(message("canceled", order("canceled")), state=state), OrderStatus.FILLED, "10", "0")


# Rejections and our own verdicts


def test_rejected_after_it_was_accepted() -> None:
    state = run(order("pending_new"), message("rejected", order("rejected")))
    check(state, OrderStatus.REJECTED, "0", "0")
    assert state.reason == "rejected"


def test_rejected_with_shares_executed_is_canceled_with_them() -> None:
    state = run(traded("e1", "4", "4"), message("rejected", order("rejected", "4")))
    check(state, OrderStatus.CANCELED, "4", "0")


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (lifecycle.Refused("ERR_WASH_TRADE"), OrderStatus.REJECTED),
        (lifecycle.Fatal("NOT_FOUND"), OrderStatus.FATAL_ERROR),
        (lifecycle.Withdrawn("asked"), OrderStatus.CANCELED),
    ],
)
def test_broker_evidence_outranks_our_verdict(verdict: Update, status: OrderStatus) -> None:
    ended = run(verdict)
    check(ended, status, "0", "0")
    found = run(lifecycle.Adopted(order("new")), state=ended)
    check(found, OrderStatus.ACKNOWLEDGED, "0", "10")
    assert found.reason is None
    assert run(verdict, state=found) == found, "once seen at the broker, our verdict is void"


def test_execution_alone_outranks_our_verdict() -> None:
    check(run(lifecycle.Fatal("x"), row("a1", "4", "4")), OrderStatus.PARTIALLY_FILLED, "4", "6")


def test_unknown_outcome_is_a_flag_until_the_order_is_found() -> None:
    state = run(lifecycle.OutcomeUnknown())
    check(state, OrderStatus.SUBMITTED, "0", "10", OrderFlag.OUTCOME_UNKNOWN)
    check(run(lifecycle.Adopted(order("accepted")), state=state), OrderStatus.ACKNOWLEDGED, "0", "10")
    check(run(lifecycle.Refused("ERR_VALIDATION"), state=state), OrderStatus.REJECTED, "0", "0")


def test_a_cancel_asked_before_the_end_survives_until_the_end() -> None:
    state = run(lifecycle.CancelRequested(), lifecycle.OutcomeUnknown(), lifecycle.Adopted(order("new")))
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10", OrderFlag.CANCEL_REQUESTED)
    ended = run(message("canceled", order("canceled")), state=state)
    assert run(lifecycle.CancelRequested(), state=ended) == ended


# Late, repeated and missing messages


def test_redelivered_fill_counts_once() -> None:
    state = run(traded("e1", "4", "4"), traded("e1", "4", "4"), row("a1", "4", "4"), row("a1", "4", "4"))
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert [(known.execution_id, known.activity_id) for known in state.fills] == [("e1", "a1")]


def test_two_executions_of_one_size_and_price_are_two() -> None:
    check(run(traded("e1", "2", "2"), traded("e2", "2", "4")), OrderStatus.PARTIALLY_FILLED, "4", "6")


def test_cumulative_quantity_ahead_of_the_executions_held() -> None:
    state = run(message("partial_fill", order("partially_filled", "7"), fill("e2", "4", "7")))
    assert state.broker_filled_quantity == 7
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6", OrderFlag.FILLS_MISSING)
    check(run(row("a1", "3", "3"), state=state), OrderStatus.PARTIALLY_FILLED, "7", "3")


def test_filled_by_the_broker_while_executions_are_missing() -> None:
    state = run(order("filled", "10"))
    check(state, OrderStatus.FILLED, "0", "0", OrderFlag.FILLS_MISSING)
    check(run(row("a1", "10", "10"), state=state), OrderStatus.FILLED, "10", "0")


def test_whole_quantity_executed_is_filled_whatever_word_is_missing() -> None:
    check(run(row("a1", "4", "4"), row("a2", "6", "10")), OrderStatus.FILLED, "10", "0")


def test_execution_that_finds_no_partner_is_kept_and_alarmed() -> None:
    state = run(traded("e1", "4", "4"), row("a1", "4", "4", price="180.48"))
    check(state, OrderStatus.PARTIALLY_FILLED, "8", "2", OrderFlag.FILLS_MISSING)


def test_late_words_do_not_take_an_order_back() -> None:
    state = run(traded("e1", "4", "4"), message("new", order("new")), order("pending_new"))
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert state.raw_status == "partially_filled"
    ended = run(message("canceled", order("canceled", "4")), order("pending_cancel", "4"), state=state)
    check(ended, OrderStatus.CANCELED, "4", "0")


def test_event_ahead_of_its_own_order_object() -> None:
    state = run(message("canceled", order("pending_cancel")))
    check(state, OrderStatus.CANCELED, "0", "0")


# Busts, corrections, replacements


def test_bust_of_an_execution() -> None:
    state = run(traded("e1", "4", "4"), traded("e2", "2", "6"))
    state = run(
        message("trade_bust", order("partially_filled", "2"), fill("e1", "4", "4")),
        state=state,
    )
    check(state, OrderStatus.PARTIALLY_FILLED, "2", "8")
    assert [known.busted for known in state.fills] == [True, False]


def test_snapshot_from_before_a_bust_is_put_right_by_the_next_one() -> None:
    bust = message("trade_bust", order("partially_filled", "2"), fill("e1", "4", "4"))
    state = run(traded("e1", "4", "4"), traded("e2", "2", "6"), bust, order("partially_filled", "6"))
    check(state, OrderStatus.PARTIALLY_FILLED, "2", "8", OrderFlag.FILLS_MISSING)
    state = run(order("partially_filled", "2"), state=state)
    check(state, OrderStatus.PARTIALLY_FILLED, "2", "8")


def test_row_of_a_busted_execution_does_not_take_the_place_of_a_later_one() -> None:
    """The count starts again after the bust, so both rows show 4 shares, 4 in all, at one price."""
    later = T0 + timedelta(minutes=9)
    again = fill("e2", "4", "4").model_copy(update={"executed_at": later})
    bust = fill("e1", "4", "4").model_copy(update={"executed_at": T0 + timedelta(minutes=8)})
    state = run(
        message("partial_fill", order("partially_filled", "4"), again),
        message("trade_bust", order("new", "0"), bust),
        row("a1", "4", "4"),
        row("a2", "4", "4").model_copy(update={"executed_at": later}),
        order("partially_filled", "4"),
    )
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert {(known.execution_id, known.activity_id) for known in state.fills} == {("e1", "a1"), ("e2", "a2")}


def test_bust_that_overtakes_its_execution() -> None:
    bust = message("trade_bust", order("new", "0"), fill("e1", "4", "4"))
    check(run(bust, fill("e1", "4", "4")), OrderStatus.ACKNOWLEDGED, "0", "10")


def test_bust_of_a_filled_order_that_the_exchange_puts_back_to_work() -> None:
    state = run(traded("e1", "10", "10"), message("trade_bust", order("new", "0"), fill("e1", "10", "10")))
    check(state, OrderStatus.ACKNOWLEDGED, "0", "10")


def test_execution_after_a_bust_is_not_joined_to_the_busted_one() -> None:
    again = row("a2", "4", "4").model_copy(update={"executed_at": T0 + timedelta(minutes=9)})
    state = run(
        traded("e1", "4", "4"),
        message("trade_bust", order("new", "0"), fill("e1", "4", "4")),
        again,
        order("partially_filled", "4"),
    )
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")


def test_corrected_execution() -> None:
    correction = fill("e1", "4", "4", price="180.40")
    state = run(traded("e1", "4", "4"), message("trade_correct", order("partially_filled", "4"), correction))
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert state.average_price == Decimal("180.40")


def test_correction_that_overtakes_its_execution_and_its_row() -> None:
    correction = message(
        "trade_correct", order("partially_filled", "4"), fill("e1", "4", "4", price="180.40")
    )
    state = run(correction, row("a1", "4", "4"))
    check(state, OrderStatus.PARTIALLY_FILLED, "8", "2", OrderFlag.FILLS_MISSING)
    state = run(fill("e1", "4", "4"), state=state)
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert state.average_price == Decimal("180.40")


def test_of_two_corrections_the_later_stands_in_either_order() -> None:
    told = order("partially_filled", "4")
    first = fill("e1", "4", "4", price="180.40")
    last = fill("e1", "4", "4", price="180.30").model_copy(update={"executed_at": T0 + timedelta(minutes=9)})
    both = [message("trade_correct", told, first), message("trade_correct", told, last)]
    assert run(traded("e1", "4", "4"), *both).average_price == Decimal("180.30")
    assert run(traded("e1", "4", "4"), *reversed(both)).average_price == Decimal("180.30")


def test_bust_outranks_a_correction_in_either_order() -> None:
    corrected = message("trade_correct", order("partially_filled", "4"), fill("e1", "4", "4", price="180.40"))
    bust = message("trade_bust", order("new", "0"), fill("e1", "4", "4"))
    for updates in ([corrected, bust], [bust, corrected]):
        state = run(traded("e1", "4", "4"), *updates, order("new", "0"))
        check(state, OrderStatus.ACKNOWLEDGED, "0", "10")


def test_replace_is_followed_to_the_new_order() -> None:
    state = run(traded("e1", "4", "4"), message("pending_replace", order("pending_replace", "4")))
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6", OrderFlag.PENDING_REPLACE)
    state = run(message("replaced", order("replaced", "4", replaced_by=SUCCESSOR)), state=state)
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    new = order("new", "4", broker_order_id=SUCCESSOR, replaces=ID, quantity=Decimal(9))
    state = run(message("new", new), state=state)
    assert state.broker_order_id == SUCCESSOR
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "5")


# Words and orders nobody knows


def test_unknown_status_word_keeps_state_and_is_kept() -> None:
    state = run(traded("e1", "4", "4"), order("tentatively_new", "4"))
    check(state, OrderStatus.PARTIALLY_FILLED, "4", "6")
    assert state.raw_status == "tentatively_new"
    check(run(order("tentatively_new")), OrderStatus.ACKNOWLEDGED, "0", "10")


@pytest.mark.parametrize(
    ("raw", "flags"),
    [
        ("suspended", {OrderFlag.SUSPENDED}),
        ("calculated", {OrderFlag.DONE_FOR_DAY}),
        ("pending_replace", {OrderFlag.PENDING_REPLACE}),
        ("held", set()),
        ("stopped", set()),
        ("accepted_for_bidding", set()),
    ],
)
def test_rare_words_are_flags_or_nothing(raw: str, flags: set[OrderFlag]) -> None:
    check(run(order("new"), order(raw)), OrderStatus.ACKNOWLEDGED, "0", "10", *flags)


def test_another_orders_messages_change_nothing() -> None:
    state = run(order("new"))
    other = order("filled", "10", broker_order_id=SUCCESSOR)
    stray = fill("e1", "4", "4").model_copy(update={"broker_order_id": SUCCESSOR})
    assert run(other, message("fill", other, stray), stray, state=state) == state
