"""Each refusal of the protocol's table arrives in unmodified alpaca-py as its APIError."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.requests import StockLatestQuoteRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.models import AccountConfiguration
from alpaca.trading.requests import (
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopOrderRequest,
)

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, refusal, settings

FORBIDDEN, INVALID, UNPROCESSABLE, NOT_FOUND = 40310000, 40010001, 42210000, 40410000
BUY: dict[str, Any] = {"side": "buy", "time_in_force": "day"}
SELL: dict[str, Any] = {"side": "sell", "time_in_force": "day"}

Case = tuple[str, Callable[[TradingClient], object], int, int, str]


def market(symbol: str, qty: float = 1, **fields: Any) -> Callable[[TradingClient], object]:
    return lambda client: client.submit_order(MarketOrderRequest(symbol=symbol, qty=qty, **(BUY | fields)))


def limit(symbol: str, price: float, qty: float = 1, **fields: Any) -> Callable[[TradingClient], object]:
    request = {"symbol": symbol, "qty": qty, "limit_price": price, **(BUY | fields)}
    return lambda client: client.submit_order(LimitOrderRequest(**request))


def raw(**fields: Any) -> Callable[[TradingClient], object]:
    """What the SDK's own models would not let through."""
    body = {"symbol": "AAPL", "qty": 1, "type": "market", **BUY}
    return lambda client: client.post("/orders", body | fields)


SIMPLE: list[Case] = [
    ("buying power", limit("AAPL", 100, qty=1e6), 403, FORBIDDEN, "insufficient buying power"),
    ("not fractionable", market("WHOLE", 0.5), 403, FORBIDDEN, 'asset "WHOLE" is not fractionable'),
    ("opg window", market("AAPL", time_in_force="opg"), 403, FORBIDDEN, "opg orders must be submitted"),
    ("quantity", raw(qty=0), 422, INVALID, "qty must be > 0"),
    ("no quantity", raw(qty=None), 422, INVALID, "qty or notional is required"),
    ("no limit price", raw(type="limit"), 422, INVALID, "limit orders require a limit price"),
    ("time in force", raw(time_in_force="gtd"), 422, INVALID, "invalid time_in_force"),
    ("long id", market("AAPL", client_order_id="x" * 129), 422, INVALID, "client_order_id must be no more"),
    ("unknown symbol", market("ZZZZ"), 422, UNPROCESSABLE, 'asset "ZZZZ" not found'),
    ("not tradable", market("HALT"), 422, UNPROCESSABLE, 'asset "HALT" is not tradable'),
    ("not active", market("GONE"), 422, INVALID, 'asset "GONE" is not active'),
    ("not shortable", market("LONG", **SELL), 422, UNPROCESSABLE, 'asset "LONG" cannot be sold short'),
    ("sub-penny", limit("AAPL", 99.123), 422, UNPROCESSABLE, "invalid limit_price 99.123. sub-penny"),
    ("extended hours", market("AAPL", extended_hours=True), 422, UNPROCESSABLE, "extended hours order must"),
    ("fractional", market("AAPL", 0.5, time_in_force="gtc"), 422, UNPROCESSABLE, "fractional orders must be"),
    (
        "stop direction",
        lambda client: client.submit_order(StopOrderRequest(symbol="AAPL", qty=1, stop_price=90, **BUY)),
        422,
        UNPROCESSABLE,
        "stop price must be greater than current price",
    ),
    ("order", lambda client: client.get_order_by_id(uuid4()), 404, NOT_FOUND, "order not found"),
    ("client id", lambda client: client.get_order_by_client_id("?"), 404, NOT_FOUND, "order not found"),
    ("cancel", lambda client: client.cancel_order_by_id(uuid4()), 404, NOT_FOUND, "order not found"),
    ("position", lambda client: client.get_open_position("META"), 404, NOT_FOUND, "position does not exist"),
    ("close", lambda client: client.close_position("META"), 404, NOT_FOUND, "position does not exist"),
    ("asset", lambda client: client.get_asset("ZZZZ"), 404, NOT_FOUND, "asset not found for ZZZZ"),
]


def told(error: APIError) -> tuple[int, int, str]:
    return error.status_code, error.code, error.message


@pytest.mark.parametrize(("call", "status", "code", "text"), [pytest.param(*c[1:], id=c[0]) for c in SIMPLE])
def test_a_request_that_is_wrong_in_itself(
    sdk: Venue, call: Callable[[TradingClient], object], status: int, code: int, text: str
) -> None:
    error = refusal(lambda: call(sdk.client))
    assert told(error)[:2] == (status, code), error
    assert error.message.startswith(text)


def bought(venue: Venue, symbol: str, qty: float) -> None:
    order = venue.client.submit_order(MarketOrderRequest(symbol=symbol, qty=qty, **BUY))
    venue.reaches(str(order.id), "filled")


def test_shares_that_are_held(sdk: Venue) -> None:
    bought(sdk, "NVDA", 3)
    error = refusal(lambda: market("NVDA", 4, **SELL)(sdk.client))
    message = "insufficient qty available for order (requested: 4, available: 3)"
    assert told(error) == (403, FORBIDDEN, message)


