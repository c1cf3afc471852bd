"""Refused requests: the status, code and body of the protocol page, and nothing left behind."""

import json
from typing import Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, refusal, settings

FORBIDDEN, INVALID, UNPROCESSABLE, NOT_FOUND = 40310000, 40010001, 42210000, 40410000


@pytest.fixture(scope="module")
def quoted(shared: Venue) -> Venue:
    shared.quote("AAPL", "180.44", "180.48")
    return shared


@pytest.mark.parametrize(
    ("fields", "status", "code", "text"),
    [
        ({"symbol": "ZZZZ"}, 422, UNPROCESSABLE, 'asset "ZZZZ" not found'),
        ({"symbol": None}, 422, INVALID, "symbol is required"),
        ({"qty": "0"}, 422, INVALID, "qty must be > 0"),
        ({"qty": "-5"}, 422, INVALID, "qty must be > 0"),
        ({"qty": None}, 422, INVALID, "qty or notional is required"),
        ({"qty": "many"}, 422, INVALID, "invalid qty"),
        ({"qty": "NaN"}, 422, INVALID, "invalid qty"),
        ({"qty": 1e308}, 422, INVALID, "invalid qty"),
        ({"qty": True}, 422, INVALID, "invalid qty"),
        ({"side": "hold"}, 422, INVALID, "side must be buy or sell"),
        ({"type": "iceberg"}, 422, INVALID, "invalid order type"),
        ({"time_in_force": "gtd"}, 422, INVALID, "invalid time_in_force"),
        ({"type": "limit"}, 422, INVALID, "limit orders require a limit price"),
        ({"limit_price": "5"}, 422, INVALID, "market orders must not have a limit price"),
        ({"client_order_id": "x" * 129}, 422, INVALID, "client_order_id must be no more than 128 characters"),
        (
            {"type": "limit", "limit_price": "290.123"},
            422,
            UNPROCESSABLE,
            "invalid limit_price 290.123. sub-",
        ),
        (
            {"type": "limit", "limit_price": "0.12345"},
            422,
            UNPROCESSABLE,
            "invalid limit_price 0.12345. sub-",
        ),
        ({"qty": "1.5", "time_in_force": "gtc"}, 422, UNPROCESSABLE, "fractional orders must be DAY orders"),
        (
            {"extended_hours": True},
            422,
            UNPROCESSABLE,
            "extended hours order must be DAY or GTC limit orders",
        ),
        ({"qty": "1000000"}, 403, FORBIDDEN, "insufficient buying power"),
        (
            {"time_in_force": "opg"},
            403,
            FORBIDDEN,
            "opg orders must be submitted after 7:00pm and before 9:28am",
        ),
    ],
)
def test_a_bad_order_is_refused(
    quoted: Venue, fields: dict[str, Any], status: int, code: int, text: str
) -> None:
    before = quoted.summary()["accepted_total"]
    answer = quoted.order(**fields)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    assert answer.json()["message"].startswith(text)
    assert quoted.summary()["accepted_total"] == before


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"qty": NaN}', "[" * 100_000, '"x"', "\x00"])
def test_a_body_that_is_no_json_object_is_400(quoted: Venue, body: str) -> None:
    answer = quoted.call("POST", "/v2/orders", data=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 40010000)


def test_a_body_too_large_is_413(quoted: Venue) -> None:
    assert quoted.call("POST", "/v2/orders", data=b" " * 2_000_000).status_code == 413


def test_refusals_arrive_in_the_client_as_api_errors(quoted: Venue) -> None:
    request = LimitOrderRequest(symbol="AAPL", qty=1, side="buy", time_in_force="day", limit_price=290.123)
    error = refusal(lambda: quoted.client.submit_order(request))
    assert (error.status_code, error.code) == (422, UNPROCESSABLE)


def test_buying_power_refusal_names_both_numbers(quoted: Venue) -> None:
    body = quoted.order(qty="1000000", type="limit", limit_price="180.00").json()
    assert body["cost_basis"] == "180000000"
    assert float(body["buying_power"]) < 180_000_000


def test_open_orders_reserve_buying_power(venue: Venue) -> None:
    venue.quote("AAPL", "180.44", "180.48")
    assert venue.order(qty="2000", type="limit", limit_price="150").status_code == 200
    assert venue.client.get_account().buying_power == "100000"
    assert venue.order(qty="1000", type="limit", limit_price="150").status_code == 403
    venue.client.cancel_orders()
    assert venue.order(qty="666", type="limit", limit_price="150").status_code == 200


def test_a_client_order_id_is_never_accepted_twice(venue: Venue) -> None:
    order = venue.order(client_order_id="same", qty="2").json()
    venue.reaches(order["id"], "filled")
    again = venue.order(client_order_id="same", qty="2")
    assert again.status_code == 422
    assert again.json() == {"code": INVALID, "message": "client_order_id must be unique"}
    summary = venue.summary()
    assert summary["posts"]["same"] == 2
    assert summary["accepted_orders"]["same"] == 1
    assert (summary["duplicate_posts"], summary["duplicate_orders"]) == (1, 0)


def test_a_refused_client_order_id_is_free(venue: Venue) -> None:
    assert venue.order(client_order_id="free", qty="0").status_code == 422
    assert venue.order(client_order_id="free").status_code == 200


