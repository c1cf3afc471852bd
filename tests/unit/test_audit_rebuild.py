"""The audit log alone tells every order, execution and position; what it tells otherwise is found."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from audit.compare import fills_off, orders_off, positions_off
from audit.rebuild import BadLine, Key, Line, Position, Rebuilt, in_order, parse_lines, rebuild
from schemas.orders import OrderStatus
from schemas.wire import Leg

AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def fill(place: int, quantity: int, price: str = "100", side: str = "buy", **fields: Any) -> dict[str, Any]:
    return {
        "place": place, "execution_id": f"e{place}", "broker_order_id": "b1", "ticker": "AAPL", "side": side,
        "quantity": str(quantity), "price": price, "cumulative_quantity": str(quantity),
        "executed_at": AT.isoformat(), **fields,
    }  # fmt: skip


class Log:
    """Rows as the product writes them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def write(self, decision: str, payload: dict[str, Any] | None, correlation_id: str = "s1") -> None:
        number = len(self.lines) + 1
        self.lines.append(Line(number, AT + timedelta(seconds=number), correlation_id, decision, payload))

    def signal(self, signal_id: str = "s1") -> None:
        asked = {"signal_id": signal_id, "strategy": "momentum", "ticker": "AAPL", "quantity": "10"}
        self.write("SIGNAL_ACCEPTED", {"signal": asked, "order_id": f"o-{signal_id}"}, signal_id)

    def step(
        self, decision: str, status: str, filled: int = 0, fills: Sequence[dict[str, Any]] = (), **more: Any
    ) -> None:
        told = {
            "order_id": "o-s1", "status": status, "row_version": len(self.lines), "quantity": "10",
            "filled_quantity": str(filled), "client_order_id": "c1", "broker_order_id": "b1", "fills": list(fills),
        }  # fmt: skip
        self.write(decision, told | more)

    def book(self, entry_id: int, ticker: str, quantity: str, cash: str) -> None:
        entry = {
            "entry_id": entry_id, "cause": "RESIDUAL", "ticker": ticker, "strategy": "EXTERNAL",
            "quantity": quantity, "cash": cash,
        }  # fmt: skip
        self.write("BOOKED", entry, "reconciliation")


@pytest.fixture
def log() -> Log:
    """Give an order that was filled in two parts, one of them taken back and corrected, and two journal entries."""
    made = Log()
    made.signal()
    made.step("SUBMITTING", "SUBMITTED", request={"ticker": "AAPL"})
    made.step("BROKER_PARTIAL_FILL", "PARTIALLY_FILLED", 4, [fill(0, 4)])
    corrected = [fill(0, 4, busted=True), fill(1, 3, "101", corrects="e0")]
    made.step("BROKER_TRADE_CORRECT", "PARTIALLY_FILLED", 3, corrected)
    made.step("BROKER_FILL", "FILLED", 10, [fill(2, 7)])
    made.step("SETTLED_FILLED", "FILLED", 10, settled=True)
    made.book(1, "$CASH", "0", "5000")
    made.book(2, "TSLA", "2", "-400")
    return made


def test_orders_executions_and_books_are_told_by_their_rows(log: Log) -> None:
    told = rebuild(log.lines)
    order = told.orders[Key("s1")]
    assert (order.status, order.settled, order.broker_order_id) == (OrderStatus.FILLED, True, "b1")
    assert [each.quantity for each in order.counted] == [3, 7]
    assert [each.decision for each in order.history][:2] == ["SUBMITTING", "BROKER_PARTIAL_FILL"]
    assert order.request == {"ticker": "AAPL"}
    assert told.positions() == {
        ("$CASH", "EXTERNAL"): Position(Decimal(0), Decimal(5000)),
        ("AAPL", "momentum"): Position(Decimal(10), Decimal(-1003)),
        ("TSLA", "EXTERNAL"): Position(Decimal(2), Decimal(-400)),
    }
    assert (told.shares(), told.cash()) == ({"AAPL": Decimal(10), "TSLA": Decimal(2)}, Decimal(3597))
    assert told.doubts == []


