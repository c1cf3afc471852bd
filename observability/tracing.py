"""One OpenTelemetry trace per signal: from the HTTP request through workflow and activities to the broker.

Three places make the spans. The gateway's HTTP span comes from FastAPI, or from ``span_from`` with the
caller's ``traceparent`` header. Temporal carries the context in its headers and adds a span per start,
workflow, activity and signal (``temporal_interceptors``, given to ``Client.connect``; workers of that client
inherit them). For each broker call ``ended_span`` makes the innermost one, once its outcome is known.

Where the spans go: nowhere by default; then they only give log lines their ids. ``TRADING_OTLP_ENDPOINT`` names a
collector, ``TRADING_TRACE_FILE`` a file that gets one JSON object a span, whichever processes write to it
(`observability.exporting`). Everything exported is redacted like a log line.

What comes later and from elsewhere, an execution by the broker's stream, joins the trace by the ``traceparent``
that is stored with the signal.

Temporal's ``TracingInterceptor`` is used, not the newer ``OpenTelemetryPlugin``: it is stable, shows a
workflow's spans while the workflow still runs (ours run for days) and leaves the sandbox as it is. The price:
spans inside a workflow have no duration; its activities' spans do. Spans add no command to a history, so
replay, the command line and a worker without tracing work as before.

Import this only in a process that traces: opentelemetry costs 70 ms. temporalio is loaded by the first call
of ``temporal_interceptors``.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from observability.exporting import JsonLinesExporter, RedactingExporter, otlp_exporter
from observability.logging import TraceIds, use_trace_ids

if TYPE_CHECKING:
    from temporalio.client import Interceptor

NAMESPACE: Final = "trading-interface"

EXPORT_DELAY_MS: Final = 500
"""A span reaches the exporter at most this long after its end."""

EXPORT_QUEUE_MAX: Final = 4_096
"""Spans; more are dropped, the oldest first, rather than slow an order down."""

EXPORT_BATCH_MAX: Final = 512
"""Spans of one request."""

FLUSH_TIMEOUT_MS: Final = 3_000

NS_PER_MS: Final = 1_000_000

_TRACEPARENT: Final = "traceparent"
_SCOPE: Final = "trading-interface"
_propagator: Final = TraceContextTextMapPropagator()
_active: "Tracing | None" = None


class Tracing:
    """The tracing of one process; ``close`` before it ends, or the last half second of spans is lost."""

    def __init__(self, provider: TracerProvider, exporters: Sequence[RedactingExporter] = ()) -> None:
        self._provider = provider
        self._exporters = exporters
        self.tracer = provider.get_tracer(_SCOPE)

    def flush(self) -> None:
        """Hand every ended span to the exporter now."""
        self._provider.force_flush(FLUSH_TIMEOUT_MS)

    def close(self) -> None:
        """Flush and stop, within ``FLUSH_TIMEOUT_MS``. Later spans go nowhere."""
        global _active  # noqa: PLW0603 - one tracing a process, like one root logger
        # The SDK's own shutdown waits half a minute for a collector that is mute.
        ending = threading.Thread(target=self._provider.shutdown, name="end tracing", daemon=True)
        ending.start()
        ending.join(FLUSH_TIMEOUT_MS / 1000)
        for exporter in self._exporters:
            exporter.give_up()
        if _active is self:
            _active = None


def configure_tracing(
    service: str,
    *,
    exporter: SpanExporter | None = None,
    endpoint: str | None = None,
    file: Path | None = None,
    mode: str | None = None,
) -> Tracing:
    """Start tracing in this process; call it once, before connecting to Temporal.

    Args:
        service: name of the process, on every span as ``service.name``.
        exporter: where ended spans go instead of what the settings say.
        endpoint: a collector that takes OTLP over HTTP.
        file: gets a line of JSON for each span.
        mode: ``paper`` or ``live``, on every span as ``deployment.environment.name``.

    Raises:
        OSError: the trace file cannot be opened for appending.
    """
    global _active  # noqa: PLW0603 - one tracing a process, like one root logger
    wanted = [exporter] if exporter is not None else []
    if exporter is None and file is not None:
        wanted.append(JsonLinesExporter(file))
    if exporter is None and endpoint:
        wanted.append(otlp_exporter(endpoint))
    redacting = [RedactingExporter(each) for each in wanted]
    provider = TracerProvider(resource=_resource(service, mode))
    for each in redacting:
        provider.add_span_processor(
            BatchSpanProcessor(
                each,
                schedule_delay_millis=EXPORT_DELAY_MS,
                max_queue_size=EXPORT_QUEUE_MAX,
                max_export_batch_size=EXPORT_BATCH_MAX,
            )
        )
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # FastAPI's own request spans look here. It can be set once a process and we are the process.
        trace.set_tracer_provider(provider)
    _active = Tracing(provider, redacting)
    use_trace_ids(_current_ids)
    return _active


def _resource(service: str, mode: str | None) -> Resource:
    """Who makes these spans."""
    told = {
        "service.name": service,
        "service.namespace": NAMESPACE,
        "service.version": version(NAMESPACE),
        "service.instance.id": f"{os.getpid()}@{socket.gethostname()}",
    }
    return Resource.create(told if mode is None else told | {"deployment.environment.name": mode})


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


@contextmanager
def continued(traceparent: str | None) -> Iterator[None]:
    """Spans of the block are children of the caller's; without tracing or a ``traceparent`` nothing changes."""
    if _active is None or traceparent is None:
        yield
        return
    before = attach(_propagator.extract({_TRACEPARENT: traceparent}, Context()))
    try:
        yield
    finally:
        detach(before)


def ended_span(
    name: str,
    duration_ms: float,
    failed: str | None = None,
    kind: SpanKind = SpanKind.CLIENT,
    /,
    **attributes: AttributeValue,
) -> None:
    """Record a child of the current span that ended just now and took ``duration_ms``.

    Outside a span it does nothing: what nobody asked for belongs to no trace. ``failed`` is an error's code.
    """
    if _active is None or not trace.get_current_span().get_span_context().is_valid:
        return
    now_ns = time.time_ns()
    began_ns = now_ns - round(duration_ms * NS_PER_MS)
    child = _active.tracer.start_span(name, kind=kind, attributes=attributes, start_time=began_ns)
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
