"""One trace per signal: from the HTTP request through the workflow and its steps to the broker's POST."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_trace_id

from activities.starter import OrderStarter
from observability import logging as our_logging
from observability.tracing import Tracing, configure_tracing, ended_span
from schemas import wire
from schemas.signals import SignalIn
from storage.signals import accept_signal, find_token
from tests.servers.collector import Collector, Sent, collecting
from tests.servers.stack import Stack, StackFactory, signal
from workers.parts import utc_now
from workers.sweeper import SWEEP_GRACE, Sweeper

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
STEPS = (wire.ACTIVITY_ASSESS_RISK, wire.ACTIVITY_CHECK_PRE_TRADE, wire.ACTIVITY_PLACE_ORDER)
VALID_FOR = timedelta(minutes=5)
REQUEST = "POST /v1/signals"
POST = "broker.place_order"
PLACING = f"RunActivity:{wire.ACTIVITY_PLACE_ORDER}"


class Spans:
    """Every span that has ended, by its id."""

    def __init__(self, tracing: Tracing, exporter: InMemorySpanExporter) -> None:
        self._tracing = tracing
        self._exporter = exporter

    def all(self) -> dict[int, ReadableSpan]:
        self._tracing.flush()
        return {span.context.span_id: span for span in self._exporter.get_finished_spans() if span.context}

    def named(self, name: str, trace_id: str) -> list[ReadableSpan]:
        """The spans of that name in the trace: at least one."""
        found = [span for span in self.all().values() if span.name == name and trace_of(span) == trace_id]
        assert found, f"no span {name} in the trace"
        return found

    def of_signal(self, signal_id: str) -> ReadableSpan:
        """The HTTP span of a signal."""
        (found,) = [
            span
            for span in self.all().values()
            if span.name == REQUEST and (span.attributes or {}).get("signal_id") == signal_id
        ]
        return found

    def ancestors(self, span: ReadableSpan) -> list[str]:
        """Names from the span's parent up to the outermost span that is ours."""
        names, known = [], self.all()
        while span.parent is not None and span.parent.span_id in known:
            span = known[span.parent.span_id]
            names.append(span.name)
        return names


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Tracing into memory; ask for it before the product, which connects with it."""
    exporter = InMemorySpanExporter()
    tracing = configure_tracing("test", exporter=exporter)
    yield Spans(tracing, exporter)
    tracing.close()
    our_logging._trace_ids = None


class Trace:
    """One trace as a collector was sent it."""

    def __init__(self, spans: list[Sent], trace_id: str) -> None:
        self._by_id = {span.id: span for span in spans if span.trace == trace_id}

    def named(self, name: str) -> list[Sent]:
        """The spans of that name: at least one."""
        found = [span for span in self._by_id.values() if span.name == name]
        assert found, f"no span {name} among {sorted({span.name for span in self._by_id.values()})}"
        return found

    def ancestors(self, span: Sent) -> list[str]:
        """Names from the span's parent up to the outermost span that is ours."""
        names = []
        while span.parent in self._by_id:
            span = self._by_id[span.parent]
            names.append(span.name)
        return names


