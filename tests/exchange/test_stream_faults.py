"""Faults of sockets, of the venue's answers and of executions, over real connections."""

import contextlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, settings, wait_until
from tests.exchange.test_streams import dial, listening, updates


def test_a_stuck_cancel_shows_pending_and_ends_late_or_never(venue: Venue) -> None:
    order = venue.order(type="limit", limit_price="100").json()
    venue.reaches(order["id"], "new")
    stuck = {"action": "stuck_cancel", "latency_ms": 60_000}
    assert venue.call("POST", "/_exchange/faults", json=stuck).status_code == 200
    assert venue.call("DELETE", f"/v2/orders/{order['id']}").status_code == 204
    wait_until(lambda: venue.summary()["faults"].get("stuck_cancel") == 1)
    assert venue.status(order["id"]) == "pending_cancel"
    # The fill wins: the venue still works an order whose cancel it has not confirmed.
    venue.quote("AAPL", "99.00", "99.50")
    assert venue.reaches(order["id"], "filled")["filled_avg_price"] == "99.5"
    late = venue.order(type="limit", limit_price="90").json()
    venue.reaches(late["id"], "new")
    venue.call("POST", "/_exchange/faults", json={"action": "stuck_cancel", "latency_ms": 50})
    venue.client.cancel_order_by_id(late["id"])
    venue.reaches(late["id"], "canceled")


def test_a_mute_socket_stands_and_answers_pings_until_it_speaks_again(venue: Venue) -> None:
    mute = {"match": {"stream": "trade_updates"}, "action": "mute_socket", "lasts_ms": 400}
    venue.call("POST", "/_exchange/faults", json=mute)
    with listening(venue) as socket:
        lost = venue.order(client_order_id="lost").json()
        venue.reaches(lost["id"], "filled")
        assert socket.ping().wait(10)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.05)
        with listening(venue) as other:
            told = venue.order(client_order_id="told").json()
            assert updates(other, "fill")[-1]["order"]["id"] == told["id"], "only the old socket is mute"

        def speaks_again() -> bool:
            venue.order()
            with contextlib.suppress(TimeoutError):
                return bool(socket.recv(timeout=0.1))
            return False

        wait_until(speaks_again)
    assert venue.summary()["faults"] == {"mute_socket": 1}


def test_a_deaf_socket_answers_no_ping_until_it_hears_again(venue: Venue) -> None:
    deaf = {"match": {"stream": "trade_updates"}, "action": "deaf_socket", "lasts_ms": 400}
    venue.call("POST", "/_exchange/faults", json=deaf)
    with listening(venue) as socket:
        venue.order()
        wait_until(lambda: venue.summary()["faults"].get("deaf_socket") == 1)
        pong = socket.ping()
        assert not pong.wait(0.1)
        assert pong.wait(10), "what came while it was deaf is heard in the end"


def test_a_deaf_socket_ends_with_its_client_and_with_the_exchange(tmp_path: Path) -> None:
    deaf = {"match": {"stream": "trade_updates"}, "action": "deaf_socket", "times": 2}
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        venue.call("POST", "/_exchange/faults", json=deaf)
        with listening(venue) as socket:
            venue.order()
            wait_until(lambda: venue.summary()["faults"].get("deaf_socket") == 2)
            socket.close_timeout = 0.1
        venue.call("POST", "/_exchange/faults", json=deaf)
        stays = contextlib.ExitStack()
        last = stays.enter_context(listening(venue))
        venue.order()
        wait_until(lambda: venue.summary()["faults"].get("deaf_socket") == 4)
    with stays, pytest.raises(ConnectionClosed):
        last.recv(timeout=10)


def test_a_swapped_frame_that_nothing_overtakes_comes_late(venue: Venue) -> None:
    swap = {"match": {"stream": "trade_updates", "event": "fill"}, "action": "swap_frames"}
    venue.call("POST", "/_exchange/faults", json=swap)
    with listening(venue) as socket:
        venue.order()
        assert [update["event"] for update in updates(socket, "fill")] == ["pending_new", "new", "fill"]
    assert venue.summary()["faults"] == {"swap_frames": 1}


