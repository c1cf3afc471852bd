"""The application behind its real server, with real Temporal: bytes on a socket to a started workflow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx2
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.starter import OrderStarter, display_line
from gateway.app import build_app
from gateway.server import serving
from observability.tracing import configure_tracing
from schemas.risk import Proposal
from schemas.wire import order_workflow_id
from storage.signals import read_signal
from tests.gateway.conftest import TOKEN, Gateway, bearer, signal

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def task_queue(unique: Callable[[str], str]) -> str:
    """A queue that no worker polls: started workflows stay as they are."""
    return unique("queue")


@pytest.fixture
async def served(
    gateway: Gateway, temporal_server: Client, task_queue: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the gateway on a port of its own."""
    deps = replace(gateway.deps, starter=OrderStarter(temporal_server, task_queue))
    async with (
        serving(build_app(deps)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        yield http


async def test_a_signal_becomes_one_workflow_that_reads_like_a_blotter_line(
    served: httpx2.AsyncClient, temporal_server: Client, unique: Callable[[str], str]
) -> None:
    signal_id = unique("sig")
    answer = await served.post("/v1/signals", json=signal(signal_id), headers=bearer())
    assert answer.status_code == 202
    described = await temporal_server.get_workflow_handle(answer.json()["workflow_id"]).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    assert described.workflow_type == "order"
    assert await described.static_summary() == "buy 10 AAPL ≤ 180.50 · momentum"
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found == {"Ticker": "AAPL", "Strategy": "momentum", "Side": "buy"}


async def test_a_repeat_in_flight_makes_no_second_workflow(
    served: httpx2.AsyncClient, temporal_server: Client, unique: Callable[[str], str]
) -> None:
    body = signal(unique("sig"))
    answers = await asyncio.gather(
        *(served.post("/v1/signals", json=body, headers=bearer()) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    handle = temporal_server.get_workflow_handle(order_workflow_id(body["signal_id"]))
    await handle.terminate()
    repeated = await served.post("/v1/signals", json=body, headers=bearer())
    assert repeated.status_code == 202
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.TERMINATED, "only the sweeper starts it again"


async def test_a_burst_from_many_connections(
    served: httpx2.AsyncClient, gateway: Gateway, unique: Callable[[str], str]
) -> None:
    bodies = [signal(unique("sig")) for _ in range(64)]
    answers = await asyncio.gather(
        *(served.post("/v1/signals", json=body, headers=bearer()) for body in bodies)
    )
    assert {answer.status_code for answer in answers} == {202}
    assert await gateway.count("signals") == 64


async def test_ten_megabytes_get_their_refusal_through_the_socket(served: httpx2.AsyncClient) -> None:
    answer = await served.post(
        "/v1/signals",
        content=b"x" * 10_000_000,
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


async def test_a_signal_is_taken_while_temporal_is_down(gateway: Gateway, task_queue: str) -> None:
    client = await Client.connect(NOWHERE, lazy=True, data_converter=pydantic_data_converter)
    deps = replace(gateway.deps, starter=OrderStarter(client, task_queue))
    async with (
        serving(build_app(deps)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        assert (await http.post("/v1/signals", json=signal(), headers=bearer())).status_code == 202
        ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert "Temporal does not answer" in ready.json()["checks"]["temporal"]
    assert await gateway.count("signals") == 1


async def test_a_body_that_never_comes_is_not_waited_for(
    served: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.body.BODY_SECONDS_MAX", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base_url.port)
    head = f"POST /v1/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    assert b"408" in await reader.readline()
    writer.close()


async def test_a_sender_who_goes_away_leaves_nothing(served: httpx2.AsyncClient, gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.base_url.port)
    head = f"POST /v1/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await served.get("/healthz")).status_code == 200
    assert await gateway.count("signals") == 0


async def test_the_callers_trace_goes_on_in_the_stored_row(gateway: Gateway) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    spans = InMemorySpanExporter()
    tracing = configure_tracing("gateway", exporter=spans)
    try:
        caller = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        await gateway.http.post("/v1/signals", json=signal("traced"), headers=bearer() | caller)
        tracing.flush()
    finally:
        tracing.close()
    async with gateway.database.connection() as connection:
        stored = (await read_signal(connection, "traced")).traceparent
    (span,) = [span for span in spans.get_finished_spans() if span.name == "POST /v1/signals"]
    assert span.context is not None
    assert stored == f"00-{trace_id}-{span.context.span_id:016x}-01"


async def test_leaving_ends_requests_in_flight_and_frees_the_port(gateway: Gateway) -> None:
    async with serving(build_app(gateway.deps)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await reader.readline()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def test_the_sweeper_restarts_a_terminated_workflow_and_no_running_one(
    temporal_server: Client, task_queue: str, unique: Callable[[str], str]
) -> None:
    starter = OrderStarter(temporal_server, task_queue)
    proposal = proposed(unique("sig"))
    await starter.start(proposal)
    handle = temporal_server.get_workflow_handle(order_workflow_id(proposal.signal_id))
    first = (await handle.describe()).run_id
    await starter.restart(proposal)
    assert (await handle.describe()).run_id == first
    await handle.terminate()
    await starter.start(proposal)
    assert (await handle.describe()).run_id == first
    await starter.restart(proposal)
    assert (await handle.describe()).run_id != first


def proposed(signal_id: str, **changes: object) -> Proposal:
    """A proposal as the row of ``signal()`` would give it."""
    body = signal(signal_id)
    body["valid_until"] = body["created_at"]
    return Proposal.model_validate(body | changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "buy 10 AAPL ≤ 180.50 · momentum"),
        ({"limit_price": "0.1234"}, "buy 10 AAPL ≤ 0.1234 · momentum"),
        ({"limit_price": "200"}, "buy 10 AAPL ≤ 200.00 · momentum"),
        ({"action": "SELL_TO_CLOSE"}, "sell 10 AAPL ≥ 180.50 · momentum"),
        ({"order_type": "MARKET", "limit_price": None}, "buy 10 AAPL at market · momentum"),
        (
            {"order_type": "STOP_LIMIT", "stop_price": "181", "limit_price": "181.50"},
            "buy 10 AAPL stop 181.00 limit 181.50 · momentum",
        ),
        (
            {"order_type": "STOP", "stop_price": "0.1234", "limit_price": None, "action": "BUY_TO_CLOSE"},
            "buy to cover 10 AAPL stop 0.1234 · momentum",
        ),
        ({"action": "SELL_TO_OPEN"}, "sell short 10 AAPL ≥ 180.50 · momentum"),
    ],
)
def test_the_display_line(changes: dict[str, object], line: str) -> None:
    assert display_line(proposed("sig", **changes)) == line
