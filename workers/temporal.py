"""The embedded Temporal server (development server of the `temporal` program) as a child process."""

import asyncio
import http.client
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.children import patient
from workers.datadir import free_port
from workers.supervisor import ChildSpec

NAME = "temporal"
NAMESPACE = "trading"
RETENTION_SECONDS = 30 * 24 * 3600
# The namespace's custom search attributes; a namespace has room for ten keywords and three keyword lists.
SEARCH_ATTRIBUTES = {
    "Ticker": "Keyword",
    "Strategy": "Keyword",
    "Side": "Keyword",
    "OrderStatus": "Keyword",
    "Flags": "KeywordList",
}
# One history shard reads its queues at most 20 times a second and fires timers up to 1 s late by default:
# six activities in a row took 650 ms, with these 120 to 140 ms. For one-shard development servers only.
FAST = {
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    "history.visibilityProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxTimeShift": '"10ms"',
}
TIME_SKIPPING = {"frontend.WorkflowTimeSkippingEnabled": "true"}
# Survives the death of any process; a loss of power can cost the last commits. Not for production.
SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": "normal"}
READY_TIMEOUT_SECONDS = 30.0
STOP_GRACE_SECONDS = 10.0
HTTP_TIMEOUT_SECONDS = 2.0
ADVICE = "the embedded server comes with: pip install 'trading-interface[embedded]'"


class TemporalError(Exception):
    """The embedded Temporal server cannot be used here; the message says why and what to do."""


def find_program(program: Path | None = None) -> Path:
    """Find the `temporal` program: the one given, else beside this Python, else on PATH.

    Raises:
        TemporalError: there is none.
    """
    on_path = shutil.which("temporal")
    beside = Path(sys.executable).with_name("temporal")
    candidates = [program] if program else [beside, *([Path(on_path)] if on_path else [])]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = f" at {program}" if program else ""
    raise TemporalError(f"no temporal program found{looked}; {ADVICE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The ports of one server on 127.0.0.1, free ones by default, and its file (None: memory only)."""

    program: Path = field(default_factory=find_program)
    db_file: Path | None = None
    port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    codec_url: str | None = None
    """Where the Web UI has payloads decoded."""

    @property
    def address(self) -> str:
        """``host:port`` of the gRPC front end."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui(self) -> str:
        """Address of the Web UI; with a codec under the name that the console's cookie is sent under."""
        return f"http://{'127.0.0.1' if self.codec_url is None else 'localhost'}:{self.ui_port}"


def spec(
    server: Server, *, log_path: Path, time_skipping: bool = False, name: str = NAME, fast: bool = True
) -> ChildSpec:
    """Describe the server as a child process. ``fast=False`` leaves it as its makers ship it, to be measured.

    Ready means: the front end and the Web UI answer, and the namespace has its retention and its search
    attributes.
    """

    async def ready() -> str | None:
        return await asyncio.to_thread(_make_ready, server)

    dynamic = (FAST if fast else {}) | (TIME_SKIPPING if time_skipping else {})
    options = {
        "--ip": "127.0.0.1",
        "--port": str(server.port),
        "--ui-port": str(server.ui_port),
        "--http-port": str(server.http_port),
        "--metrics-port": str(server.metrics_port),
        "--namespace": NAMESPACE,
        "--log-level": "warn",
    }
    if server.db_file is not None:
        options["--db-filename"] = str(server.db_file)
    if server.codec_url is not None:
        options["--ui-codec-endpoint"] = server.codec_url
    argv = [str(server.program), "server", "start-dev", *(part for pair in options.items() for part in pair)]
    for flag, values in (
        ("--search-attribute", SEARCH_ATTRIBUTES),
        ("--dynamic-config-value", dynamic),
        ("--sqlite-pragma", SQLITE_PRAGMAS if server.db_file is not None else {}),
    ):
        argv += [part for key, value in values.items() for part in (flag, f"{key}={value}")]
    return ChildSpec(
        name=name,
        argv=tuple(argv),
        log_path=log_path,
        # Its telemetry and its configuration file would otherwise depend on who starts it.
        env={"HOME": str(log_path.parent), "TEMPORAL_CONFIG_FILE": "/dev/null"},
        grace_seconds=STOP_GRACE_SECONDS,
        ready=ready,
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        advice="read the log; if a port is taken, start again (a free one is chosen each time)",
    )


def _make_ready(server: Server) -> str | None:
    """Ask the server's HTTP interface, which needs no gRPC client; return why it is not ready, or None."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    try:
        status, described = _request(server.http_port, "GET", path)
        if status != http.client.OK:
            return f"namespace {NAMESPACE}: {described}"
        if described["config"]["workflowExecutionRetentionTtl"] != f"{RETENTION_SECONDS}s":
            # The development server gives every namespace one day, and has no option for it.
            config = {"workflowExecutionRetentionTtl": f"{RETENTION_SECONDS}s"}
            status, answer = _request(server.http_port, "POST", f"{path}/update", {"config": config})
            return f"retention set, {answer if status != http.client.OK else 'to be checked'}"
        status, attributes = _request(server.http_port, "GET", f"{path}/search-attributes")
        missing = SEARCH_ATTRIBUTES.keys() - attributes.get("customAttributes", {}).keys()
        if status != http.client.OK or missing:
            return f"search attributes missing: {sorted(missing)}"
        status, _ = _request(server.ui_port, "GET", "/", parse=False)
    except (http.client.HTTPException, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None if status == http.client.OK else f"Web UI answers {status}"


def _request(
    port: int, method: str, path: str, body: dict[str, Any] | None = None, *, parse: bool = True
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(HTTP_TIMEOUT_SECONDS))
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if parse else {}
    finally:
        connection.close()
