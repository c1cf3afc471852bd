"""What a position was entered at: the average-cost method, as brokers show it."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from schemas.orders import Side


@dataclass(frozen=True, slots=True)
class Entry:
    """Signed shares, and US dollars a share that they were entered at; None while flat."""

    quantity: Decimal
    price: Decimal | None


def entry(executions: Iterable[tuple[Side, Decimal, Decimal]]) -> Entry:
    """Walk (side, shares, price) in order of execution.

    Adding moves the average, reducing leaves it, and what goes through zero is entered at that price.
    """
    quantity, cost = Decimal(0), Decimal(0)
    for side, shares, price in executions:
        signed = shares if side is Side.BUY else -shares
        after = quantity + signed
        if quantity * signed >= 0:
            cost += signed * price
        elif quantity * after > 0:
            cost -= cost * (-signed / quantity)
        else:
            cost = after * price
        quantity = after
    return Entry(quantity, cost / quantity if quantity else None)
