"""One OpenTelemetry trace per signal: from the HTTP request through workflow and activities to the broker.

Three places make the spans. The gateway's HTTP span comes from FastAPI, or from ``span_from`` with the
caller's ``traceparent`` header. Temporal carries the context in its headers and adds a span per start,
workflow, activity and signal (``temporal_interceptors``, given to ``Client.connect``; workers of that client
inherit them). For each broker call ``ended_span`` makes the innermost one, once its outcome is known.

Where the spans go: nowhere by default; then they only give log lines their ids. ``TRADING_TRACE_FILE`` names
a file that gets one JSON object a span, whichever processes write to it. An OTLP exporter is a package of its
own that this project does not install; pass one as ``exporter`` where a collector runs. Everything exported
is redacted like a log line.

Temporal's ``TracingInterceptor`` is used, not the newer ``OpenTelemetryPlugin``: it is stable, shows a
workflow's spans while the workflow still runs (ours run for days) and leaves the sandbox as it is. The price:
spans inside a workflow have no duration; its activities' spans do. Spans add no command to a history, so
replay, the command line and a worker without tracing work as before.

Import this only in a process that traces: opentelemetry costs 70 ms. temporalio is loaded by the first call
of ``temporal_interceptors``.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from observability.logging import TraceIds, use_trace_ids
from observability.redaction import redact, redact_text

if TYPE_CHECKING:
    from temporalio.client import Interceptor

TRACE_FILE_VARIABLE: Final = "TRADING_TRACE_FILE"
TRACE_FILE_MODE: Final = 0o600

EXPORT_DELAY_MS: Final = 500
"""A span reaches the exporter at most this long after its end."""

EXPORT_QUEUE_MAX: Final = 4_096
"""Spans; more are dropped rather than slow an order down."""

FLUSH_TIMEOUT_MS: Final = 3_000

NS_PER_MS: Final = 1_000_000

_TRACEPARENT: Final = "traceparent"
_SCOPE: Final = "trading-interface"
_propagator: Final = TraceContextTextMapPropagator()
_active: "Tracing | None" = None


class Tracing:
    """The tracing of one process; ``close`` before it ends, or the last half second of spans is lost."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer(_SCOPE)

    def flush(self) -> None:
        """Hand every ended span to the exporter now."""
        self._provider.force_flush(FLUSH_TIMEOUT_MS)

    def close(self) -> None:
        """Flush and stop. Later spans go nowhere."""
        global _active  # noqa: PLW0603 - one tracing a process, like one root logger
        self._provider.shutdown()
        if _active is self:
            _active = None


def configure_tracing(
    service: str, *, exporter: SpanExporter | None = None, environ: Mapping[str, str] | None = None
) -> Tracing:
    """Start tracing in this process; call it once, before connecting to Temporal.

    Args:
        service: name of the process, on every span as ``service.name``.
        exporter: where ended spans go; without one, the file named by ``TRADING_TRACE_FILE``, else nowhere.
        environ: environment variables, ``os.environ`` by default.

    Raises:
        OSError: the trace file cannot be opened for appending.
    """
    global _active  # noqa: PLW0603 - one tracing a process, like one root logger
    file = (os.environ if environ is None else environ).get(TRACE_FILE_VARIABLE, "")
    if exporter is None and file:
        exporter = JsonLinesExporter(Path(file))
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if exporter is not None:
        provider.add_span_processor(
            BatchSpanProcessor(
                RedactingExporter(exporter),
                schedule_delay_millis=EXPORT_DELAY_MS,
                max_queue_size=EXPORT_QUEUE_MAX,
            )
        )
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # FastAPI's own request spans look here. It can be set once a process and we are the process.
        trace.set_tracer_provider(provider)
    _active = Tracing(provider)
    use_trace_ids(_current_ids)
    return _active


