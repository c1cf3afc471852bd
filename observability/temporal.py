"""The Temporal SDK's own metrics and log lines, made to fit ours.

Its Rust core writes to standard output unless told otherwise, whole stack traces included, past every
redaction. Its metrics live in that core, which serves them by itself: on a port of loopback that only
``sdk_page`` reads, so that they stand on our own page.
"""

import http.client
import socket
from dataclasses import dataclass
from typing import Final

from temporalio import activity, workflow
from temporalio.runtime import (
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from observability.logging import get_logger

LOOPBACK: Final = "127.0.0.1"
BIND_TRIES: Final = 5
"""Between a free port being found and being bound, another process may take it."""
LATENCY_BUCKETS_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
)  # fmt: skip
"""The core's own begin at 0.1 s, where nearly everything of ours is over."""
FINE: Final = (
    "temporal_activity_schedule_to_start_latency",
    "temporal_activity_execution_latency",
    "temporal_local_activity_execution_latency",
    "temporal_workflow_task_schedule_to_start_latency",
    "temporal_workflow_task_execution_latency",
    "temporal_request_latency",
)
PAGE_SECONDS: Final = 2.0
"""For the core's page: it is on this machine, in this very process."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class CountedRuntime:
    """A runtime, and where its core serves its metrics."""

    runtime: Runtime
    port: int

    def page(self) -> bytes:
        """The SDK's metrics in the text format, nothing where they cannot be read. Blocks briefly."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=PAGE_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            _log.warning("the Temporal SDK's metrics cannot be read", reason=type(error).__name__)
            return b""
        finally:
            connection.close()


def temporal_runtime(service: str, *, metrics_address: str | None = None) -> Runtime:
    """The SDK runtime of this process: one each, made before the client (``Client.connect(runtime=…)``).

    Args:
        service: name of the process, a label on every SDK metric.
        metrics_address: ``127.0.0.1:port`` to serve the SDK's metrics on (``temporal_request_latency``,
            ``temporal_activity_schedule_to_start_latency`` and so on, in seconds); None for none.

    Also takes the workflow and activity ids out of the message text of ``workflow.logger`` and
    ``activity.logger``: they stand in fields of their own.
    """
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    core_errors_only = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    if metrics_address is None:
        return Runtime(telemetry=TelemetryConfig(logging=core_errors_only))
    # Suffixes off: they would rename counters whose names are promised.
    prometheus = PrometheusConfig(
        bind_address=metrics_address,
        durations_as_seconds=True,
        counters_total_suffix=False,
        unit_suffix=False,
        histogram_bucket_overrides=dict.fromkeys(FINE, LATENCY_BUCKETS_SECONDS),
    )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=core_errors_only, metrics=prometheus, global_tags={"service": service}
        )
    )


def counted_runtime(service: str) -> CountedRuntime:
    """The same with its metrics on a free port of loopback.

    Raises:
        OSError: no port could be bound.
    """
    refused = ""
    for _ in range(BIND_TRIES):
        with socket.socket() as found:
            found.bind((LOOPBACK, 0))
            port: int = found.getsockname()[1]
        try:
            return CountedRuntime(temporal_runtime(service, metrics_address=f"{LOOPBACK}:{port}"), port)
        except (ValueError, RuntimeError) as error:
            refused = str(error)
    raise OSError(f"no port for the Temporal SDK's metrics: {refused}")
