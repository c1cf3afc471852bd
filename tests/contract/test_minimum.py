"""C6xx: what any venue that stands for the broker must reproduce, row by row of the protocol's minimum."""

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from simulation.server import start_in_thread
from tests.exchange.conftest import MONDAY_TEN, WAIT_SECONDS, Venue, connect, settings, wait_until
from tests.exchange.test_streams import AUTH, ask, dial, listening, updates

SUNDAY = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
FORBIDDEN, INVALID, UNPROCESSABLE = 40310000, 40010001, 42210000
LIMIT: dict[str, str] = {"type": "limit", "limit_price": "170"}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """An open market that the cases share, on separate tickers."""
    with start_in_thread(settings(tmp_path_factory.mktemp("minimum"), cash=10_000_000)) as running:
        yield connect(running)


def code_and_text(answer: requests.Response) -> tuple[int, int, str]:
    return answer.status_code, answer.json()["code"], answer.json()["message"]


def set_clock(venue: Venue, at: datetime) -> None:
    assert venue.call("POST", "/_exchange/clock", json={"at": at.isoformat()}).status_code == 200


def bought(venue: Venue, symbol: str, qty: str) -> dict[str, Any]:
    venue.quote(symbol, "180.44", "180.48")
    return venue.reaches(venue.order(symbol, qty=qty).json()["id"], "filled")


def test_c601_float_bodies_are_read_as_the_decimals_they_mean(market: Venue) -> None:
    body = '{"symbol":"NVDA","qty":0.30000000000000004,"side":"buy","type":"limit","limit_price":1.1'
    text = body + ',"time_in_force":"day"}'
    answer = market.call("POST", "/v2/orders", data=text, headers={"Content-Type": "application/json"})
    assert (answer.json()["qty"], answer.json()["limit_price"]) == ("0.3", "1.1")


def test_c602_decimals_go_out_as_strings(market: Venue) -> None:
    order = bought(market, "NVDA", "2.5")
    position = market.call("GET", "/v2/positions/NVDA").json()
    account = market.call("GET", "/v2/account").json()
    for value in (order["filled_qty"], order["filled_avg_price"], position["qty"], account["cash"]):
        assert isinstance(value, str)
        Decimal(value)


def test_c603_success_is_200_204_or_207(market: Venue) -> None:
    order = market.order("MSFT", type="limit", limit_price="1")
    assert order.status_code == 200
    market.reaches(order.json()["id"], "new")
    canceled = market.call("DELETE", f"/v2/orders/{order.json()['id']}")
    assert (canceled.status_code, canceled.content) == (204, b"")
    assert market.call("DELETE", "/v2/orders").status_code == 207
    assert market.call("DELETE", "/v2/positions").status_code == 207


def test_c604_one_connection_serves_many_requests(market: Venue) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", market.running.port, timeout=WAIT_SECONDS)
    keys = {"APCA-API-KEY-ID": market.running.key, "APCA-API-SECRET-KEY": market.running.secret}
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        connection.request("GET", "/v2/clock", headers=keys)
        answer = connection.getresponse()
        answer.read()
        assert answer.version == 11
        assert connection.sock is socket
    connection.close()


def test_c605_every_answer_has_a_request_id_and_the_limit(market: Venue) -> None:
    answers = [market.call("GET", "/v2/clock"), market.order(qty="0"), market.call("GET", "/v2/assets/NOPE")]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3
    for answer in answers:
        for name in ("Limit", "Remaining", "Reset"):
            assert answer.headers[f"X-RateLimit-{name}"].isdigit()


def test_c606_a_wrong_key_is_401_without_a_code(market: Venue) -> None:
    answer = market.call("GET", "/v2/account", headers={"APCA-API-SECRET-KEY": "wrong"})
    assert (answer.status_code, answer.json()) == (401, {"message": "unauthorized."})


