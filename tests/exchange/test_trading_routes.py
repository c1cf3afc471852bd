"""Unmodified alpaca-py walks the trading routes; every answer parses into its models."""

from datetime import date, timedelta

from alpaca.data.requests import StockLatestQuoteRequest
from alpaca.trading.enums import AssetClass, OrderSide, OrderStatus, OrderType, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Order, Position, TradeAccount
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
)

from tests.exchange.conftest import MONDAY_TEN, Venue


def limit(symbol: str, price: float, qty: float = 1, **fields: object) -> LimitOrderRequest:
    chosen = {"side": OrderSide.BUY, "time_in_force": TimeInForce.DAY, **fields}
    return LimitOrderRequest(symbol=symbol, qty=qty, limit_price=price, **chosen)


def submit(venue: Venue, request: LimitOrderRequest | MarketOrderRequest) -> Order:
    order = venue.client.submit_order(request)
    assert isinstance(order, Order)
    return order


def test_account_is_an_active_margin_account(venue: Venue) -> None:
    account = venue.client.get_account()
    assert isinstance(account, TradeAccount)
    assert account.status == "ACTIVE"
    assert (account.cash, account.equity, account.buying_power) == ("100000", "100000", "400000")
    assert account.multiplier == "4"
    blocks = (account.trading_blocked, account.account_blocked, account.transfers_blocked)
    assert not any(blocks)


def test_an_order_goes_from_pending_new_to_filled_and_becomes_a_position(venue: Venue) -> None:
    venue.quote("AAPL", "180.44", "180.48")
    order = submit(venue, limit("AAPL", 180.50, 10, client_order_id="first"))
    assert order.status is OrderStatus.PENDING_NEW
    assert order.order_type is OrderType.LIMIT
    assert str(order.limit_price) == "180.5"
    filled = venue.reaches(str(order.id), "filled")
    assert (filled["filled_qty"], filled["filled_avg_price"]) == ("10", "180.48")
    position = venue.client.get_open_position("AAPL")
    assert isinstance(position, Position)
    assert (position.qty, position.avg_entry_price, position.side) == ("10", "180.48", "long")
    assert venue.client.get_all_positions() == [position]
    assert venue.client.get_account().cash == "98195.2"
    by_client_id = venue.client.get_order_by_client_id("first")
    assert by_client_id.id == order.id


def test_a_fill_activity_has_a_new_york_id_and_no_client_order_id(venue: Venue) -> None:
    order = submit(venue, MarketOrderRequest(symbol="IBM", qty=3, side="buy", time_in_force="day"))
    venue.reaches(str(order.id), "filled")
    (row,) = venue.client.get("/account/activities/FILL")
    assert row["id"].startswith("2026112310")
    assert row["transaction_time"].startswith("2026-11-23T15:")
    assert row["order_id"] == str(order.id)
    assert (row["cum_qty"], row["leaves_qty"], row["type"]) == ("3", "0", "fill")
    assert "client_order_id" not in row
    assert "execution_id" not in row


def test_fill_activities_page_by_token_and_exclude_after(shared: Venue) -> None:
    shared.quote("BAC", "46.00", "46.02", ask_size=1)
    order = submit(shared, MarketOrderRequest(symbol="BAC", qty=105, side="buy", time_in_force="day"))
    # What is quoted before the order works at the venue is not for it.
    shared.reaches(str(order.id), "partially_filled")
    for _ in range(104):
        shared.quote("BAC", "46.00", "46.02", ask_size=1)
    shared.reaches(str(order.id), "filled")
    rows, token = [], None
    while True:
        query = {"direction": "asc"} | ({"page_token": token} if token else {})
        page = shared.client.get("/account/activities/FILL", query)
        rows += page
        if len(page) < 100:
            break
        token = page[-1]["id"]
    fills = [row for row in rows if row["order_id"] == str(order.id)]
    assert [row["cum_qty"] for row in fills] == [str(number) for number in range(1, 106)]
    fifth = fills[4]["transaction_time"]
    query = {"direction": "asc", "after": fifth}
    later = shared.client.get("/account/activities/FILL", query)
    assert all(row["transaction_time"] > fifth for row in later)
    assert later[0]["id"] == next(row["id"] for row in rows if row["transaction_time"] > fifth)


