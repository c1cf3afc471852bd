"""Where spans go when they have ended: to a file, or to a collector by OTLP over HTTP; always redacted.

Nothing here is waited for by who works: ended spans stand in a queue of bounded length that one thread empties. A
collector that is slow, mute or gone costs spans, and one log line a minute that says how many.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue

from observability.logging import get_logger
from observability.redaction import redact, redact_text

TRACE_FILE_MODE: Final = 0o600
OTLP_PATH: Final = "/v1/traces"
OTLP_TIMEOUT_SECONDS: Final = 3.0
"""For one batch, tries and pauses together."""
LOSS_TOLD_EVERY_SECONDS: Final = 60.0

_log = get_logger(__name__)


def otlp_exporter(endpoint: str) -> SpanExporter:
    """To a collector: ``http://collector:4318``, or the whole address with its path."""
    # Loaded only where it is wanted: requests and protobuf cost a tenth of a second.
    import logging

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # It would tell of each batch that is lost, twice a second.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    address = endpoint.rstrip("/")
    if not urlsplit(address).path:
        address += OTLP_PATH
    return OTLPSpanExporter(endpoint=address, timeout=OTLP_TIMEOUT_SECONDS)


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
    """Takes secrets out of names, attributes, events and error texts on the way to ``inner``, and counts losses."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._closing = threading.Event()
        self._lost = 0
        self._told_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export redacted copies. Never raises."""
        result = SpanExportResult.FAILURE
        if not self._closing.is_set():
            try:
                result = self._inner.export([_redacted(ended) for ended in spans])
            except Exception as error:  # noqa: BLE001 - an exporter is foreign code in a thread of its own
                _log.debug("spans were not exported", reason=type(error).__name__)
        if result is not SpanExportResult.SUCCESS:
            self._count(len(spans))
        return result

    def give_up(self) -> None:
        """What is not exported yet is lost: the process ends."""
        self._closing.set()

    def _count(self, lost: int) -> None:
        self._lost += lost
        if time.monotonic() - self._told_at >= LOSS_TOLD_EVERY_SECONDS:
            self._told_at = time.monotonic()
            _log.warning("spans are lost: nobody takes them", spans=self._lost)

    def shutdown(self) -> None:
        """Stop the inner exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 3_000) -> bool:
        """Flush the inner exporter."""
        return self._inner.force_flush(timeout_millis)


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
