"""What /metrics shows, as data: for docs/METRICS.md, and for the tests of alert rules and dashboards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from observability.families import Families
from observability.states import State

UNITS: Final[Mapping[str, str]] = {
    "_ms": "milliseconds",
    "_seconds": "seconds",
    "_usd": "US dollars",
    "_pct": "per cent",
    "_percentage": "per cent",
    "_rate": "share, 0 to 1",
    "_info": "always 1",
    "_engaged": "0 or 1",
    "_open": "count",
    "_on": "0 or 1",
    "_failed": "0 or 1",
}
FLAGS: Final = frozenset({"broker_halt_open", "clock_halt_open"})
"""End like a count and are 0 or 1."""

LABELS: Final[Mapping[str, str]] = {
    "channel": "`slack`, `pagerduty`",
    "code": "the codes of `schemas/alerts.py`, each once it was raised",
    "kind": "of `equity_loss_pct` the two losses with a limit; of `retention_oldest_seconds` `audit`, `events`",
    "mode": "`paper`, `live`, `unknown`",
    "operation": "the methods of the broker's port (`place_order`, `get_clock`, …)",
    "outcome": "of calls and POSTs `ok`, `refused`, `rate_limited`, `unauthorized`, `server_error`, `no_answer`; "
    "of signals `approved`, `rejected`; of budget tokens `granted`, `none_left`; of alert messages `sent`, "
    "`again`, `dead`; of the broker's new keys `taken`, `refused`",
    "provider": "`primary`, `secondary`",
    "queue": "the task queues: `orders`, `risk`, `execution`, `operations`, `kill-switch`; compact: `trading`, "
    "`kill-switch`",
    "reason": "the names of the risk checks",
    "scope": "`gross`, `net`, `largest_ticker`, `largest_strategy`",
    "service": "the processes: `gateway`, `orders`, `risk`, `execution`, `operations`, `console`, `codec`, or "
    "`compact`",
    "share": "the shares of the request budget",
    "topic": "the topics of `docs/EVENTS.md`",
    "version": "one for a process",
}
"""Every label of ours and what bounds it. No id, no account, no ticker: a value lives as long as the process."""


@dataclass(frozen=True)
class Described:
    """One family."""

    name: str
    """As scraped: a counter's ends in ``_total``; a histogram has ``_bucket``, ``_sum`` and ``_count`` of it."""
    kind: str
    unit: str
    labels: tuple[str, ...]
    text: str

    @property
    def samples(self) -> Mapping[str, tuple[str, ...]]:
        """The labels of every name that a query may use."""
        if self.kind == "histogram":
            return {
                f"{self.name}_bucket": (*self.labels, "le"),
                f"{self.name}_sum": self.labels,
                f"{self.name}_count": self.labels,
            }
        return {self.name: self.labels}


def families() -> list[Described]:
    """Every family of ours, by name."""
    made = Families(error_share=float, rejected_share=float, window_minutes=5)
    found = [
        _described(each.gauge if isinstance(each, State) else each)
        for each in vars(made).values()
        if isinstance(each, Counter | Gauge | Histogram | State)
    ]
    own = {each.name for each in found}
    # The two rates have no attribute: nobody sets them.
    found += [
        Described(family.name, "gauge", unit(family.name), (), family.documentation)
        for family in made.registry.collect()
        if family.type == "gauge" and family.name not in own
    ]
    return sorted(found, key=lambda each: each.name)


def unit(name: str) -> str:
    """What a family counts, told by the end of its name."""
    if name in FLAGS:
        return "0 or 1"
    for ending, meaning in UNITS.items():
        if name.endswith(ending):
            return meaning
    return "count"


def _described(metric: Counter | Gauge | Histogram) -> Described:
    (told,) = metric.describe()
    name = f"{told.name}_total" if told.type == "counter" else told.name
    return Described(name, told.type, unit(told.name), tuple(metric._labelnames), told.documentation)


class Foreign(Described):
    """A family of somebody else's that a rule or a dashboard of ours relies on."""


