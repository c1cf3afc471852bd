"""What log and trace are told of a step once it is committed: the ids of its order, and how it was decided."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from opentelemetry.trace import SpanKind

from observability.logging import get_logger
from observability.tracing import continued, ended_span
from schemas.base import decimal_text
from schemas.risk import CheckResult
from storage.orders import StoredOrder

MS_PER_SECOND: Final = 1000.0

_log = get_logger(__name__)


def tell_of_evidence(order: StoredOrder, filled: Decimal, source: str, took_ms: float) -> None:
    """The broker has moved this order: a span in its signal's trace, and a line."""
    told = {
        **order_ids(order),
        "status": order.status.value,
        "filled_quantity": decimal_text(order.filled_quantity),
        "source": source,
    }
    if filled:
        told["shares"] = decimal_text(filled)
        told["average_price"] = "" if order.average_price is None else decimal_text(order.average_price)
    name = "fill" if filled else "broker update"
    with continued(order.traceparent):
        ended_span(name, took_ms, None, SpanKind.INTERNAL, **told)
        _log.info(name, **told, ticker=order.ticker, duration_ms=round(took_ms, 1))


def tell_of_refusal(
    what: str, order: StoredOrder, reasons: Sequence[str], checks: Sequence[CheckResult]
) -> None:
    """Each failed check with the values that it was computed from."""
    arithmetic = [
        {"check": each.name.value, "value": each.value, "limit": each.limit, "formula": each.formula}
        for each in checks
        if not each.passed
    ]
    _log.info(what, **order_ids(order), ticker=order.ticker, reasons=list(reasons), failed=arithmetic)


def order_ids(order: StoredOrder) -> dict[str, str]:
    """Every id that an order is known by, exact, as far as it has them."""
    ids = {
        "signal_id": order.signal_id,
        "internal_order_id": str(order.internal_order_id),
        "client_order_id": order.client_order_id,
        "broker_order_id": order.broker_order_id,
    }
    return {name: value for name, value in ids.items() if value}