def test_sockets_are_refused_for_a_time_or_while_there_is_one(venue: Venue) -> None:
    def order(action: str, **options: object) -> None:
        body = {"match": {"stream": "trade_updates"}, "action": action, **options}
        assert venue.call("POST", "/_exchange/faults", json=body).status_code == 200

    def opens() -> bool:
        try:
            with dial(venue, "/stream"):
                return True
        except InvalidStatus:
            return False

    order("refuse_socket", lasts_ms=300)
    assert not opens()
    assert not opens()
    wait_until(opens)
    with dial(venue, "/stream"):
        order("refuse_second_socket", lasts_ms=300, times=None)
        assert not opens()
    assert not opens(), "the broker has not noticed yet that the first one is gone"
    wait_until(opens)
    assert venue.summary()["faults"]["refuse_second_socket"] >= 2


def test_the_venue_can_bust_and_correct_what_it_executed(venue: Venue) -> None:
    cash = Decimal(venue.client.get_account().cash)
    venue.quote("AAPL", "180.00", "180.10")
    for fault in (
        {"match": {"client_order_id": "gone"}, "action": "bust_fill"},
        {"match": {"client_order_id": "mended"}, "action": "correct_fill", "price": "180.05", "qty": "3"},
    ):
        assert venue.call("POST", "/_exchange/faults", json=fault).status_code == 200
    with listening(venue) as socket:
        venue.order(client_order_id="gone", qty="4")
        bust = updates(socket, "trade_bust")
        venue.order(client_order_id="mended", qty="4")
        correction = updates(socket, "trade_correct")
    fill, told = correction[-2:]
    assert bust[-1]["previous_execution_id"] == bust[-2]["execution_id"]
    assert told["previous_execution_id"] == fill["execution_id"] != told["execution_id"]
    assert (told["qty"], told["price"], told["order"]["filled_qty"]) == ("3", "180.05", "3")
    assert told["order"]["filled_avg_price"] == "180.05"
    (row,) = venue.call("GET", "/v2/account/activities/FILL").json()
    assert (row["qty"], row["price"], row["cum_qty"]) == ("3", "180.05", "3")
    assert Decimal(venue.client.get_account().cash) == cash - 3 * Decimal("180.05")
    assert venue.client.get_open_position("AAPL").qty == "3"
    again = {"execution_id": told["execution_id"], "qty": "5"}
    assert venue.call("POST", "/_exchange/correct", json=again).status_code == 422, "the order is for 4"
    again["qty"] = "2"
    assert venue.call("POST", "/_exchange/correct", json=again).status_code == 200
    assert venue.client.get_open_position("AAPL").qty == "2"


def test_a_correction_survives_a_restart(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        order = venue.reaches(venue.order(qty="2").json()["id"], "filled")
        rows = [json.loads(line) for line in venue.call("GET", "/_exchange/ledger").text.splitlines()]
        execution = next(row["execution_id"] for row in rows if row["kind"] == "order_executed")
        body = {"execution_id": execution, "price": "1.25"}
        assert venue.call("POST", "/_exchange/correct", json=body).status_code == 200
        before = venue.client.get_account().cash
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        assert venue.client.get_account().cash == before == "99997.5"
        assert venue.client.get_order_by_id(order["id"]).filled_avg_price == "1.25"


def test_a_request_can_hang_and_never_land(shared: Venue) -> None:
    shared.fault("hang_before_landing")
    with pytest.raises((requests.Timeout, requests.ConnectionError)):
        shared.order("AIG", client_order_id="hung-before", request_timeout=0.3)
    path = "/v2/orders:by_client_order_id?client_order_id=hung-before"
    assert shared.call("GET", path).status_code == 404