def test_c607_an_id_ever_used_is_a_duplicate_also_after_a_restart(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        order = venue.order(client_order_id="once", **LIMIT).json()
        venue.reaches(order["id"], "new")
        venue.client.cancel_order_by_id(order["id"])
        venue.reaches(order["id"], "canceled")
    with start_in_thread(settings(tmp_path)) as running:
        again = connect(running).order(client_order_id="once", **LIMIT)
        assert code_and_text(again) == (422, INVALID, "client_order_id must be unique")


def test_c608_an_order_against_ones_own_is_a_wash_trade(market: Venue) -> None:
    bought(market, "GOOGL", "5")
    resting = market.order("GOOGL", **LIMIT).json()
    answer = market.order("GOOGL", side="sell")
    assert code_and_text(answer)[:2] == (403, FORBIDDEN)
    assert answer.json()["reject_reason"] == "opposite side limit order exists"
    assert answer.json()["existing_order_id"] == resting["id"]


@pytest.mark.parametrize(("price", "is_taken"), [("290.12", True), ("290.123", False), ("0.1234", True)])
def test_c609_prices_finer_than_the_grid_are_refused(market: Venue, price: str, is_taken: bool) -> None:
    answer = market.order("TSLA", type="limit", limit_price=price)
    if is_taken:
        assert answer.status_code == 200
        return
    told = f"invalid limit_price {price}. sub-penny increment does not fulfill minimum pricing criteria"
    assert code_and_text(answer) == (422, UNPROCESSABLE, told)


def test_c610_shares_held_by_an_order_are_not_available(market: Venue) -> None:
    bought(market, "META", "10")
    assert market.order("META", side="sell", qty="8", type="limit", limit_price="900").status_code == 200
    answer = market.order("META", side="sell", qty="3", type="limit", limit_price="900")
    told = "insufficient qty available for order (requested: 3, available: 2)"
    assert code_and_text(answer) == (403, FORBIDDEN, told)
    counts = {
        name: answer.json()[name] for name in ("available", "existing_qty", "held_for_orders", "symbol")
    }
    assert counts == {"available": "2", "existing_qty": "10", "held_for_orders": "8", "symbol": "META"}


def test_c611_more_than_the_buying_power_is_refused_with_both_numbers(market: Venue) -> None:
    answer = market.order(qty="1000000", type="limit", limit_price="180")
    assert code_and_text(answer) == (403, FORBIDDEN, "insufficient buying power")
    assert answer.json()["cost_basis"] == "180000000"
    assert Decimal(answer.json()["buying_power"]) < 180_000_000


def test_c612_unknown_and_untradable_assets_are_refused(tmp_path: Path) -> None:
    listed = [{"symbol": "HALT", "tradable": False}, {"symbol": "LONG", "shortable": False}]
    with start_in_thread(settings(tmp_path, symbols=listed)) as running:
        venue = connect(running)
        assert code_and_text(venue.order("ZZZZ")) == (422, UNPROCESSABLE, 'asset "ZZZZ" not found')
        assert code_and_text(venue.order("HALT")) == (422, UNPROCESSABLE, 'asset "HALT" is not tradable')
        short = venue.order("LONG", side="sell")
        assert code_and_text(short) == (422, UNPROCESSABLE, 'asset "LONG" cannot be sold short')
        assert venue.call("GET", "/v2/assets/ZZZZ").status_code == 404


def test_c613_auction_orders_have_their_windows(tmp_path: Path) -> None:
    """How: opg from 19:00 to 09:28, cls from 19:00 to ten minutes before the close, early ones too, New York."""
    with start_in_thread(settings(tmp_path, start=MONDAY_TEN - timedelta(hours=1))) as running:
        venue = connect(running)

        def taken(tif: str, hour: int, minute: int, *, day: int = 23) -> bool:
            midnight = datetime(2026, 11, day, 5, tzinfo=UTC)
            set_clock(venue, midnight + timedelta(hours=hour, minutes=minute, seconds=1))
            answer = venue.order("BAC", time_in_force=tif)
            assert answer.status_code == 200 or code_and_text(answer)[:2] == (403, FORBIDDEN)
            return answer.status_code == 200

        found = [taken("opg", 9, 27), taken("opg", 9, 28), taken("cls", 15, 49), taken("cls", 15, 50)]
        assert found == [True, False, True, False]
        assert [taken("cls", 18, 58), taken("opg", 18, 59), taken("opg", 19, 0)] == [False, False, True]
        early = [taken("cls", 12, 49, day=27), taken("cls", 12, 50, day=27), taken("cls", 10, 0, day=28)]
        assert early == [True, False, True]


def test_c614_a_closed_market_queues_and_its_open_sends_out(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path, start=SUNDAY)) as running:
        venue = connect(running)
        order = venue.order().json()
        assert (order["status"], order["expires_at"]) == ("accepted", "2026-11-23T21:00:00.000000Z")
        set_clock(venue, MONDAY_TEN)
        assert venue.reaches(order["id"], "filled")["filled_qty"] == "1"


def test_c615_an_order_is_pending_new_then_new_then_filled(market: Venue) -> None:
    with listening(market) as socket:
        order = market.order("AMZN", client_order_id="steps").json()
        assert order["status"] == "pending_new"
        seen = [each for each in updates(socket, "fill") if each["order"]["id"] == order["id"]]
    assert [each["event"] for each in seen] == ["pending_new", "new", "fill"]
    assert (seen[0]["execution_id"], bool(seen[1]["execution_id"])) == (None, True)


