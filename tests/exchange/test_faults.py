"""Ordered faults: what lands, what does not, and what the client sees of it."""

import json
import threading
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, refusal, settings, wait_until
from tests.exchange.test_streams import AUTH, ask, dial, listening, updates

LANDS = {"status_504_after_landing": 504, "drop_after_landing": None, "hang_after_landing": None}
DOES_NOT_LAND = {
    "status_504_before_landing": 504,
    "drop_before_landing": None,
    "status_404": 404,
    "status_429": 429,
    "status_500": 500,
    "status_502": 502,
    "status_503": 503,
}


@pytest.mark.parametrize(("action", "status"), [*LANDS.items(), *DOES_NOT_LAND.items()])
def test_each_fault_lands_or_not_and_is_used_up(shared: Venue, action: str, status: int | None) -> None:
    shared.fault(action)
    try:
        patience = {"request_timeout": 0.3} if action.startswith("hang") else {}
        answer = shared.order("AIG", client_order_id=f"f-{action}", **patience).status_code
    except (requests.Timeout, requests.ConnectionError):
        answer = None
    assert answer == status
    path = f"/v2/orders:by_client_order_id?client_order_id=f-{action}"
    assert shared.call("GET", path).status_code == (200 if action in LANDS else 404)
    summary = shared.summary()
    assert summary["posts"][f"f-{action}"] == 1
    assert summary["faults"][action] == 1
    assert shared.call("GET", "/_exchange/faults").json() == []
    assert shared.order("AIG").status_code == 200


def test_a_dropped_answer_looks_to_the_client_like_a_lost_connection(shared: Venue) -> None:
    shared.fault("drop_after_landing", method="GET", path="/v2/account")
    with pytest.raises(requests.ConnectionError):
        shared.client.get_account()
    assert shared.client.get_account().status == "ACTIVE"


def test_faults_match_by_path_pattern_and_order_and_can_be_taken_back(shared: Venue) -> None:
    shared.fault("status_500", method="GET", path="/v2/orders*", times=2, skip=1)
    answers = [shared.call("GET", "/v2/orders").status_code for _ in range(2)]
    assert answers == [200, 500]
    (pending,) = shared.call("GET", "/_exchange/faults").json()
    assert (pending["times"], pending["skip"]) == (1, 0)
    assert shared.call("DELETE", "/_exchange/faults").status_code == 200
    assert shared.call("GET", "/v2/orders").status_code == 200
    wanted = {"match": {"client_order_id": "picked"}, "action": "status_500"}
    shared.call("POST", "/_exchange/faults", json=wanted)
    assert shared.order("AIG", client_order_id="other").status_code == 200
    assert shared.order("AIG", client_order_id="picked").status_code == 500


def test_latency_delays_only_the_matching_request(shared: Venue) -> None:
    shared.fault("latency_ms", latency_ms=60_000, method="GET", path="/v2/clock")
    with pytest.raises(requests.Timeout):
        shared.call("GET", "/v2/clock", timeout=0.2)
    assert shared.call("GET", "/v2/clock").status_code == 200


def test_a_fault_that_makes_no_sense_is_refused(shared: Venue) -> None:
    for body in ({"action": "explode"}, {"action": "latency_ms"}, {"action": "status_500", "when": 1}):
        assert shared.call("POST", "/_exchange/faults", json=body).status_code == 422
    assert shared.call("GET", "/_exchange/faults").json() == []


def test_a_hang_ends_when_the_exchange_stops(tmp_path: Path) -> None:
    outcome: list[str] = []

    def post(venue: Venue) -> None:
        try:
            venue.order(client_order_id="hung")
        except requests.ConnectionError as error:
            outcome.append(type(error).__name__)

    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        venue.fault("hang_after_landing")
        thread = threading.Thread(target=post, args=(connect(running),))
        thread.start()
        wait_until(lambda: venue.summary()["faults"].get("hang_after_landing") == 1)
        assert venue.client.get_order_by_client_id("hung").client_order_id == "hung"
        assert thread.is_alive()
    thread.join(10)
    assert outcome == ["ConnectionError"]


def test_the_client_itself_repeats_a_504_and_learns_it_from_the_duplicate(venue: Venue) -> None:
    venue.client._retry_wait = 0
    venue.fault("status_504_after_landing")
    request = {"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day"}
    error = refusal(lambda: venue.client.post("/orders", request | {"client_order_id": "twice"}))
    assert error.message == "client_order_id must be unique"
    summary = venue.summary()
    assert (summary["posts"]["twice"], summary["accepted_orders"]["twice"]) == (2, 1)