def span(name: str, **attributes: AttributeValue) -> AbstractContextManager[Span]:
    """A child of the current span for the length of the block; without tracing, nothing.

    An exception passes through and marks the span as failed.
    """
    return _start(name, None, attributes)


@contextmanager
def span_from(traceparent: str | None, name: str, **attributes: AttributeValue) -> Iterator[Span]:
    """A span under the caller's: ``traceparent`` as in W3C Trace Context (a header, a stored row).

    None continues the current trace; a text that is no valid traceparent begins a new one, as W3C asks.
    """
    context = None if traceparent is None else _propagator.extract({_TRACEPARENT: traceparent}, Context())
    with _start(name, context, attributes) as started:
        yield started


def ended_span(
    name: str, duration_ms: float, *, failed: str | None = None, **attributes: AttributeValue
) -> None:
    """Record a child of the current span that ended just now and took ``duration_ms``.

    Outside a span it does nothing: what nobody asked for belongs to no trace. ``failed`` is an error's code.
    """
    if _active is None or not trace.get_current_span().get_span_context().is_valid:
        return
    now_ns = time.time_ns()
    began_ns = now_ns - round(duration_ms * NS_PER_MS)
    child = _active.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=began_ns)
    if failed is not None:
        child.set_status(Status(StatusCode.ERROR, failed))
    child.end(now_ns)


def current_traceparent() -> str | None:
    """The current span as a W3C ``traceparent`` (``00-…``), to be sent or stored; None outside one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_TRACEPARENT)


def temporal_interceptors() -> "list[Interceptor]":
    """What ``Client.connect(interceptors=…)`` needs to carry the trace; empty without tracing."""
    if _active is None:
        return []
    from temporalio.contrib.opentelemetry import TracingInterceptor

    return [TracingInterceptor(_active.tracer)]


class JsonLinesExporter(SpanExporter):
    """Appends each ended span as one JSON object to a file that only its owner may read.

    Lines are written whole (one ``write`` on a descriptor opened for appending), so processes can share it.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor: int | None = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, TRACE_FILE_MODE)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write ``spans``; a full disk loses them and never stops the process."""
        if self._descriptor is None:
            return SpanExportResult.FAILURE
        try:
            for ended in spans:
                os.write(self._descriptor, (ended.to_json(indent=None) + "\n").encode())
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class RedactingExporter(SpanExporter):
    """Takes secrets out of names, attributes, events and error texts on the way to ``inner``."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export redacted copies."""
        return self._inner.export([_redacted(ended) for ended in spans])

    def shutdown(self) -> None:
        """Stop the inner exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = FLUSH_TIMEOUT_MS) -> bool:
        """Flush the inner exporter."""
        return self._inner.force_flush(timeout_millis)


def _start(
    name: str, context: Context | None, attributes: Mapping[str, AttributeValue]
) -> AbstractContextManager[Span]:
    tracer = trace.NoOpTracer() if _active is None else _active.tracer
    return tracer.start_as_current_span(name, context, attributes=attributes)


def _current_ids() -> TraceIds | None:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return TraceIds(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))


def _redacted(ended: ReadableSpan) -> ReadableSpan:
    status = ended.status
    return ReadableSpan(
        name=redact_text(ended.name),
        context=ended.context,
        parent=ended.parent,
        resource=ended.resource,
        attributes=_redacted_attributes(ended.attributes),
        events=[
            Event(event.name, _redacted_attributes(event.attributes), event.timestamp)
            for event in ended.events
        ],
        links=ended.links,
        kind=ended.kind,
        status=Status(status.status_code, redact_text(status.description)) if status.description else status,
        start_time=ended.start_time,
        end_time=ended.end_time,
        instrumentation_scope=ended.instrumentation_scope,
    )


def _redacted_attributes(attributes: Mapping[str, AttributeValue] | None) -> dict[str, AttributeValue]:
    return cast(dict[str, AttributeValue], redact(dict(attributes or {})))