_SDK: Final = ("namespace", "service", "service_name", "task_queue")
SDK: Final[tuple[Foreign, ...]] = (
    Foreign(
        "temporal_activity_schedule_to_start_latency", "histogram", "seconds", _SDK,
        "From an activity's scheduling to its start here: grows when slots are short.",
    ),
    Foreign(
        "temporal_activity_execution_latency", "histogram", "seconds", (*_SDK, "activity_type", "workflow_type"),
        "One try of an activity.",
    ),
    Foreign(
        "temporal_activity_execution_failed", "counter", "count",
        (*_SDK, "activity_type", "workflow_type", "failure_reason"), "Tries of activities that failed.",
    ),
    Foreign(
        "temporal_local_activity_execution_latency", "histogram", "seconds",
        (*_SDK, "activity_type", "workflow_type"), "One try of a local activity (compact).",
    ),
    Foreign(
        "temporal_workflow_task_schedule_to_start_latency", "histogram", "seconds", _SDK,
        "From a workflow task's scheduling to its start here.",
    ),
    Foreign(
        "temporal_workflow_task_execution_failed", "counter", "count", (*_SDK, "workflow_type", "failure_reason"),
        "Workflow tasks that failed, and are tried again.",
    ),
    Foreign(
        "temporal_workflow_completed", "counter", "count", (*_SDK, "workflow_type"), "Runs that have ended well.",
    ),
    Foreign(
        "temporal_workflow_failed", "counter", "count", (*_SDK, "workflow_type"), "Runs that have failed.",
    ),
    Foreign(
        "temporal_worker_task_slots_available", "gauge", "count", (*_SDK, "worker_type"),
        "Slots that are free, by kind of task.",
    ),
    Foreign(
        "temporal_worker_task_slots_used", "gauge", "count", (*_SDK, "worker_type"),
        "Slots that are taken, by kind of task.",
    ),
    Foreign(
        "temporal_sticky_cache_size", "gauge", "count", _SDK, "Workflows that are kept in memory.",
    ),
    Foreign(
        "temporal_sticky_cache_total_forced_eviction", "counter", "count", _SDK,
        "Workflows that had to leave it for others.",
    ),
    Foreign(
        "temporal_request", "counter", "count", ("namespace", "service", "service_name", "operation"),
        "Requests to Temporal's front end.",
    ),
    Foreign(
        "temporal_request_failure", "counter", "count",
        ("namespace", "service", "service_name", "operation", "status_code"), "Those that failed.",
    ),
    Foreign(
        "temporal_request_latency", "histogram", "seconds", ("namespace", "service", "service_name", "operation"),
        "How long they took.",
    ),
)  # fmt: skip
"""The SDK's, on the same page. A counter of theirs has no ``_total``, and is absent until it has counted."""

SERVER: Final[tuple[Foreign, ...]] = (
    Foreign(
        "service_requests", "counter", "count", ("operation", "service_name", "namespace"),
        "Requests that the server took.",
    ),
    Foreign(
        "service_error_with_type", "counter", "count",
        ("operation", "service_name", "namespace", "error_type"), "Requests that it answered with an error.",
    ),
    Foreign(
        "service_latency", "histogram", "seconds", ("operation", "service_name", "namespace"),
        "How long they took.",
    ),
    Foreign(
        "persistence_latency", "histogram", "seconds", ("operation", "service_name"),
        "How long its database took.",
    ),
)  # fmt: skip
"""Temporal's server's own, on a port of its own."""

SCRAPED: Final[tuple[Foreign, ...]] = (
    Foreign("up", "gauge", "0 or 1", ("job", "process", "instance"), "Prometheus' own: whether a process answers."),
    Foreign(
        "ALERTS", "gauge", "always 1", ("alertname", "alertstate", "severity", "told"),
        "Prometheus' own: the alerts that are pending or fire.",
    ),
    Foreign(
        "alertmanager_notifications_failed_total", "counter", "count", ("integration",),
        "Alertmanager's own: messages that did not arrive.",
    ),
)  # fmt: skip

TARGET_LABELS: Final = ("job", "process", "instance")
"""Prometheus puts these on everything that it scrapes."""