def test_c616_a_thin_quote_fills_in_parts(market: Venue) -> None:
    market.quote("IBM", "225.00", "225.10", ask_size=4)
    order = market.order("IBM", qty="10").json()
    part = market.reaches(order["id"], "partially_filled")
    assert (part["filled_qty"], part["qty"]) == ("4", "10")
    market.quote("IBM", "225.00", "225.20")
    whole = market.reaches(order["id"], "filled")
    assert (whole["filled_qty"], whole["filled_avg_price"]) == ("10", "225.16")


def test_c617_what_is_left_of_a_day_order_expires_at_the_close(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        day, gtc = venue.order(**LIMIT).json(), venue.order(time_in_force="gtc", **LIMIT).json()
        venue.reaches(day["id"], "new")
        set_clock(venue, datetime(2026, 11, 23, 21, 0, tzinfo=UTC))
        assert venue.reaches(day["id"], "expired")["expired_at"]
        assert venue.status(gtc["id"]) == "new"


def test_c618_a_fill_can_win_against_a_cancel(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path, cancel_latency_ms=300)) as running:
        venue = connect(running)
        venue.quote("AAPL", "180.44", "180.48")
        order = venue.order(**LIMIT).json()
        venue.reaches(order["id"], "new")
        with listening(venue) as socket:
            assert venue.call("DELETE", f"/v2/orders/{order['id']}").status_code == 204
            venue.quote("AAPL", "169.00", "169.05")
            seen = [each["event"] for each in updates(socket, "order_cancel_rejected")]
        assert seen == ["pending_cancel", "fill", "order_cancel_rejected"]
        assert venue.status(order["id"]) == "filled"


def test_c619_replacements_are_a_chain_of_orders(market: Venue) -> None:
    ids = [market.order("SPY", qty="9", type="limit", limit_price="100").json()["id"]]
    for price in ("101", "102"):
        market.reaches(ids[-1], "new")
        answer = market.call("PATCH", f"/v2/orders/{ids[-1]}", json={"limit_price": price})
        assert answer.json()["replaces"] == ids[-1]
        ids.append(answer.json()["id"])
    market.reaches(ids[-1], "new")
    chain = [market.call("GET", f"/v2/orders/{each}").json() for each in ids]
    assert [each["status"] for each in chain] == ["replaced", "replaced", "new"]
    assert [each["replaced_by"] for each in chain] == [ids[1], ids[2], None]
    assert len({each["client_order_id"] for each in chain}) == 3


def test_c620_trade_updates_are_binary_with_growing_ids_and_executions(market: Venue) -> None:
    with listening(market) as socket:
        market.order("QQQ", qty="2")
        market.order("QQQ", qty="3")
        seen = updates(socket, "fill") + updates(socket, "fill")
    event_ids = [each["event_id"] for each in seen]
    assert event_ids == sorted(set(event_ids))
    executions = [each["execution_id"] for each in seen if each["event"] == "fill"]
    assert len(set(executions)) == 2
    assert all(executions)


@pytest.mark.parametrize(
    ("action", "told"), [("drop_frame", 0), ("duplicate_frame", 2), ("corrupt_frame", None)]
)
def test_c621_frames_can_be_lost_doubled_and_bad(market: Venue, action: str, told: int | None) -> None:
    match = {"stream": "trade_updates", "event": "new"}
    market.call("POST", "/_exchange/faults", json={"match": match, "action": action})
    with listening(market) as socket:
        market.order("BAC")
        if told is None:
            with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
                updates(socket, "fill")
        else:
            assert [each["event"] for each in updates(socket, "fill")].count("new") == told


def test_c622_fills_are_listed_by_pages_of_100_after_an_exclusive_moment(market: Venue) -> None:
    """How: 101 executions; ids begin with New York's time, the moments are UTC."""
    market.quote("AIG", "77.00", "77.02", ask_size=1)
    order = market.order("AIG", qty="101").json()
    market.reaches(order["id"], "partially_filled")
    for _ in range(100):
        market.quote("AIG", "77.00", "77.02", ask_size=1)
    market.reaches(order["id"], "filled")
    path, rows = "/v2/account/activities/FILL", []
    query = {"direction": "asc"}
    while len(page := market.call("GET", path, params=query).json()) == 100:
        rows += page
        query |= {"page_token": page[-1]["id"]}
    rows += page
    ours = [row for row in rows if row["order_id"] == order["id"]]
    assert [row["cum_qty"] for row in ours] == [str(number) for number in range(1, 102)]
    assert ours[0]["id"].startswith("2026112310")
    assert ours[0]["transaction_time"].startswith("2026-11-23T15:")
    after = {"direction": "asc", "after": ours[-1]["transaction_time"]}
    assert ours[-1]["id"] not in {row["id"] for row in market.call("GET", path, params=after).json()}


