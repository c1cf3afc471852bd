"""The judge of the audit log finds what it tells otherwise than the exchange's ledger, and only that."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from audit.rebuild import Booked, Key, Rebuilt, rebuild
from schemas.orders import OrderStatus
from tests.chaos.test_judge import AT, Venue, name
from tests.unit.test_audit_rebuild import Log
from workers.chaos.audit_judge import judge_audit
from workers.chaos.judge import Verdict
from workers.chaos.ours import Books

REQUEST = {
    "internal_order_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "client_order_id": name("s1"), "ticker": "AAPL", "action": "BUY_TO_OPEN", "order_type": "LIMIT",
    "time_in_force": "DAY", "quantity": "10", "limit_price": "101",
}  # fmt: skip


class Case:
    """An order that was filled in two parts, one of them corrected, another that was refused, and $5,000."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.order_id = self.venue.placed(name("s1"))
        self.venue.fill(self.order_id, "4", "partially_filled")
        self.venue.records.append({
            "seq": 90, "kind": "execution_corrected", "at": AT, "order_id": self.order_id,
            "execution_id": "execution-2", "correction_id": "c1", "qty": "3", "price": "100.50",
        })  # fmt: skip
        self.venue.fill(self.order_id, "7", "filled")
        self.venue.records[-1]["seq"] = 91
        log = Log()
        log.signal()
        log.signal("s2")
        log.write(
            "REFUSED", told("REJECTED", 0, client_order_id=None, broker_order_id=None, settled=True), "s2"
        )
        log.write("SUBMITTING", told("SUBMITTED", 0, broker_order_id=None, request=REQUEST))
        first = execution(0, "4", "100", execution_id="execution-2")
        log.write("BROKER_FILL", told("PARTIALLY_FILLED", 4, fills=[first]))
        corrected = [
            first | {"busted": True},
            execution(1, "3", "100.50", execution_id="c1", corrects="execution-2"),
            execution(2, "7", "100", execution_id=None, activity_id="20261123::execution-4"),
        ]
        log.write("BROKER_FILL", told("FILLED", 10, fills=corrected))
        log.write("SETTLED_FILLED", told("FILLED", 10, settled=True))
        log.book(1, "$CASH", "0", "5000")
        self.told = rebuild(self._named(log))
        self.theirs = Books({"AAPL": Decimal(10)}, Decimal("3998.50"))

    def _named(self, log: Log) -> Any:
        """With the id that the exchange has given."""
        for line in log.lines:
            text = dict(line.payload or {})
            if text.get("broker_order_id"):
                text["broker_order_id"] = self.order_id
            yield replace(line, payload=text)

    def verdict(self) -> Verdict:
        found = Verdict()
        judge_audit(found, self.told, self.venue.ledger, self.theirs)
        return found


def told(status: str, filled: int, **fields: Any) -> dict[str, Any]:
    return {
        "status": status, "row_version": 1, "quantity": "10", "filled_quantity": str(filled),
        "client_order_id": name("s1"), "broker_order_id": "b1", **fields,
    }  # fmt: skip


def execution(place: int, quantity: str, price: str, **fields: Any) -> dict[str, Any]:
    return {
        "place": place, "broker_order_id": "b1", "ticker": "AAPL", "side": "buy", "quantity": quantity,
        "price": price, "cumulative_quantity": quantity, "executed_at": AT, **fields,
    }  # fmt: skip


def test_a_sound_audit_log_tells_what_the_ledger_does() -> None:
    verdict = Case().verdict()
    assert verdict.wrong == []
    assert {key: value for key, value in verdict.figures.items() if key.startswith("audit_")} == {
        "audit_rows": 8, "audit_orders": 2, "audit_fills": 2, "audit_orders_off": 0, "audit_fills_off": 0,
        "audit_positions_off": 0, "audit_doubts": 0,
    }  # fmt: skip


def _forget_order(told: Rebuilt) -> None:
    del told.orders[Key("s1")]


def _other_end(told: Rebuilt) -> None:
    told.orders[Key("s1")].status = OrderStatus.CANCELED


def _other_request(told: Rebuilt) -> None:
    told.orders[Key("s1")].request = REQUEST | {"limit_price": "102"}


def _other_id(told: Rebuilt) -> None:
    told.orders[Key("s1")].broker_order_id = "elsewhere"


def _not_settled(told: Rebuilt) -> None:
    told.orders[Key("s1")].settled = False


def _made_up(told: Rebuilt) -> None:
    told.orders[Key("s2")].broker_order_id = "made-up"


def _forget_fill(told: Rebuilt) -> None:
    del told.orders[Key("s1")].fills[2]


def _not_busted(told: Rebuilt) -> None:
    fills = told.orders[Key("s1")].fills
    fills[0] = fills[0].model_copy(update={"busted": False})


def _other_price(told: Rebuilt) -> None:
    fills = told.orders[Key("s1")].fills
    fills[2] = fills[2].model_copy(update={"price": Decimal(99)})


def _booked(told: Rebuilt) -> None:
    told.journal[2] = Booked(2, "RESIDUAL", "TSLA", "EXTERNAL", Decimal(1), Decimal(0))


def _no_cash(told: Rebuilt) -> None:
    told.journal.clear()


@pytest.mark.parametrize(
    ("break_it", "figures"),
    [
        (_forget_order, {"audit_orders_off", "audit_fills_off", "audit_positions_off"}),
        (_other_end, {"audit_orders_off"}),
        (_other_request, {"audit_orders_off"}),
        (_other_id, {"audit_orders_off"}),
        (_not_settled, {"audit_orders_off"}),
        (_made_up, {"audit_orders_off"}),
        (_forget_fill, {"audit_fills_off", "audit_positions_off"}),
        (_not_busted, {"audit_fills_off", "audit_positions_off"}),
        (_other_price, {"audit_fills_off", "audit_positions_off"}),
        (_booked, {"audit_positions_off"}),
        (_no_cash, {"audit_positions_off"}),
    ],
)
def test_what_the_audit_log_tells_otherwise_is_found(
    break_it: Callable[[Rebuilt], None], figures: set[str]
) -> None:
    case = Case()
    break_it(case.told)
    found = case.verdict()
    assert {key for key, value in found.figures.items() if key.endswith("_off") and value} == figures
    assert len(found.wrong) == len(figures)
