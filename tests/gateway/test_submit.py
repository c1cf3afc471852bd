"""POST /v1/signals: taken once, by whom it may be, and durably before anything else."""

import asyncio
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from gateway.app import build_app
from observability.logging import configure_logging, restore_logging
from schemas.wire import order_workflow_id
from storage.orders import read_order
from storage.signals import read_signal
from tests.gateway.conftest import ANY_TOKEN, OTHER_TOKEN, Gateway, bearer, gateway_on, signal


async def test_a_signal_is_stored_then_started(gateway: Gateway) -> None:
    answer = await gateway.submit(signal("sig-1"))
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/signals/sig-1"
    assert answer.json() == {
        "signal_id": "sig-1",
        "status": "ACCEPTED",
        "workflow_id": order_workflow_id("sig-1"),
        "links": {
            "signal": "/v1/signals/sig-1",
            "order": "/v1/orders/sig-1",
            "timeline": "/v1/signals/sig-1/timeline",
        },
    }
    async with gateway.database.connection() as connection:
        row = await read_signal(connection, "sig-1")
        order = await read_order(connection, "sig-1")
    assert [row.proposal] == gateway.starter.started
    assert order.status == "CREATED"
    audited = await gateway.count("audit_log where correlation_id = 'sig-1'")
    assert (await gateway.count("events"), audited) == (1, 1)


async def test_the_same_signal_again_gets_the_first_answer_again(gateway: Gateway) -> None:
    body = signal("sig-1")
    first = await gateway.submit(body)
    again = await gateway.submit(body)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await gateway.count("signals") == 1


