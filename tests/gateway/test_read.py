"""Reading back: each token sees its own and nothing else."""

import pytest

from storage.orders import read_order
from tests.gateway.conftest import ANY_TOKEN, OTHER_TOKEN, Gateway, bearer, signal


@pytest.fixture
async def with_two_owners(gateway: Gateway) -> Gateway:
    """``mine`` belongs to momentum, ``theirs`` to carry."""
    await gateway.submit(signal("mine", rationale="free text"))
    await gateway.submit(signal("theirs", strategy="carry", ticker="MSFT"), OTHER_TOKEN)
    return gateway


async def test_a_signal_is_read_with_its_order(with_two_owners: Gateway) -> None:
    answer = await with_two_owners.http.get("/v1/signals/mine", headers=bearer())
    assert answer.status_code == 200
    body = answer.json()
    assert (body["signal_id"], body["strategy"], body["decision"]) == ("mine", "momentum", None)
    assert (body["order"]["status"], body["order"]["quantity"]) == ("CREATED", "10")
    assert "free text" not in answer.text


@pytest.mark.parametrize("path", ["/v1/signals/{}", "/v1/signals/{}/timeline", "/v1/orders/{}"])
async def test_others_and_unknown_ones_look_the_same(with_two_owners: Gateway, path: str) -> None:
    answers = [
        await with_two_owners.http.get(path.format(signal_id), headers=bearer())
        for signal_id in ("theirs", "unknown", "%00", "a" * 200, "x%2Fy")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["error"]["code"] for answer in answers} == {"NOT_FOUND"}
    assert answers[0].json() == answers[1].json()


async def test_even_a_token_for_any_strategy_reads_its_own_only(with_two_owners: Gateway) -> None:
    answer = await with_two_owners.http.get("/v1/signals/mine", headers=bearer(ANY_TOKEN))
    assert answer.status_code == 404


async def test_an_order_is_found_by_any_of_its_ids(with_two_owners: Gateway) -> None:
    async with with_two_owners.database.connection() as connection:
        await connection.execute(
            "update orders set client_order_id = 'ti-1', broker_order_id = 'b-1' where signal_id = 'mine'"
        )
        order = await read_order(connection, "mine")
    for some_id in ("mine", "ti-1", "b-1", str(order.internal_order_id)):
        answer = await with_two_owners.http.get(f"/v1/orders/{some_id}", headers=bearer())
        assert answer.json() == order.view.model_dump(mode="json")


async def test_the_list_has_own_signals_newest_first(with_two_owners: Gateway) -> None:
    await with_two_owners.submit(signal("later"))
    answer = await with_two_owners.http.get("/v1/signals", headers=bearer())
    assert [found["signal_id"] for found in answer.json()["signals"]] == ["later", "mine"]
    first = await with_two_owners.http.get("/v1/signals?limit=1", headers=bearer())
    assert [found["signal_id"] for found in first.json()["signals"]] == ["later"]


@pytest.mark.parametrize("limit", ["0", "-1", "101", "many", "1.5"])
async def test_a_wrong_limit_is_refused_by_name(gateway: Gateway, limit: str) -> None:
    answer = await gateway.http.get(f"/v1/signals?limit={limit}", headers=bearer())
    assert answer.status_code == 422
    assert answer.json()["error"]["fields"][0]["field"] == "limit"


async def test_the_timeline_tells_who_did_what(with_two_owners: Gateway) -> None:
    answer = await with_two_owners.http.get("/v1/signals/mine/timeline", headers=bearer())
    (entry,) = answer.json()["entries"]
    assert (entry["component"], entry["actor"], entry["decision"]) == (
        "Gateway",
        "momentum",
        "SIGNAL_ACCEPTED",
    )


@pytest.mark.parametrize(
    "path", ["/v1/signals", "/v1/signals/mine", "/v1/signals/mine/timeline", "/v1/orders/mine"]
)
async def test_reading_needs_a_token(with_two_owners: Gateway, path: str) -> None:
    assert (await with_two_owners.http.get(path)).status_code == 401