def test_orders_list_by_status_symbol_side_and_submission_time(shared: Venue) -> None:
    orders = [submit(shared, limit("QQQ", 100 + number)) for number in range(5)]
    shared.client.cancel_order_by_id(orders[0].id)
    shared.reaches(str(orders[0].id), "canceled")

    def ids(**query: object) -> list[object]:
        return [order.id for order in shared.client.get_orders(GetOrdersRequest(symbols=["QQQ"], **query))]

    made = [order.id for order in orders]
    assert ids() == made[:0:-1]
    assert ids(direction="asc") == made[1:]
    assert ids(status=QueryOrderStatus.CLOSED) == made[:1]
    assert ids(status=QueryOrderStatus.ALL, limit=2) == [made[4], made[3]]
    assert ids(side=OrderSide.SELL) == []
    assert ids(after=orders[2].submitted_at, direction="asc") == made[3:]
    assert ids(until=orders[2].submitted_at, direction="asc") == made[1:2]
    raw = shared.client.get("/orders", {"after_order_id": str(made[2]), "direction": "asc", "symbols": "QQQ"})
    assert [row["id"] for row in raw] == [str(order_id) for order_id in made[3:]]


def test_cancel_all_answers_207_with_one_row_an_order(venue: Venue) -> None:
    orders = [submit(venue, limit("SPY", 100 + number)) for number in range(3)]
    answers = venue.client.cancel_orders()
    assert {answer.id for answer in answers} == {order.id for order in orders}
    assert {answer.status for answer in answers} == {200}
    for order in orders:
        assert venue.reaches(str(order.id), "canceled")["canceled_at"]
    assert venue.call("DELETE", "/v2/orders").status_code == 207
    assert venue.call("DELETE", "/v2/orders").json() == []


def test_assets_are_listed_and_found_by_symbol_and_id(shared: Venue) -> None:
    asset = shared.client.get_asset("AAPL")
    assert asset.tradable
    assert asset.fractionable
    assert asset.asset_class is AssetClass.US_EQUITY
    assert shared.client.get_asset(asset.id) == asset
    listed = shared.client.get_all_assets(GetAssetsRequest(status="active", exchange="NYSE"))
    assert {"IBM", "BAC", "AIG"} <= {row.symbol for row in listed}
    assert all(row.exchange == "NYSE" for row in listed)


def test_clock_and_calendar_know_holidays_and_early_closes(shared: Venue) -> None:
    clock = shared.client.get_clock()
    assert clock.is_open
    assert timedelta() <= clock.timestamp - MONDAY_TEN < timedelta(minutes=5)
    assert clock.next_close.isoformat() == "2026-11-23T16:00:00-05:00"
    assert clock.next_open.isoformat() == "2026-11-24T09:30:00-05:00"
    days = shared.client.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30)))
    assert [(str(day.date), day.close.hour) for day in days] == [
        ("2026-11-25", 16),
        ("2026-11-27", 13),
        ("2026-11-30", 16),
    ]
    raw = shared.client.get("/calendar", {"start": "2026-11-27", "end": "2026-11-27"})
    assert raw == [
        {
            "date": "2026-11-27",
            "open": "09:30",
            "close": "13:00",
            "session_open": "0400",
            "session_close": "1700",
            "settlement_date": "2026-11-30",
        }
    ]


def test_latest_quotes_come_per_feed_and_leave_out_unknown_symbols(shared: Venue) -> None:
    request = StockLatestQuoteRequest(symbol_or_symbols=["MSFT", "NOPE"], feed="iex")
    quotes = shared.data.get_stock_latest_quote(request)
    assert list(quotes) == ["MSFT"]
    primary = quotes["MSFT"]
    assert 0 < primary.bid_price < primary.ask_price
    request = StockLatestQuoteRequest(symbol_or_symbols="MSFT", feed="sip")
    secondary = shared.data.get_stock_latest_quote(request)["MSFT"]
    assert abs(secondary.ask_price / primary.ask_price - 1) < 0.01
    assert secondary.ask_exchange != primary.ask_exchange
    raw = shared.call("GET", "/v2/stocks/MSFT/quotes/latest").json()
    assert raw["symbol"] == "MSFT"
    assert shared.call("GET", "/v2/stocks/quotes/latest?symbols=A&feed=x").status_code == 400


def test_numbers_are_accepted_as_json_numbers_and_as_strings(shared: Venue) -> None:
    body = '{"symbol":"NVDA","qty":0.30000000000000004,"side":"buy","type":"market","time_in_force":"day"}'
    headers = {"Content-Type": "application/json"}
    assert shared.call("POST", "/v2/orders", data=body, headers=headers).json()["qty"] == "0.3"
    assert shared.order("NVDA", qty="0.3").json()["qty"] == "0.3"
    assert shared.order("NVDA", qty=10.0).json()["qty"] == "10"


def test_every_answer_carries_a_request_id_and_the_rate_limit(shared: Venue) -> None:
    first, second = shared.call("GET", "/v2/clock"), shared.call("GET", "/v2/clock")
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]
    assert first.headers["X-RateLimit-Limit"] == "6000"
    remaining = [int(answer.headers["X-RateLimit-Remaining"]) for answer in (first, second)]
    assert remaining[1] < remaining[0]
    assert int(first.headers["X-RateLimit-Reset"]) > 1_700_000_000