def test_proxy_answers_are_html_or_empty_and_carry_no_code(shared: Venue) -> None:
    for action, body in (
        ("status_502", "<html>"),
        ("status_503", ""),
        ("status_504_before_landing", "<html>"),
    ):
        shared.fault(action, method="GET", path="/v2/clock")
        answer = shared.call("GET", "/v2/clock")
        assert answer.text.startswith(body)
        assert bool(answer.text) == bool(body)


def test_a_slow_body_is_whole_in_the_end(shared: Venue) -> None:
    shared.fault("slow_body", method="GET", path="/v2/account", latency_ms=60_000)
    with pytest.raises(requests.exceptions.ConnectionError):
        shared.call("GET", "/v2/account", timeout=0.3)
    shared.fault("slow_body", method="GET", path="/v2/account", latency_ms=20)
    assert shared.client.get_account().status == "ACTIVE"


def test_an_accepted_order_can_be_rejected_by_the_venue(venue: Venue) -> None:
    fault = {"match": {"client_order_id": "late-no"}, "action": "reject_order"}
    venue.call("POST", "/_exchange/faults", json=fault)
    with listening(venue) as socket:
        order = venue.order(client_order_id="late-no").json()
        assert order["status"] == "pending_new"
        seen = updates(socket, "rejected")
    assert seen[-1]["order"]["failed_at"]
    assert venue.status(order["id"]) == "rejected"
    assert venue.client.get_account().cash == "100000"


def test_a_cancel_can_stay_pending(venue: Venue) -> None:
    order = venue.order(type="limit", limit_price="100").json()
    venue.reaches(order["id"], "new")
    venue.call("POST", "/_exchange/faults", json={"match": {"symbol": "AAPL"}, "action": "delay_venue"})
    venue.client.cancel_order_by_id(order["id"])
    wait_until(lambda: venue.summary()["faults"].get("delay_venue") == 1)
    assert venue.status(order["id"]) == "pending_cancel"
    venue.client.cancel_order_by_id(order["id"])
    assert venue.status(order["id"]) == "pending_cancel"


def test_frames_can_be_lost_doubled_swapped_torn_and_cut(venue: Venue) -> None:
    def fault(action: str, event: str) -> None:
        match = {"stream": "trade_updates", "event": event}
        assert (
            venue.call("POST", "/_exchange/faults", json={"match": match, "action": action}).status_code
            == 200
        )

    def names(client_order_id: str) -> list[str]:
        with listening(venue) as socket:
            venue.order(client_order_id=client_order_id)
            return [update["event"] for update in updates(socket, "fill")]

    fault("drop_frame", "new")
    assert names("lost") == ["pending_new", "fill"]
    fault("duplicate_frame", "new")
    assert names("doubled") == ["pending_new", "new", "new", "fill"]
    fault("swap_frames", "pending_new")
    assert names("swapped") == ["new", "pending_new", "fill"]
    fault("corrupt_frame", "pending_new")
    with listening(venue) as socket:
        torn = venue.order(client_order_id="torn").json()
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(socket.recv(timeout=10))
    # Its later frames must not reach the next socket.
    venue.reaches(torn["id"], "filled")
    fault("cut_socket", "pending_new")
    with listening(venue) as socket:
        venue.order(client_order_id="cut")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    assert venue.summary()["faults"]["cut_socket"] == 1


def test_a_handshake_can_be_refused_and_a_data_socket_be_mute(venue: Venue) -> None:
    refused = {"match": {"stream": "trade_updates"}, "action": "refuse_socket"}
    venue.call("POST", "/_exchange/faults", json=refused)
    with pytest.raises(InvalidStatus), listening(venue):
        pass
    mute = {"match": {"stream": "data/*"}, "action": "drop_frame", "times": 1_000_000}
    venue.call("POST", "/_exchange/faults", json=mute)
    with dial(venue, "/v2/iex") as socket:
        socket.recv(timeout=10)
        ask(socket, AUTH)
        ask(socket, {"action": "subscribe", "quotes": ["*"]})
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.6)
        venue.call("DELETE", "/_exchange/faults")
        assert json.loads(socket.recv(timeout=10))[0]["T"] == "q"
