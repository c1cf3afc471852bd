"""Refusals with the status, code and body the broker answers (protocol page, section 5)."""

from collections.abc import Mapping
from decimal import Decimal

from simulation.wire import plain

FORBIDDEN = 40310000
INVALID = 40010001
UNPROCESSABLE = 42210000
NOT_FOUND = 40410000
MALFORMED = 40010000
RATE_LIMITED = 42910000
INTERNAL = 50010000


class Refusal(Exception):
    """A request the exchange answers with an error body; the message is the broker's text."""

    def __init__(
        self, status: int, code: int | None, message: str, extra: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = dict(extra or {})

    def body(self) -> dict[str, object]:
        coded = {} if self.code is None else {"code": self.code}
        return {**coded, "message": self.message, **self.extra}


def unauthorized() -> Refusal:
    return Refusal(401, None, "unauthorized.")


def malformed(message: str = "request body format is invalid") -> Refusal:
    return Refusal(400, MALFORMED, message)


def invalid(message: str) -> Refusal:
    return Refusal(422, INVALID, message)


def unprocessable(message: str, **extra: str) -> Refusal:
    return Refusal(422, UNPROCESSABLE, message, extra)


def forbidden(message: str, **extra: str) -> Refusal:
    return Refusal(403, FORBIDDEN, message, extra)


def not_found(message: str) -> Refusal:
    return Refusal(404, NOT_FOUND, message)


def order_not_found(order_id: str) -> Refusal:
    return not_found(f"order not found for {order_id}")


def duplicate_client_order_id() -> Refusal:
    return invalid("client_order_id must be unique")


def sub_penny(field: str, price: Decimal) -> Refusal:
    return unprocessable(
        f"invalid {field} {plain(price)}. sub-penny increment does not fulfill minimum pricing criteria"
    )


def insufficient_buying_power(buying_power: Decimal, cost_basis: Decimal) -> Refusal:
    return forbidden(
        "insufficient buying power", buying_power=plain(buying_power), cost_basis=plain(cost_basis)
    )


def insufficient_qty(symbol: str, requested: Decimal, existing: Decimal, held: Decimal) -> Refusal:
    available = existing - held
    counts = f"requested: {plain(requested)}, available: {plain(available)}"
    return forbidden(
        f"insufficient qty available for order ({counts})",
        available=plain(available),
        existing_qty=plain(existing),
        held_for_orders=plain(held),
        symbol=symbol,
    )


def wash_trade(kind: str, existing_order_id: str) -> Refusal:
    return forbidden(
        "potential wash trade detected. use complex orders",
        reject_reason=f"opposite side {kind} order exists",
        existing_order_id=existing_order_id,
    )


def rate_limited() -> Refusal:
    return Refusal(429, RATE_LIMITED, "rate limit exceeded")


def data_rate_limited() -> Refusal:
    return Refusal(429, None, "too many requests.")


def internal_error() -> Refusal:
    return Refusal(500, INTERNAL, "internal server error occurred")
