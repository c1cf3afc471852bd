"""Spans: whose child they are, what they must not carry, where they go."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from observability import logging as our_logging
from observability.logging import configure_logging, get_logger, restore_logging
from observability.redaction import REDACTED, register_secret
from observability.trace_links import trace_link
from observability.tracing import (
    EXPORT_QUEUE_MAX,
    Tracing,
    configure_tracing,
    continued,
    current_traceparent,
    span,
    span_from,
    temporal_interceptors,
)
from tests.servers.collector import collecting

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CANARY = "canary-span-9c1e-horse-battery"
register_secret(CANARY)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    tracing = configure_tracing("gateway", exporter=exporter)
    yield tracing
    tracing.close()
    our_logging._trace_ids = None


def ended(tracing: Tracing, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    tracing.flush()
    return {ended.name: ended for ended in exporter.get_finished_spans()}


def trace_of(ended: ReadableSpan) -> str:
    assert ended.context is not None
    return format_trace_id(ended.context.trace_id)


def test_a_caller_s_traceparent_is_continued(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with (
        span_from(CALLER, "POST /v1/signals", signal_id="sig_112"),
        span("broker.place_order", ticker="AAPL"),
    ):
        pass
    spans = ended(tracing, exporter)
    outer, inner = spans["POST /v1/signals"], spans["broker.place_order"]
    assert trace_of(outer) == trace_of(inner) == "0af7651916cd43dd8448eb211c80319c"
    assert outer.parent is not None
    assert format_span_id(outer.parent.span_id) == "b7ad6b7169203331"
    assert inner.parent == outer.context
    assert (outer.attributes, inner.attributes) == ({"signal_id": "sig_112"}, {"ticker": "AAPL"})
    assert outer.resource.attributes["service.name"] == "gateway"


def test_a_stored_traceparent_joins_a_later_process_to_the_trace(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with span("accept"):
        stored = current_traceparent()
    assert stored is not None
    with span_from(stored, "sweep"):
        pass
    spans = ended(tracing, exporter)
    assert trace_of(spans["sweep"]) == trace_of(spans["accept"])
    assert spans["sweep"].parent is not None
    assert format_span_id(spans["sweep"].parent.span_id) == stored.split("-")[2]


@pytest.mark.parametrize(
    "bad", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", CALLER + "\r\nX: y", "é"]
)
def test_a_bad_traceparent_begins_a_trace_of_its_own(
    bad: str, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with span("other work"), span_from(bad, "request"):
        pass
    spans = ended(tracing, exporter)
    assert spans["request"].parent is None
    assert trace_of(spans["request"]) != trace_of(spans["other work"])


def test_without_traceparent_the_current_span_is_the_parent(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with span("outer"), span_from(None, "inner"):
        pass
    spans = ended(tracing, exporter)
    assert spans["inner"].parent == spans["outer"].context


def test_nothing_secret_is_exported(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    def call() -> None:
        with span(f"call {CANARY}", api_key="in plain words", note=f"with {CANARY}", attempt=3) as current:
            current.add_event("answer", {"authorization": "in plain words", "body": CANARY})
            raise ValueError(f"refused {CANARY}")

    with pytest.raises(ValueError, match="canary"):
        call()
    (only,) = ended(tracing, exporter).values()
    text = only.to_json()
    assert "horse" not in text
    assert "in plain words" not in text
    assert only.name == f"call {REDACTED}"
    assert only.attributes == {"api_key": REDACTED, "note": f"with {REDACTED}", "attempt": 3}
    assert only.status.status_code is StatusCode.ERROR
    assert [event.name for event in only.events] == ["answer", "exception"]
    assert (only.start_time or 0) <= only.events[0].timestamp <= (only.end_time or 0)


def test_log_lines_carry_the_span_they_were_written_in(tracing: Tracing) -> None:
    stream = io.StringIO()
    configure_logging("gateway", json=True, stream=stream)
    with span_from(CALLER, "request"):
        get_logger("ours").info("inside")
    get_logger("ours").info("outside")
    restore_logging()
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert inside["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert len(inside["span_id"]) == 16
    assert "trace_id" not in outside


def test_without_tracing_everything_works_and_nothing_is_made() -> None:
    with span("nothing", ticker="AAPL"):
        assert current_traceparent() is None
    assert temporal_interceptors() == []


def test_a_closed_tracing_makes_no_more_spans(exporter: InMemorySpanExporter) -> None:
    tracing = configure_tracing("gateway", exporter=exporter)
    tracing.close()
    with span("late"):
        assert current_traceparent() is None
    assert temporal_interceptors() == []


def test_processes_share_a_trace_file(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    for service in ("gateway", "execution"):
        tracing = configure_tracing(service, file=file)
        with span_from(CALLER, f"work of {service}", note=CANARY):
            pass
        tracing.close()
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    assert [made["name"] for made in spans] == ["work of gateway", "work of execution"]
    assert [made["resource"]["attributes"]["service.name"] for made in spans] == ["gateway", "execution"]
    assert {made["context"]["trace_id"] for made in spans} == {"0x0af7651916cd43dd8448eb211c80319c"}
    assert {made["attributes"]["note"] for made in spans} == {REDACTED}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_trace_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        configure_tracing("gateway", file=tmp_path / "missing" / "trace.jsonl")


def test_the_web_framework_finds_our_provider_and_the_engine_is_not_loaded() -> None:
    """In a fresh process: the global provider can be set once, and earlier tests have set it here."""
    program = (
        "import sys\n"
        "from opentelemetry import trace\n"
        "from observability.tracing import configure_tracing, span\n"
        "tracing = configure_tracing('gateway')\n"
        "made = trace.get_tracer('fastapi').start_span('GET /')\n"
        "print(made.get_span_context().is_valid, 'temporalio' in sys.modules)\n"
        "tracing.close()\n"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == ["True", "False"]


def test_a_collector_takes_spans_by_otlp_and_no_secret() -> None:
    with collecting() as collector:
        tracing = configure_tracing("risk", endpoint=collector.url, mode="paper")
        with span_from(CALLER, "request", note=CANARY), span("inner"):
            pass
        tracing.close()
        spans = {sent.name: sent for sent in collector.spans}
    assert spans["inner"].parent == spans["request"].id
    assert {sent.trace for sent in spans.values()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert spans["request"].attributes["note"] == REDACTED
    assert CANARY.encode() not in b"".join(collector.bodies)
    resource = spans["request"].resource
    assert resource["service.name"] == "risk"
    assert resource["deployment.environment.name"] == "paper"


@pytest.mark.parametrize("how", ["mute", "refusing", "gone"])
def test_nobody_waits_for_a_collector(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """How: more spans than the queue holds; that they end and that closing returns is what is shown."""
    with collecting() as collector:
        collector.answer = 400
        if how == "mute":
            collector.mute.set()
        url = collector.url if how != "gone" else "http://127.0.0.1:9"
        tracing = configure_tracing("risk", endpoint=url)
        for _ in range(EXPORT_QUEUE_MAX + 10):
            with span("work"):
                pass
        tracing.close()
    assert how == "mute" or "spans are lost" in caplog.text


@pytest.mark.parametrize(
    ("stored", "link"),
    [
        (CALLER, "https://traces.example/t/0af7651916cd43dd8448eb211c80319c"),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        ("00-0af7", None),
        (None, None),
    ],
)
def test_a_stored_trace_is_linked(stored: str | None, link: str | None) -> None:
    assert trace_link("https://traces.example/t/{trace_id}", stored) == link
    assert trace_link(None, stored) is None


def test_what_is_continued_is_a_child_of_what_was_stored(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with span("of somebody else"), continued(CALLER), span("fill"):
        pass
    with continued(None), span("of nobody"):
        pass
    spans = ended(tracing, exporter)
    assert trace_of(spans["fill"]) == "0af7651916cd43dd8448eb211c80319c"
    assert spans["of nobody"].parent is None