@pytest.mark.parametrize(
    ("action", "status", "text", "lands"),
    [
        ("status_429", 429, '{"code":42910000', False),
        ("status_500", 500, '{"code":50010000', False),
        ("status_502", 502, "<html>", False),
        ("status_503", 503, "", False),
        ("status_504_after_landing", 504, "<html>", True),
        ("drop_before_landing", None, "", False),
        ("drop_after_landing", None, "", True),
        ("hang_after_landing", None, "", True),
    ],
)
def test_c623_a_post_can_fail_before_and_after_it_landed(
    market: Venue, action: str, status: int | None, text: str, lands: bool
) -> None:
    market.fault(action)
    try:
        answer = market.order("NVDA", client_order_id=f"c623-{action}", request_timeout=0.5)
    except (requests.Timeout, requests.ConnectionError):
        assert status is None
    else:
        assert answer.status_code == status
        assert answer.text.startswith(text)
        assert bool(answer.text) == bool(text)
    path = f"/v2/orders:by_client_order_id?client_order_id=c623-{action}"
    assert market.call("GET", path).status_code == (200 if lands else 404)


def test_c624_a_body_can_come_slowly(market: Venue) -> None:
    market.fault("slow_body", method="GET", path="/v2/account", latency_ms=60_000)
    with pytest.raises(requests.exceptions.ConnectionError):
        market.call("GET", "/v2/account", timeout=0.2)


def test_c625_a_read_can_be_older_than_the_last_write(market: Venue) -> None:
    listing = "/v2/orders?status=all&symbols=AMZN&limit=500"
    before = market.call("GET", listing).json()
    order = market.order("AMZN", client_order_id="unseen").json()
    by_id = "/v2/orders:by_client_order_id?client_order_id=unseen"
    for path in ("/v2/orders", "/v2/orders:by_client_order_id"):
        market.fault("stale_read", method="GET", path=path)
    assert market.call("GET", listing).json() == before
    assert market.call("GET", by_id).status_code == 404
    assert market.call("GET", by_id).json()["id"] == order["id"]
    assert order["id"] in {row["id"] for row in market.call("GET", listing).json()}


def test_c626_an_accepted_order_can_be_rejected(market: Venue) -> None:
    match = {"client_order_id": "late-no"}
    market.call("POST", "/_exchange/faults", json={"match": match, "action": "reject_order"})
    answer = market.order("MSFT", client_order_id="late-no")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending_new")
    assert market.reaches(answer.json()["id"], "rejected")["failed_at"]


@pytest.mark.parametrize("skew_ms", [-90_000, 90_000])
def test_c627_the_clock_can_be_off(market: Venue, skew_ms: int) -> None:
    def told() -> datetime:
        return datetime.fromisoformat(market.call("GET", "/v2/clock").json()["timestamp"])

    market.fault("skewed_clock", method="GET", path="/v2/clock", skew_ms=skew_ms)
    first, second = told(), told()
    assert abs((first - second).total_seconds() - skew_ms / 1000) < WAIT_SECONDS


def test_c628_a_socket_can_be_mute_and_a_new_one_be_refused(market: Venue) -> None:
    mute = {"match": {"stream": "data/iex"}, "action": "drop_frame", "times": 1_000_000}
    market.call("POST", "/_exchange/faults", json=mute)
    with dial(market, "/v2/iex") as socket:
        socket.recv(timeout=WAIT_SECONDS)
        ask(socket, AUTH)
        ask(socket, {"action": "subscribe", "quotes": ["*"]})
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.6)
    market.call("DELETE", "/_exchange/faults")
    for match, path in (({"stream": "trade_updates"}, "/stream"), ({"stream": "data/iex"}, "/v2/iex")):
        market.call("POST", "/_exchange/faults", json={"match": match, "action": "refuse_socket"})
        with pytest.raises(InvalidStatus):
            dial(market, path)
    cut = {"match": {"stream": "trade_updates"}, "action": "cut_socket"}
    market.call("POST", "/_exchange/faults", json=cut)
    with listening(market) as socket:
        market.order("MSFT")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=WAIT_SECONDS)
    wait_until(lambda: market.summary()["faults"].get("cut_socket") == 1)
    assert json.loads(market.call("GET", "/_exchange/faults").text) == []