FROM_START = [f"StartWorkflow:{wire.WORKFLOW_ORDER}", REQUEST]
TOLD = f"SignalWorkflow:{wire.SIGNAL_ORDER_UPDATED}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector, and tracing that exports to it; ask for it before the product, which connects with it."""
    with collecting() as found:
        tracing = configure_tracing("test", endpoint=found.url, mode="paper")
        yield found
        tracing.close()
        our_logging._trace_ids = None


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_one_trace_from_the_request_to_the_fill(
    collector: Collector, stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    """How: one signal under a caller's trace, one without; each ends filled; their spans are read by OTLP."""
    stack = await stack_factory(topology=topology)
    followed, alone = unique("followed"), unique("alone")
    header = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = await stack.http.post("/v1/signals", json=signal(followed), headers=header)
    assert answer.status_code == 202
    await stack.submit(signal(alone, quantity="5"))
    for signal_id in (followed, alone):
        await stack.settled(signal_id)
        await stack.workflow(signal_id).result()
    own = await stored_trace(stack, alone)
    spans = await asyncio.to_thread(
        collector.until,
        lambda sent: (
            {TRACE, own} <= {s.trace for s in sent if s.name == "fill"}
            and {TRACE, own} <= {s.trace for s in sent if s.name.startswith("RunActivity:settle")}
        ),
    )

    requests = {span.attributes["signal_id"]: span for span in spans if span.name == REQUEST}
    assert (requests[followed].trace, requests[followed].parent) == (TRACE, CALLER)
    assert (requests[alone].trace, requests[alone].parent) == (own, "")
    assert own != TRACE
    for trace_id, signal_id, shares in ((TRACE, followed, "10"), (own, alone, "5")):
        trace = Trace(spans, trace_id)
        for run in trace.named(f"RunWorkflow:{wire.WORKFLOW_ORDER}"):
            assert trace.ancestors(run) == FROM_START
        for step in (*STEPS, wire.ACTIVITY_SETTLE_ORDER):
            for run in trace.named(f"RunActivity:{step}"):
                assert trace.ancestors(run) == [f"StartActivity:{step}", *FROM_START]
        (post,) = trace.named(POST)
        (placing,) = trace.named(PLACING)
        assert trace.ancestors(post) == [PLACING, *trace.ancestors(placing)]
        assert placing.began <= post.began <= post.ended <= placing.ended
        told = post.attributes
        assert (told["method"], told["path"], told["http_status"]) == ("POST", "/v2/orders", 200)
        fills = trace.named("fill")
        assert sum(int(fill.attributes["shares"]) for fill in fills) == int(shares)
        assert {fill.attributes["signal_id"] for fill in fills} == {signal_id}
        assert [trace.ancestors(fill) for fill in fills] == [[REQUEST]] * len(fills)
        for each in trace.named(TOLD):
            assert trace.ancestors(each) == [REQUEST], "who hears of the fill does so in the same trace"
    assert {(s.resource["service.name"], s.resource["deployment.environment.name"]) for s in spans} == {
        ("test", "paper")
    }


async def test_a_failed_post_marks_its_span(spans: Spans, stack: Stack, unique: Any) -> None:
    unlucky = unique("unlucky")
    fault = {"action": "status_503", "match": {"method": "POST", "path": "/v2/orders"}}
    await stack.control("faults", fault)
    await stack.submit(signal(unlucky))
    await stack.until(unlucky, lambda order: order["flags"] == ["outcome_unknown"])
    (post,) = spans.named(POST, trace_of(spans.of_signal(unlucky)))
    assert post.status.status_code is StatusCode.ERROR
    assert post.status.description == "ERR_UNKNOWN_OUTCOME"
    assert (post.attributes or {})["http_status"] == 503


async def test_a_workflow_started_late_continues_its_signal_s_trace(
    spans: Spans, stack: Stack, unique: Any
) -> None:
    """How: the signal is stored as by a gateway that died before the start; the sweeper starts it."""
    orphan, stored_at = unique("orphan"), utc_now() - 2 * SWEEP_GRACE
    proposed = SignalIn.model_validate_json(json.dumps(signal(orphan)))
    async with stack.parts.database.transaction("test") as connection:
        token = await find_token(connection, stack.token, utc_now())
        assert token is not None
        await accept_signal(
            connection, proposed, token, valid_until=stored_at + VALID_FOR, now=stored_at,
            traceparent=f"00-{TRACE}-{CALLER}-01",
        )  # fmt: skip
    starter = OrderStarter(stack.client, wire.Queue.TRADING.value)
    await Sweeper(stack.parts.database, stack.client, starter, stack.parts.notifier).sweep()
    await stack.settled(orphan)
    (post,) = spans.named(POST, TRACE)
    assert spans.ancestors(post)[-1] == "restart order workflow"


def test_a_call_that_belongs_to_no_trace_makes_none(spans: Spans) -> None:
    ended_span("broker.get_account", 1.0)
    assert spans.all() == {}


async def stored_trace(stack: Stack, signal_id: str) -> str:
    """The trace that the signal's row names, so that a later restart continues it."""
    async with stack.parts.database.connection() as connection:
        text = await connection.fetchval("select traceparent from signals where signal_id = $1", signal_id)
    return str(text).split("-")[1]
