"""The order state change matrices of FIX 4.4, volume 4, appendix D, as a broker with Alpaca's words tells them.

Numbers and statuses are the appendix's. Where ours differ the row says so: a day order that is done for the day
keeps its leaves until it expires, an order whose shares are all executed is Filled whatever is pending, Expired is
Canceled with a reason, and Stopped, Restated and Replaced show what the order is besides.
"""

from dataclasses import dataclass
from decimal import Decimal

from schemas.orders import OrderFlag, OrderStatus

ORDER_QUANTITY = Decimal(10_000)


@dataclass(frozen=True)
class Row:
    """A message, and OrdStatus, OrderQty, CumQty, LeavesQty and AvgPx after it."""

    line: str
    status: str
    quantity: int
    cumulative: int
    leaves: int
    average: str | None = None
    """US dollars; None before the first execution."""


@dataclass(frozen=True)
class Matrix:
    """One matrix by its reference."""

    ref: str
    title: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return self.ref

    @property
    def lines(self) -> list[str]:
        return [row.line for row in self.rows]

    @property
    def amends(self) -> bool:
        """Whether executions are taken back or corrected."""
        return any(line.startswith(("bust", "correct")) for line in self.lines)


PENDING_CANCEL = frozenset({OrderFlag.PENDING_CANCEL})
FLAGS: dict[str, frozenset[OrderFlag]] = {
    "Pending Cancel": PENDING_CANCEL,
    "Pending Replace": frozenset({OrderFlag.PENDING_REPLACE}),
    "Done for Day": frozenset({OrderFlag.DONE_FOR_DAY}),
    "Suspended": frozenset({OrderFlag.SUSPENDED}),
}
ENDS = {
    "Filled": OrderStatus.FILLED,
    "Canceled": OrderStatus.CANCELED,
    "Expired": OrderStatus.CANCELED,
    "Rejected": OrderStatus.REJECTED,
}


def status_of(row: Row) -> OrderStatus:
    """Our status for the appendix's; what is pending is a flag beside it."""
    if row.status in ENDS:
        return ENDS[row.status]
    if row.status == "Submitted":
        return OrderStatus.SUBMITTED
    return OrderStatus.PARTIALLY_FILLED if row.cumulative else OrderStatus.ACKNOWLEDGED


def matrix(ref: str, title: str, table: str) -> Matrix:
    """Read a table: ``line | OrdStatus | OrderQty | CumQty | LeavesQty [| AvgPx]``."""
    rows = []
    for text in table.strip().splitlines():
        line, status, quantity, cumulative, leaves, *average = (cell.strip() for cell in text.split("|"))
        rows.append(Row(line, status, int(quantity), int(cumulative), int(leaves), *average))
    return Matrix(ref, title, tuple(rows))


