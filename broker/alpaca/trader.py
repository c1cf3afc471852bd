"""The one class that can place an order at Alpaca."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from broker.alpaca import parse
from broker.alpaca.calls import Operation
from broker.alpaca.client import AlpacaReader
from broker.alpaca.errors import Kind, UnreadableError, read_json
from broker.alpaca.transport import Attempt
from broker.budget import Share
from broker.errors import UnknownOutcome, ValidationRefused
from broker.permit import LivePermit, check_permit, check_permit_now
from schemas.mode import Mode
from schemas.orders import BrokerOrder, OrderRequest

if TYPE_CHECKING:
    from alpaca.trading.client import TradingClient
    from alpaca.trading.requests import OrderRequest as OrderRequestOfLibrary

_PLACE = Operation("place_order", "POST", "/v2/orders", Kind.PLACE, Share.ORDERS)


class AlpacaTrader(AlpacaReader):
    """``BrokerTrader``: a reader that may place."""

    async def place_order(
        self, order: OrderRequest, *, before_send: Callable[[], None], permit: LivePermit | None = None
    ) -> BrokerOrder:
        """As the port says. A quantity or price that would not arrive exactly is refused before sending.

        Its token is the caller's to take, before the intent is written, and so is telling how it ended.
        """
        wanted = _fields(order)
        if self.mode is not Mode.PAPER:
            check_permit(permit, self._settings.trading_url)

        def may_still_leave() -> None:
            before_send()
            if self.mode is not Mode.PAPER:
                check_permit_now(permit, self._settings.trading_url)

        attempt = Attempt(before_send=may_still_leave, check_body=partial(_check_body, wanted))

        def post(client: "TradingClient") -> object:
            return client.submit_order(_request(order))

        placed = await self._calls.run_to_its_end(_PLACE, attempt, post, parse.order)
        if placed.client_order_id != order.client_order_id:
            raise UnknownOutcome("the broker answered with another order's client_order_id")
        return placed


def _fields(order: OrderRequest) -> dict[str, object]:
    """What must leave, field by field; what is None is left out."""
    fields: dict[str, object] = {
        "symbol": order.ticker,
        "qty": order.quantity,
        "side": order.side.value,
        "type": order.sent_type,
        "time_in_force": order.time_in_force.value.lower(),
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "extended_hours": order.extended_hours,
        "client_order_id": order.client_order_id,
        "position_intent": order.action.value.lower(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _request(order: OrderRequest) -> "OrderRequestOfLibrary":
    from alpaca.trading.requests import LimitOrderRequest, StopLimitOrderRequest, StopOrderRequest

    classes = {"limit": LimitOrderRequest, "stop": StopOrderRequest, "stop_limit": StopLimitOrderRequest}
    return classes[order.sent_type].model_validate(_fields(order))


def _check_body(wanted: Mapping[str, object], body: bytes) -> None:
    """Compare the very bytes about to leave with what was asked: the library turns numbers into floats.

    Raises:
        ValidationRefused: they differ, so they are not sent.
    """
    try:
        sent = parse.as_object(read_json(body))
    except UnreadableError:
        sent = {}
    wrong = sorted(name for name in {*wanted, *sent} if not _same(wanted.get(name), sent.get(name)))
    if wrong:
        raise ValidationRefused(f"nothing was sent: {', '.join(wrong)} would not have arrived as asked")


def _same(wanted: object, sent: object) -> bool:
    if isinstance(wanted, Decimal):
        return isinstance(sent, int | Decimal) and not isinstance(sent, bool) and wanted == sent
    return type(wanted) is type(sent) and wanted == sent