async def test_one_number_written_in_two_ways_is_the_same_content(gateway: Gateway) -> None:
    body = signal("sig-1", quantity="10", limit_price="180.50")
    await gateway.submit(body)
    again = await gateway.submit(body | {"quantity": 10, "limit_price": 180.5})
    assert again.status_code == 202
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_other_content_under_the_same_id_conflicts(gateway: Gateway) -> None:
    body = signal("sig-1")
    await gateway.submit(body)
    answer = await gateway.submit(body | {"quantity": "11"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "SIGNAL_CONFLICT"
    assert await gateway.count("signals") == 1


async def test_another_tokens_id_conflicts_and_shows_nothing_of_it(gateway: Gateway) -> None:
    await gateway.submit(signal("sig-1", rationale="a secret reason"), ANY_TOKEN)
    answer = await gateway.submit(signal("sig-1", strategy="carry", ticker="MSFT"), OTHER_TOKEN)
    assert answer.status_code == 409
    for content in ("momentum", "AAPL", "180.5", "secret"):
        assert content not in answer.text


async def test_a_repeat_of_an_unstarted_signal_starts_it(gateway: Gateway) -> None:
    gateway.starter.down = True
    body = signal("sig-1")
    assert (await gateway.submit(body)).status_code == 202, "the signal is durable without Temporal"
    assert gateway.starter.started == []
    gateway.starter.down = False
    await gateway.submit(body)
    assert [proposal.signal_id for proposal in gateway.starter.started] == ["sig-1"]


async def test_a_repeat_of_a_settled_signal_starts_nothing(gateway: Gateway) -> None:
    body = signal("sig-1")
    await gateway.submit(body)
    async with gateway.database.connection() as connection:
        await connection.execute("update orders set status = 'REJECTED', settled_at = now()")
    gateway.starter.started.clear()
    assert (await gateway.submit(body)).status_code == 202
    assert gateway.starter.started == []


async def test_sixty_four_at_once_and_each_twice(gateway: Gateway) -> None:
    bodies = [signal(f"sig-{number}") for number in range(64)]
    answers = await asyncio.gather(*(gateway.submit(body) for body in bodies * 2))
    assert {answer.status_code for answer in answers} == {202}
    assert (await gateway.count("signals"), await gateway.count("orders")) == (64, 64)
    assert await gateway.count("events") == 64


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dTpw"}, bearer("x" * 300)]
)
async def test_without_a_valid_token_nothing_is_taken(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = await gateway.http.post("/v1/signals", json=signal(), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"
    assert await gateway.count("signals") == 0


async def test_a_revoked_token_is_refused(gateway: Gateway) -> None:
    async with gateway.database.connection() as connection:
        await connection.execute("update api_tokens set revoked_at = now() where name = 'momentum'")
    assert (await gateway.submit(signal())).status_code == 401


async def test_a_token_speaks_for_its_own_strategy_only(gateway: Gateway) -> None:
    answer = await gateway.submit(signal(strategy="carry"))
    assert answer.status_code == 403
    assert answer.json()["error"]["fields"][0]["field"] == "strategy"
    assert await gateway.count("signals") == 0


async def test_the_log_says_what_was_taken_and_why_the_rest_was_not(gateway: Gateway) -> None:
    log = io.StringIO()
    configure_logging("gateway", json=True, stream=log)
    try:
        body, ahead = signal("sig-1"), datetime.now(UTC) + timedelta(minutes=6)
        for each in (
            body, body, body | {"quantity": "11"}, signal("sig-2", strategy="carry"),
            signal("sig-3", created_at=ahead.isoformat()),
        ):  # fmt: skip
            await gateway.submit(each)
    finally:
        restore_logging()
    lines = [line for each in log.getvalue().splitlines() if "duration_ms" in (line := json.loads(each))]
    assert all(line["duration_ms"] >= 0 for line in lines)
    told = [(line["event"], line["signal_id"], line.get("new", line.get("code"))) for line in lines]
    assert told == [
        ("signal accepted", "sig-1", True), ("signal accepted", "sig-1", False),
        ("signal refused", "sig-1", "SIGNAL_CONFLICT"), ("signal refused", "sig-2", "STRATEGY_FORBIDDEN"),
        ("signal refused", "sig-3", "INVALID_SIGNAL"),
    ]  # fmt: skip
    assert lines[-1]["fields"][0].startswith("created_at: ")


async def test_validity_is_capped_by_our_clock(gateway: Gateway) -> None:
    created = datetime.now(UTC) - timedelta(minutes=2)
    await gateway.submit(
        signal("long", created_at=created.isoformat(), valid_until=(created + timedelta(days=1)).isoformat())
    )
    await gateway.submit(signal("none", created_at=created.isoformat()))
    short = created + timedelta(seconds=150)
    await gateway.submit(signal("short", created_at=created.isoformat(), valid_until=short.isoformat()))
    capped = created + timedelta(minutes=5)
    assert [proposal.valid_until for proposal in gateway.starter.started] == [capped, capped, short]


async def test_a_clock_running_ahead_gains_no_validity(gateway: Gateway) -> None:
    await gateway.submit(signal("ahead", created_at=(datetime.now(UTC) + timedelta(seconds=4)).isoformat()))
    (proposal,) = gateway.starter.started
    assert proposal.valid_until <= datetime.now(UTC) + timedelta(minutes=5)


async def test_the_database_away_is_said_and_may_be_tried_again(gateway: Gateway) -> None:
    """How: it only lets itself be read, then it is gone."""
    async with gateway.database.connection() as connection:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    await gateway.database._pool.expire_connections()
    for _ in range(2):
        answer = await gateway.submit(signal())
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "UNAVAILABLE"
        assert answer.headers["Retry-After"] == "1"
        await gateway.database.close()


async def test_a_gateway_whose_clock_is_wrong_takes_nothing_and_says_so(database: str) -> None:
    """It could not say how old a signal is."""
    async with gateway_on(database) as gateway:
        faults = ["its clock is off by +5 s", None]
        deps = replace(gateway.deps, clock_fault=lambda: faults[0])
        transport = httpx2.ASGITransport(app=build_app(deps))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
            refused = await http.post("/v1/signals", json=signal("late"), headers=bearer())
            assert (refused.status_code, refused.json()["error"]["message"]) == (503, faults[0])
            assert (await http.get("/readyz")).json()["checks"]["clock"] == faults[0]
            assert (await gateway.count("signals"), gateway.starter.started) == (0, [])
            del faults[0]
            assert (await http.post("/v1/signals", json=signal("late"), headers=bearer())).status_code == 202