def test_wash_trades_are_refused(venue: Venue) -> None:
    venue.quote("AAPL", "180.44", "180.48")
    bought = venue.order(qty="10").json()
    venue.reaches(bought["id"], "filled")
    resting = venue.order(type="limit", limit_price="170").json()
    market = venue.order(side="sell")
    assert market.status_code == 403
    assert market.json()["code"] == FORBIDDEN
    assert market.json()["message"] == "potential wash trade detected. use complex orders"
    assert market.json()["reject_reason"] == "opposite side limit order exists"
    assert market.json()["existing_order_id"] == resting["id"]
    assert venue.order(side="sell", type="limit", limit_price="170").status_code == 403
    assert venue.order(side="sell", type="limit", limit_price="190").status_code == 200


def test_more_than_held_cannot_be_sold_and_positions_never_flip(venue: Venue) -> None:
    venue.quote("AAPL", "180.44", "180.48")
    venue.reaches(venue.order(qty="10").json()["id"], "filled")
    assert venue.order(side="sell", qty="4", type="limit", limit_price="200").status_code == 200
    answer = venue.order(side="sell", qty="7", type="limit", limit_price="200")
    assert answer.status_code == 403
    assert answer.json() == {
        "code": FORBIDDEN,
        "message": "insufficient qty available for order (requested: 7, available: 6)",
        "available": "6",
        "existing_qty": "10",
        "held_for_orders": "4",
        "symbol": "AAPL",
    }
    assert venue.client.get_open_position("AAPL").qty_available == "6"


def test_short_sales_open_and_cover_but_do_not_flip(venue: Venue) -> None:
    venue.quote("MSFT", "400.00", "400.10")
    venue.reaches(venue.order("MSFT", side="sell", qty="5").json()["id"], "filled")
    position = venue.client.get_open_position("MSFT")
    assert (position.qty, position.side, position.market_value) == ("-5", "short", "-2000.25")
    assert venue.order("MSFT", qty="6").status_code == 403
    assert venue.order("MSFT", side="sell", qty="0.5").status_code == 422
    venue.reaches(venue.order("MSFT", qty="5").json()["id"], "filled")
    assert refusal(lambda: venue.client.get_open_position("MSFT")).status_code == 404
    assert venue.client.get_account().cash == "99999.5"


def test_assets_with_restrictions_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    listed = [
        {"symbol": "HALT", "tradable": False},
        {"symbol": "GONE", "status": "inactive"},
        {"symbol": "LONG", "shortable": False},
        {"symbol": "WHOLE", "fractionable": False},
    ]
    with start_in_thread(settings(tmp_path_factory.mktemp("limits"), symbols=listed)) as running:
        venue = connect(running)
        cases: list[tuple[dict[str, str], int, int]] = [
            ({"symbol": "HALT"}, 422, UNPROCESSABLE),
            ({"symbol": "GONE"}, 422, INVALID),
            ({"symbol": "LONG", "side": "sell"}, 422, UNPROCESSABLE),
            ({"symbol": "WHOLE", "qty": "0.5"}, 403, FORBIDDEN),
        ]
        for fields, status, code in cases:
            answer = venue.order(**fields)
            assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_not_there_is_404_and_a_malformed_order_id_422(quoted: Venue) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for path in (
        f"/v2/orders/{nobody}",
        "/v2/orders:by_client_order_id?client_order_id=nope",
        "/v2/positions/TSLA",
        "/v2/positions/NOPE",
        "/v2/assets/NOPE",
        "/v2/nothing",
    ):
        answer = quoted.call("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, NOT_FOUND), path
    answer = quoted.call("GET", "/v2/orders/not-a-uuid")
    assert (answer.status_code, answer.json()["code"]) == (422, INVALID)
    for path in (
        "/v2/orders?limit=501",
        "/v2/orders?status=odd",
        "/v2/account/activities/FILL?page_size=101",
    ):
        assert quoted.call("GET", path).status_code == 422, path


def test_a_finished_order_cannot_be_cancelled(quoted: Venue) -> None:
    order = quoted.order("GOOGL").json()
    quoted.reaches(order["id"], "filled")
    error = refusal(lambda: quoted.client.cancel_order_by_id(order["id"]))
    assert (error.status_code, error.code) == (422, UNPROCESSABLE)
    assert error.message == 'order is already in "filled" state'


@pytest.mark.parametrize(
    "path", ["/v2/account", "/v2/stocks/quotes/latest?symbols=AAPL", "/_exchange/ledger"]
)
def test_wrong_keys_are_401_without_a_code(quoted: Venue, path: str) -> None:
    answer = quoted.call("GET", path, headers={"APCA-API-SECRET-KEY": "wrong"})
    assert answer.status_code == 401
    assert json.loads(answer.text) == {"message": "unauthorized."}
    client = TradingClient("TESTKEY", "wrong", url_override=quoted.running.url)
    assert refusal(client.get_account).status_code == 401


def test_over_the_request_limit_is_429_until_requests_age(tmp_path_factory: pytest.TempPathFactory) -> None:
    chosen = settings(tmp_path_factory.mktemp("limited"), requests_per_minute=3)
    with start_in_thread(chosen) as running:
        venue = connect(running)
        assert [venue.call("GET", "/v2/clock").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = venue.order()
        assert answer.json() == {"code": 42910000, "message": "rate limit exceeded"}
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert venue.call("GET", "/v2/stocks/quotes/latest?symbols=AAPL").status_code == 200
        assert venue.summary()["accepted_total"] == 0
