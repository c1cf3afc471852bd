"""What moves the account without a trade of ours: fees, transfers, busts; and lists that come short."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, settings
from tests.exchange.test_streams import listening, updates


def test_adjustments_and_busts_move_the_account_and_survive_a_restart(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        cash = Decimal(venue.call("GET", "/v2/account").json()["cash"])
        venue.quote("AAPL", "180.00", "180.10")
        with listening(venue) as socket:
            order = venue.reaches(venue.order(qty="10").json()["id"], "filled")
            fill = updates(socket, "fill")[-1]
            control(venue, "bust", execution_id=fill["execution_id"])
            bust = updates(socket, "trade_bust")[-1]
        assert bust["previous_execution_id"] == fill["execution_id"] != bust["execution_id"]
        assert (bust["qty"], bust["price"], bust["order"]["filled_qty"]) == ("10", fill["price"], "0")
        assert venue.call("GET", "/v2/account/activities/FILL").json() == []
        control(venue, "adjust", cash="-1.25", activity_type="FEE", description="TAF fee")
        control(venue, "adjust", cash="100")
        control(venue, "adjust", symbol="MSFT", qty="7")
        before = state(venue)
        assert before["cash"] == cash + Decimal("98.75")
        assert before["held"] == {"MSFT": "7"}
        (fee,) = before["activities"]
        assert (fee["activity_type"], fee["net_amount"], fee["status"]) == ("FEE", "-1.25", "executed")
        assert venue.call("GET", f"/v2/orders/{order['id']}").json()["filled_qty"] == "0"
        again = venue.call("POST", "/_exchange/bust", json={"execution_id": fill["execution_id"]})
        assert again.status_code == 422, "an execution is taken back once"
    with start_in_thread(settings(tmp_path)) as running:
        assert state(connect(running)) == before


def control(venue: Venue, path: str, **body: Any) -> None:
    answer = venue.call("POST", f"/_exchange/{path}", json=body)
    assert answer.status_code == 200, answer.text


def state(venue: Venue) -> dict[str, Any]:
    return {
        "cash": Decimal(venue.call("GET", "/v2/account").json()["cash"]),
        "held": {row["symbol"]: row["qty"] for row in venue.call("GET", "/v2/positions").json()},
        "activities": venue.call("GET", "/v2/account/activities?category=non_trade_activity").json(),
    }


def test_a_short_list_is_half_of_the_whole(shared: Venue) -> None:
    for symbol in ("AAPL", "MSFT"):
        control(shared, "adjust", symbol=symbol, qty="1")
    whole = shared.call("GET", "/v2/positions").json()
    shared.fault("short_list", method="GET", path="/v2/positions")
    assert shared.call("GET", "/v2/positions").json() == whole[: len(whole) // 2]
    shared.fault("empty_list", method="GET", path="/v2/positions")
    assert shared.call("GET", "/v2/positions").json() == []
    assert len(shared.call("GET", "/v2/positions").json()) == len(whole) >= 2