MATRICES = (
    matrix("A.1.a", "filled order", """
        pending_new             | New              | 10000 |     0 | 10000
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 1000 @ 51      | Partially Filled | 10000 |  3000 |  7000 | 50.33333333333333333333333333
        trade E3 7000 @ 52      | Filled           | 10000 | 10000 |     0 | 51.5
    """),
    matrix("A.1.b", "part-filled day order, done for day: its leaves stay ours until it expires", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 1000 @ 50      | Partially Filled | 10000 |  3000 |  7000 | 50
        done_for_day            | Done for Day     | 10000 |  3000 |  7000 | 50
        expired                 | Expired          | 10000 |  3000 |     0 | 50
    """),
    matrix("A.2", "rejected by the venue after it was accepted", """
        accepted                | New              | 10000 |     0 | 10000
        rejected                | Rejected         | 10000 |     0 |     0
    """),
    matrix("B.1.a", "cancel request issued for a zero-filled order", """
        new                     | New              | 10000 |     0 | 10000
        asked                   | New              | 10000 |     0 | 10000
        pending_cancel          | Pending Cancel   | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
    """),
    matrix("B.1.a/rejected", "the same, and the cancel is rejected", """
        new                     | New              | 10000 |     0 | 10000
        pending_cancel          | Pending Cancel   | 10000 |     0 | 10000
        cancel_rejected         | New              | 10000 |     0 | 10000
        trade E1 10000 @ 50     | Filled           | 10000 | 10000 |     0 | 50
    """),
    matrix("B.1.b", "cancel request issued for a part-filled order, executions while it is active", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        asked                   | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 3000 @ 50      | Partially Filled | 10000 |  5000 |  5000 | 50
        pending_cancel          | Pending Cancel   | 10000 |  5000 |  5000 | 50
        trade E3 1000 @ 56      | Pending Cancel   | 10000 |  6000 |  4000 | 51
        canceled                | Canceled         | 10000 |  6000 |     0 | 51
    """),
    matrix("B.1.c", "order that becomes filled before the cancel is accepted: too late", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 3000 @ 50      | Partially Filled | 10000 |  5000 |  5000 | 50
        pending_cancel          | Pending Cancel   | 10000 |  5000 |  5000 | 50
        trade E3 5000 @ 50      | Filled           | 10000 | 10000 |     0 | 50
        cancel_rejected         | Filled           | 10000 | 10000 |     0 | 50
    """),
    matrix("B.1.d", "cancel request for an order that has not been acknowledged", """
        pending_new             | New              | 10000 |     0 | 10000
        asked                   | New              | 10000 |     0 | 10000
        pending_cancel          | Pending Cancel   | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
    """),
    matrix("B.1.e", "the acknowledgement and the cancel request cross", """
        asked                   | Submitted        | 10000 |     0 | 10000
        pending_new             | New              | 10000 |     0 | 10000
        new                     | New              | 10000 |     0 | 10000
        pending_cancel          | Pending Cancel   | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
    """),
    matrix("B.1.f", "cancel of an order whose outcome is unknown: asked again once it is found", """
        unknown                 | Submitted        | 10000 |     0 | 10000
        asked                   | Submitted        | 10000 |     0 | 10000
        status                  | New              | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
    """),
    matrix("B.2", "a fill passes the cancel's confirmation", """
        new                     | New              | 10000 |     0 | 10000
        pending_cancel          | Pending Cancel   | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
        trade E1 4000 @ 50      | Canceled         | 10000 |  4000 |     0 | 50
    """),
    matrix("C.1.a", "zero-filled order, replaced to increase its quantity", """
        new                     | New              | 10000 |     0 | 10000
        pending_replace         | Pending Replace  | 10000 |     0 | 10000
        propose Y 11000         | Pending Replace  | 10000 |     0 | 10000
        replaced Y              | New              | 10000 |     0 | 10000
        new Y                   | New              | 11000 |     0 | 11000
        trade E1 1000 @ 50      | Partially Filled | 11000 |  1000 | 10000 | 50
        trade E2 2000 @ 50      | Partially Filled | 11000 |  3000 |  8000 | 50
    """),
    matrix("C.1.b", "part-filled order, replaced to increase, an execution while it is pending", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        pending_replace         | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Y 12000         | Pending Replace  | 10000 |  1000 |  9000 | 50
        trade E2 100 @ 50       | Pending Replace  | 10000 |  1100 |  8900 | 50
        replaced Y              | Partially Filled | 10000 |  1100 |  8900 | 50
        new Y                   | Partially Filled | 12000 |  1100 | 10900 | 50
        trade E3 10900 @ 50     | Filled           | 12000 | 12000 |     0 | 50
    """),
    matrix("C.1.c", "filled order, replaced to increase its quantity", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 10000 @ 50     | Filled           | 10000 | 10000 |     0 | 50
        propose Y 12000         | Filled           | 10000 | 10000 |     0 | 50
        new Y                   | Partially Filled | 12000 | 10000 |  2000 | 50
        trade E2 2000 @ 56      | Filled           | 12000 | 12000 |     0 | 51
    """),
    matrix("C.2.a", "replace, not of the quantity, is rejected as a fill has occurred", """
        new                     | New              | 10000 |     0 | 10000
        pending_replace         | Pending Replace  | 10000 |     0 | 10000
        propose Y 10000         | Pending Replace  | 10000 |     0 | 10000
        trade E1 10000 @ 50     | Filled           | 10000 | 10000 |     0 | 50
        rejected Y              | Filled           | 10000 | 10000 |     0 | 50
        replace_rejected        | Filled           | 10000 | 10000 |     0 | 50
    """),
    matrix("C.3.a", "replace to decrease while executions are reported: replaced, then filled", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        trade E2 500 @ 50       | Partially Filled | 10000 |  1500 |  8500 | 50
        pending_replace         | Pending Replace  | 10000 |  1500 |  8500 | 50
        propose Y 8000          | Pending Replace  | 10000 |  1500 |  8500 | 50
        trade E3 100 @ 50       | Pending Replace  | 10000 |  1600 |  8400 | 50
        replaced Y              | Partially Filled | 10000 |  1600 |  8400 | 50
        new Y                   | Partially Filled |  8000 |  1600 |  6400 | 50
        trade E4 6400 @ 55      | Filled           |  8000 |  8000 |     0 | 54
    """),
    matrix("C.3.b", "the requested quantity equals what is executed: filled", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 7000 @ 50      | Partially Filled | 10000 |  7000 |  3000 | 50
        propose Y 7000          | Partially Filled | 10000 |  7000 |  3000 | 50
        replaced Y              | Partially Filled | 10000 |  7000 |  3000 | 50
        new Y                   | Filled           |  7000 |  7000 |     0 | 50
    """),
    matrix("C.3.c", "the requested quantity is below what is executed: amended to that, filled", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 8000 @ 50      | Partially Filled | 10000 |  8000 |  2000 | 50
        propose Y 8000          | Partially Filled | 10000 |  8000 |  2000 | 50
        replaced Y              | Partially Filled | 10000 |  8000 |  2000 | 50
        new Y                   | Filled           |  8000 |  8000 |     0 | 50
    """),
    matrix("D.1.a", "one replace is accepted, then another", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        pending_replace         | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Y 8000          | Pending Replace  | 10000 |  1000 |  9000 | 50
        trade E2 500 @ 50       | Pending Replace  | 10000 |  1500 |  8500 | 50
        replaced Y              | Partially Filled | 10000 |  1500 |  8500 | 50
        new Y                   | Partially Filled |  8000 |  1500 |  6500 | 50
        trade E3 2000 @ 50      | Partially Filled |  8000 |  3500 |  4500 | 50
        pending_replace         | Pending Replace  |  8000 |  3500 |  4500 | 50
        propose Z 6000          | Pending Replace  |  8000 |  3500 |  4500 | 50
        replaced Z              | Partially Filled |  8000 |  3500 |  4500 | 50
        new Z                   | Partially Filled |  6000 |  3500 |  2500 | 50
        trade E4 2500 @ 62      | Filled           |  6000 |  6000 |     0 | 55
    """),
    matrix("D.1.b", "one replace is rejected before it is pending, another is accepted", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        replace_rejected        | Partially Filled | 10000 |  1000 |  9000 | 50
        trade E2 500 @ 50       | Partially Filled | 10000 |  1500 |  8500 | 50
        propose Z 6000          | Partially Filled | 10000 |  1500 |  8500 | 50
        replaced Z              | Partially Filled | 10000 |  1500 |  8500 | 50
        new Z                   | Partially Filled |  6000 |  1500 |  4500 | 50
        trade E3 4500 @ 54      | Filled           |  6000 |  6000 |     0 | 53
    """),
    matrix("D.1.c", "one replace is rejected while it is pending, another is accepted", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        pending_replace         | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Y 8000          | Pending Replace  | 10000 |  1000 |  9000 | 50
        rejected Y              | Pending Replace  | 10000 |  1000 |  9000 | 50
        replace_rejected        | Partially Filled | 10000 |  1000 |  9000 | 50
        trade E2 500 @ 50       | Partially Filled | 10000 |  1500 |  8500 | 50
        pending_replace         | Pending Replace  | 10000 |  1500 |  8500 | 50
        propose Z 6000          | Pending Replace  | 10000 |  1500 |  8500 | 50
        replaced Z              | Partially Filled | 10000 |  1500 |  8500 | 50
        new Z                   | Partially Filled |  6000 |  1500 |  4500 | 50
    """),
    matrix("D.2.b", "two replaces at once: both pending, then both accepted", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        pending_replace         | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Y 8000          | Pending Replace  | 10000 |  1000 |  9000 | 50
        replaced Y              | Partially Filled | 10000 |  1000 |  9000 | 50
        new Y                   | Partially Filled |  8000 |  1000 |  7000 | 50
        pending_replace         | Pending Replace  |  8000 |  1000 |  7000 | 50
        propose Z 7000          | Pending Replace  |  8000 |  1000 |  7000 | 50
        replaced Z              | Partially Filled |  8000 |  1000 |  7000 | 50
        new Z                   | Partially Filled |  7000 |  1000 |  6000 | 50
        trade E2 6000 @ 57      | Filled           |  7000 |  7000 |     0 | 56
    """),
    matrix("D.2.d", "the second replace is rejected as the order is pending replace", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        pending_replace         | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Y 8000          | Pending Replace  | 10000 |  1000 |  9000 | 50
        propose Z 7000          | Pending Replace  | 10000 |  1000 |  9000 | 50
        rejected Z              | Pending Replace  | 10000 |  1000 |  9000 | 50
        replaced Y              | Partially Filled | 10000 |  1000 |  9000 | 50
        new Y                   | Partially Filled |  8000 |  1000 |  7000 | 50
        trade E2 2000 @ 53      | Partially Filled |  8000 |  3000 |  5000 | 52
    """),
    matrix("E.1.a", "unsolicited cancel of a part-filled order", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        canceled                | Canceled         | 10000 |  1000 |     0 | 50
    """),
    matrix("E.1.c", "unsolicited increase, twice", """
        new                     | New              | 10000 |     0 | 10000
        restated 11000          | New              | 11000 |     0 | 11000
        trade E1 1000 @ 50      | Partially Filled | 11000 |  1000 | 10000 | 50
        restated 12000          | Partially Filled | 12000 |  1000 | 11000 | 50
    """),
    matrix("E.1.d", "unsolicited reduction of the quantity", """
        new                     | New              | 10000 |     0 | 10000
        restated 9000           | New              |  9000 |     0 |  9000
        trade E1 9000 @ 50      | Filled           |  9000 |  9000 |     0 | 50
    """),
    matrix("G.1", "order status requests at any time", """
        status                  | New              | 10000 |     0 | 10000
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        status                  | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 8000 @ 55      | Filled           | 10000 | 10000 |     0 | 54
        status                  | Filled           | 10000 | 10000 |     0 | 54
    """),
    matrix("H.1.a", "GTC order partially filled, renewed, partially filled the next day", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        done_for_day            | Done for Day     | 10000 |  2000 |  8000 | 50
        restated                | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 1000 @ 53      | Partially Filled | 10000 |  3000 |  7000 | 51
    """),
    matrix("H.1.c", "GTC order partially filled, renewed, cancelled the next day", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        done_for_day            | Done for Day     | 10000 |  2000 |  8000 | 50
        restated                | Partially Filled | 10000 |  2000 |  8000 | 50
        pending_cancel          | Pending Cancel   | 10000 |  2000 |  8000 | 50
        canceled                | Canceled         | 10000 |  2000 |     0 | 50
    """),
    matrix("H.1.d", "GTC order partially filled, renewed, replaced to increase the next day", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        done_for_day            | Done for Day     | 10000 |  2000 |  8000 | 50
        restated                | Partially Filled | 10000 |  2000 |  8000 | 50
        pending_replace         | Pending Replace  | 10000 |  2000 |  8000 | 50
        propose Y 15000         | Pending Replace  | 10000 |  2000 |  8000 | 50
        trade E2 1000 @ 50      | Pending Replace  | 10000 |  3000 |  7000 | 50
        replaced Y              | Partially Filled | 10000 |  3000 |  7000 | 50
        new Y                   | Partially Filled | 15000 |  3000 | 12000 | 50
    """),
    matrix("I.1.a", "fill or kill order that cannot be filled", """
        new                     | New              | 10000 |     0 | 10000
        canceled                | Canceled         | 10000 |     0 |     0
    """),
    matrix("I.1.b", "immediate or cancel order that cannot be wholly hit", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        canceled                | Canceled         | 10000 |  1000 |     0 | 50
    """),
    matrix("J.1.a", "filled order, followed by correction and cancellation of executions", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        trade E2 9000 @ 51      | Filled           | 10000 | 10000 |     0 | 50.9
        correct E2 F2 9000 @ 52 | Filled           | 10000 | 10000 |     0 | 51.8
        bust E1                 | Partially Filled | 10000 |  9000 |  1000 | 52
        correct F2 G2 8000 @ 53 | Partially Filled | 10000 |  8000 |  2000 | 53
        bust G2                 | New              | 10000 |     0 | 10000
        trade E3 4000 @ 51      | Partially Filled | 10000 |  4000 |  6000 | 51
    """),
    matrix("J.1.b", "a cancelled order, followed by a busted execution and a new one", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 5000 @ 50      | Partially Filled | 10000 |  5000 |  5000 | 50
        pending_cancel          | Pending Cancel   | 10000 |  5000 |  5000 | 50
        canceled                | Canceled         | 10000 |  5000 |     0 | 50
        bust E1                 | Canceled         | 10000 |     0 |     0
        trade E2 4000 @ 51      | Canceled         | 10000 |  4000 |     0 | 51
    """),
    matrix("J.1.c", "GTC order filled over two days, with corrections of quantity on both executions", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 2000 @ 50      | Partially Filled | 10000 |  2000 |  8000 | 50
        done_for_day            | Done for Day     | 10000 |  2000 |  8000 | 50
        restated                | Partially Filled | 10000 |  2000 |  8000 | 50
        trade E2 1000 @ 50      | Partially Filled | 10000 |  3000 |  7000 | 50
        correct E1 F1 1500 @ 50 | Partially Filled | 10000 |  2500 |  7500 | 50
        correct E2 F2 500 @ 50  | Partially Filled | 10000 |  2000 |  8000 | 50
    """),
    matrix("K.1.a", "trading halt, the order is reinstated", """
        new                     | New              | 10000 |     0 | 10000
        suspended               | Suspended        | 10000 |     0 | 10000
        restated                | New              | 10000 |     0 | 10000
        trade E1 10000 @ 50     | Filled           | 10000 | 10000 |     0 | 50
    """),
    matrix("K.1.b", "trading halt, the order is cancelled", """
        new                     | New              | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        suspended               | Suspended        | 10000 |  1000 |  9000 | 50
        canceled                | Canceled         | 10000 |  1000 |     0 | 50
    """),
    matrix("L.1.a", "execution guaranteed before it is made: stopped, then filled", """
        new                     | New              | 10000 |     0 | 10000
        stopped                 | Stopped          | 10000 |     0 | 10000
        trade E1 1000 @ 50      | Partially Filled | 10000 |  1000 |  9000 | 50
        trade E2 9000 @ 50      | Filled           | 10000 | 10000 |     0 | 50
    """),
)  # fmt: skip