def test_a_leg_is_an_order_of_its_own_and_of_its_entrys_strategy(log: Log) -> None:
    log.step("LEG_MADE", "CREATED", leg="stop", generation=1, terms={"ticker": "AAPL"}, client_order_id=None)
    log.step("BROKER_FILL", "FILLED", 10, [fill(0, 10, side="sell")], leg="stop", generation=1)
    told = rebuild(log.lines)
    assert told.orders[Key("s1", Leg.STOP, 1)].executed == 10
    assert ("AAPL", "momentum") in told.positions(), "its cash is left"
    assert told.shares() == {"TSLA": Decimal(2)}


@pytest.mark.parametrize("lost", range(8))
def test_a_row_that_is_missing_is_found(log: Log, lost: int) -> None:
    """How: against books rebuilt from all rows. One row shows in nothing but the story, that of the first fill:
    what it told is told again by the correction."""
    whole = rebuild(log.lines)
    part = rebuild(line for line in log.lines if line.id != lost + 1)
    found = [*part.doubts, *_off(part, whole)]
    assert bool(found) == (lost not in (2,)), found


def _off(told: Rebuilt, kept: Rebuilt) -> Iterable[str]:
    yield from orders_off(told, kept.orders)
    yield from fills_off(told, kept.orders)
    yield from positions_off(told, kept.positions())


def test_what_two_tell_otherwise_is_named(log: Log) -> None:
    told, kept = rebuild(log.lines), rebuild(log.lines)
    order = kept.orders[Key("s1")]
    order.status = OrderStatus.CANCELED
    order.fills[2] = order.fills[2].model_copy(update={"price": Decimal(99)})
    assert orders_off(told, kept.orders) == ["s1: status is CANCELED, audited FILLED"]
    assert fills_off(told, kept.orders) == ["s1, execution 2: e2 7 at 99, audited e2 7 at 100"]
    assert positions_off(told, kept.positions()) == [
        "AAPL of momentum: 10 shares and $-996, audited 10 shares and $-1003"
    ]
    assert orders_off(told, {}) == ["s1: only the audit log tells of it"]


def test_a_payload_in_cold_storage_is_not_made_up(log: Log) -> None:
    log.lines[4] = replace(log.lines[4], payload=None)
    told = rebuild(log.lines)
    assert told.without_payload == [5]
    assert told.doubts, "the next row says more shares than executions are known"


def test_an_entry_booked_twice_is_a_contradiction(log: Log) -> None:
    log.book(2, "TSLA", "2", "-400")
    assert rebuild(log.lines).doubts == ["journal entry 2 was booked twice"]


@pytest.mark.parametrize(
    ("decision", "payload"),
    [
        ("SIGNAL_ACCEPTED", {}),
        ("SIGNAL_ACCEPTED", {"signal": ["s2"]}),
        ("BOOKED", {"entry_id": 1}),
        ("FILLED", {"row_version": 1, "status": "NEVER_HEARD_OF"}),
        ("FILLED", ["row_version"]),
        ("SIGNAL_ACCEPTED", {"signal": {"signal_id": "s2", "quantity": "many"}}),
    ],
)
def test_a_row_that_is_not_as_the_product_writes_it_is_told(log: Log, decision: str, payload: Any) -> None:
    """How: such a row after good ones, as somebody may have made it."""
    before = rebuild(log.lines)
    log.write(decision, payload)
    told = rebuild(log.lines)
    assert (told.orders, told.journal, before.doubts) == (before.orders, before.journal, [])
    (doubt,) = told.doubts
    assert doubt.startswith(f"row {log.lines[-1].id}, {decision}, is not as the product writes it")


def test_rows_of_several_files_are_each_taken_once_in_their_order(log: Log) -> None:
    texts = [
        json.dumps({"id": line.id, "occurred_at": line.occurred_at.isoformat().replace("+00:00", "Z"),
                    "correlation_id": line.correlation_id, "decision": line.decision, "v": 1,
                    "payload": json.dumps(line.payload)})
        for line in log.lines
    ]  # fmt: skip
    late = list(parse_lines(texts[3:], name="late"))
    early = list(parse_lines(texts[:5], name="early"))
    assert in_order([late, early]) == log.lines


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"id": 1', '{"id":1,"occurred_at":"x","payload":null}'])
def test_what_is_no_audit_row_is_named(text: str) -> None:
    with pytest.raises(BadLine, match=r"audit\.jsonl, line 1"):
        list(parse_lines([text], name="audit.jsonl"))