def test_a_wash_trade(sdk: Venue) -> None:
    bought(sdk, "MSFT", 3)
    limit("MSFT", 90)(sdk.client)
    error = refusal(lambda: market("MSFT", **SELL)(sdk.client))
    assert told(error) == (403, FORBIDDEN, "potential wash trade detected. use complex orders")


def test_an_open_order_of_the_other_direction(sdk: Venue) -> None:
    limit("TSLA", 150, **SELL)(sdk.client)
    error = refusal(lambda: limit("TSLA", 90)(sdk.client))
    assert told(error) == (403, FORBIDDEN, "cannot open a long buy while a short sell order is open")


def test_an_id_that_was_used(sdk: Venue) -> None:
    limit("AAPL", 50, client_order_id="used")(sdk.client)
    error = refusal(lambda: market("IBM", client_order_id="used")(sdk.client))
    assert told(error) == (422, INVALID, "client_order_id must be unique")


def test_an_order_that_is_finished_cannot_be_cancelled_or_replaced(sdk: Venue) -> None:
    order = sdk.client.submit_order(MarketOrderRequest(symbol="IBM", qty=1, **BUY))
    sdk.reaches(str(order.id), "filled")
    calls: list[Callable[[], object]] = [
        lambda: sdk.client.cancel_order_by_id(order.id),
        lambda: sdk.client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=2)),
    ]
    for call in calls:
        assert told(refusal(call)) == (422, UNPROCESSABLE, 'order is already in "filled" state')


def test_a_replacement_that_cannot_be(sdk: Venue) -> None:
    order = sdk.client.submit_order(LimitOrderRequest(symbol="IBM", qty=1, limit_price=50, **BUY))
    sdk.reaches(str(order.id), "new")

    def replaced(**fields: Any) -> object:
        return sdk.client.replace_order_by_id(order.id, ReplaceOrderRequest(**fields))

    same = refusal(lambda: replaced(limit_price=50))
    assert told(same) == (422, UNPROCESSABLE, "order parameters are not changed")
    replaced(limit_price=51)
    sdk.reaches(str(order.id), "replaced")
    again = refusal(lambda: replaced(limit_price=52))
    assert told(again) == (422, UNPROCESSABLE, "order already replaced")


def test_what_the_accounts_owner_switched_off(sdk: Venue) -> None:
    before = sdk.client.get_account_configurations()

    def refused(call: Callable[[TradingClient], object], **switched: bool) -> APIError:
        changed: AccountConfiguration = before.model_copy(update=switched)
        sdk.client.set_account_configurations(changed)
        try:
            return refusal(lambda: call(sdk.client))
        finally:
            sdk.client.set_account_configurations(before)

    blocked = refused(market("AAPL"), suspend_trade=True)
    assert told(blocked) == (403, FORBIDDEN, "new orders are rejected by user request")
    short = refused(market("META", **SELL), no_shorting=True)
    assert told(short) == (403, FORBIDDEN, "account is not allowed to short")


def test_a_queued_order_cannot_be_replaced(sdk: Venue, tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_in_thread(
        settings(tmp_path_factory.mktemp("closed"), start="2026-11-22T12:00:00-05:00")
    ) as running:
        client = connect(running).client
        order = client.submit_order(LimitOrderRequest(symbol="AAPL", qty=1, limit_price=50, **BUY))
        error = refusal(lambda: client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=2)))
    assert told(error) == (422, UNPROCESSABLE, "cannot replace order in accepted status")


def test_a_wrong_key_has_a_status_and_no_code(sdk: Venue) -> None:
    client = TradingClient("TESTKEY", "wrong", url_override=sdk.running.url)
    error = refusal(client.get_account)
    assert (error.status_code, str(error)) == (401, '{"message":"unauthorized."}')
    with pytest.raises(KeyError):
        _ = error.code


def test_over_the_limit_is_429_with_a_code_for_trading_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    chosen = settings(tmp_path_factory.mktemp("few"), requests_per_minute=1, data_requests_per_minute=1)
    with start_in_thread(chosen) as running:
        venue = connect(running)
        for client in (venue.client, venue.data):
            client._retry = 0
        venue.client.get_clock()
        assert told(refusal(venue.client.get_clock)) == (429, 42910000, "rate limit exceeded")
        asked = StockLatestQuoteRequest(symbol_or_symbols="AAPL")
        venue.data.get_stock_latest_quote(asked)
        error = refusal(lambda: venue.data.get_stock_latest_quote(asked))
        assert (error.status_code, str(error)) == (429, '{"message":"too many requests."}')


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails(sdk: Venue, status: int) -> None:
    client = TradingClient("TESTKEY", "TESTSECRET", url_override=sdk.running.url)
    client._retry = 0
    action = "status_504_before_landing" if status == 504 else f"status_{status}"
    sdk.fault(action, method="GET", path="/v2/account")
    error = refusal(client.get_account)
    assert error.status_code == status
    if status == 500:
        assert told(error) == (500, 50010000, "internal server error occurred")
    else:
        with pytest.raises(ValueError, match="Expecting value"):
            _ = error.code
