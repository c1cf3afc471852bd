"""On the real Temporal server: one trace from request to broker call, and quiet, redacted log lines."""

import asyncio
import io
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, Worker

with workflow.unsafe.imports_passed_through():
    from observability import logging as our_logging
    from observability.logging import configure_logging, restore_logging
    from observability.redaction import register_secret
    from observability.temporal import temporal_runtime
    from observability.tracing import Tracing, configure_tracing, span, span_from, temporal_interceptors
    from schemas.base import Wire

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CANARY = "canary-temporal-51f0-horse-battery"
register_secret(CANARY)
STEP_TIMEOUT = timedelta(seconds=10)
TEST_TIMEOUT_SECONDS = 30


class Proposal(Wire):
    """The one argument of every step."""

    ticker: str


@activity.defn(name="test-assess-risk")
async def assess_risk(proposal: Proposal) -> Proposal:
    """Idempotent: does nothing."""
    activity.logger.info("assessed with %s", CANARY)
    return proposal


@activity.defn(name="test-place-order")
def place_order(proposal: Proposal) -> Proposal:
    """Idempotent: does nothing. Runs in a thread, like the real one."""
    with span("broker.place_order", ticker=proposal.ticker):
        return proposal


@workflow.defn(name="test-traced-order")
class TracedOrder:
    """A local activity, then a normal one, as the compact topology has them."""

    @workflow.run
    async def run(self, proposal: Proposal) -> Proposal:
        workflow.logger.info("started", extra={"token": CANARY})
        await workflow.execute_local_activity(assess_risk, proposal, start_to_close_timeout=STEP_TIMEOUT)
        return await workflow.execute_activity(place_order, proposal, start_to_close_timeout=STEP_TIMEOUT)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing(exporter: InMemorySpanExporter) -> AsyncIterator[Tracing]:
    tracing = configure_tracing("orders", exporter=exporter)
    yield tracing
    tracing.close()
    our_logging._trace_ids = None


async def connect(address: str, **options: Any) -> Client:
    return await Client.connect(
        address, data_converter=pydantic_data_converter, namespace="trading", **options
    )


def worker(client: Client, queue: str, threads: Any) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=[TracedOrder],
        activities=[assess_risk, place_order],
        activity_executor=threads,
    )


async def run_one(client: Client, queue: str) -> WorkflowHandle[TracedOrder, Proposal]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as threads:
        async with worker(client, queue, threads):
            with span_from(CALLER, "POST /v1/signals"):
                handle = await client.start_workflow(
                    TracedOrder.run, Proposal(ticker="AAPL"), id=queue, task_queue=queue
                )
            await asyncio.wait_for(handle.result(), TEST_TIMEOUT_SECONDS)
    return handle


async def test_one_trace_from_the_request_to_the_broker_call(
    temporal_addresses: Any, unique: Callable[[str], str], tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    client = await connect(temporal_addresses.address, interceptors=temporal_interceptors())
    handle = await run_one(client, unique("trace"))
    tracing.flush()
    spans = {made.name: made for made in exporter.get_finished_spans()}
    assert path_to_root(spans["broker.place_order"], spans) == [
        "broker.place_order",
        "RunActivity:test-place-order",
        "StartActivity:test-place-order",
        "StartWorkflow:test-traced-order",
        "POST /v1/signals",
    ]
    assert path_to_root(spans["RunActivity:test-assess-risk"], spans)[-1] == "POST /v1/signals"
    traces = {format_trace_id(made.context.trace_id) for made in spans.values() if made.context}
    assert traces == {"0af7651916cd43dd8448eb211c80319c"}

    history = await handle.fetch_history()
    made_before = len(exporter.get_finished_spans())
    replayer = Replayer(workflows=[TracedOrder], data_converter=pydantic_data_converter)
    assert (await replayer.replay_workflow(history)).replay_failure is None
    tracing.flush()
    assert len(exporter.get_finished_spans()) == made_before


async def test_without_tracing_the_same_order_runs_and_replays_under_tracing(
    temporal_addresses: Any, unique: Callable[[str], str], exporter: InMemorySpanExporter
) -> None:
    assert temporal_interceptors() == []
    handle = await run_one(await connect(temporal_addresses.address), unique("plain"))
    history = await handle.fetch_history()
    tracing = configure_tracing("orders", exporter=exporter)
    try:
        replayer = Replayer(
            workflows=[TracedOrder],
            data_converter=pydantic_data_converter,
            interceptors=temporal_interceptors(),  # type: ignore[arg-type]
        )
        assert (await replayer.replay_workflow(history)).replay_failure is None
        tracing.flush()
        assert exporter.get_finished_spans() == ()
    finally:
        tracing.close()


async def test_lines_of_workflow_and_activity_are_redacted_and_belong_to_the_trace(
    temporal_addresses: Any, unique: Callable[[str], str], tracing: Tracing
) -> None:
    stream = io.StringIO()
    configure_logging("orders", json=True, stream=stream)
    try:
        runtime = temporal_runtime("orders", metrics_address="127.0.0.1:0")
        client = await connect(
            temporal_addresses.address, interceptors=temporal_interceptors(), runtime=runtime
        )
        queue = unique("logged")
        await run_one(client, queue)
    finally:
        restore_logging()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    by_event = {line["event"]: line for line in lines}
    assert CANARY not in stream.getvalue()
    assert by_event["assessed with [redacted]"]["temporal_activity"]["workflow_id"] == queue
    assert by_event["assessed with [redacted]"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert by_event["started"]["temporal_workflow"]["workflow_id"] == queue
    assert by_event["started"]["token"] == "[redacted]"


async def test_the_engine_s_own_metrics_have_an_address(
    temporal_addresses: Any, unique: Callable[[str], str], unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    runtime = temporal_runtime("orders", metrics_address=address)
    await run_one(await connect(temporal_addresses.address, runtime=runtime), unique("measured"))

    def read() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            return str(answer.read().decode())

    page = await asyncio.to_thread(read)
    assert "temporal_activity_execution_latency_bucket" in page
    assert 'service="orders"' in page


def path_to_root(made: ReadableSpan, spans: dict[str, ReadableSpan]) -> list[str]:
    by_id = {format_span_id(each.context.span_id): each for each in spans.values() if each.context}
    path = [made.name]
    while made.parent is not None and format_span_id(made.parent.span_id) in by_id:
        made = by_id[format_span_id(made.parent.span_id)]
        path.append(made.name)
    return path
