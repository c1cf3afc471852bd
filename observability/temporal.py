"""The Temporal SDK's own metrics and log lines, made to fit ours.

Its Rust core writes to standard output unless told otherwise, whole stack traces included, past every
redaction.
"""

from temporalio import activity, workflow
from temporalio.runtime import (
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)


def temporal_runtime(service: str, *, metrics_address: str | None = None) -> Runtime:
    """The SDK runtime of this process: one each, made before the client (``Client.connect(runtime=…)``).

    Args:
        service: name of the process, a label on every SDK metric.
        metrics_address: ``127.0.0.1:port`` to serve the SDK's metrics on (``temporal_request_latency``,
            ``temporal_activity_schedule_to_start_latency`` and so on, in seconds); None for none. These live
            in the core and cannot join our registry's page.

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
    )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=core_errors_only, metrics=prometheus, global_tags={"service": service}
        )
    )
