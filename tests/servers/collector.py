"""A collector on loopback that takes OTLP over HTTP, as a real one does, and keeps what it was sent."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ARRIVES_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Sent:
    """One span as it went over the wire; ids in lower-case hex, ``parent`` empty for the outermost."""

    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """``answer`` is the status that it gives; a `mute` one takes the request and never answers."""

    url: str = ""
    answer: int = 200
    mute: threading.Event = field(default_factory=threading.Event)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Sent]:
        """Everything that arrived."""
        return [each for body in list(self.bodies) for each in _spans(body)]

    def until(self, wanted: Callable[[list[Sent]], bool]) -> list[Sent]:
        """Wait until what arrived is as wanted; from another thread than the event loop's."""
        end = time.monotonic() + ARRIVES_WITHIN_SECONDS
        while not wanted(self.spans):
            assert time.monotonic() < end, sorted(each.name for each in self.spans)
            time.sleep(0.05)
        return self.spans


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run one until the block ends."""
    collector = Collector()
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if collector.mute.is_set():
                released.wait()
                return
            collector.bodies.append(body)
            self.send_response(collector.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(body: bytes) -> Iterator[Sent]:
    request = ExportTraceServiceRequest.FromString(body)
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Sent(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    status=span.status.code,
                    attributes=_values(span.attributes),
                    resource=resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes
    }
