"""Where a signal's time goes, read from the product's own spans."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

REQUEST_SPAN = "POST /v1/signals"
STEP_PREFIX = "RunActivity:"
START_PREFIX = "StartWorkflow:"
POST_SPAN = "broker.place_order"
"""Within the step that places."""
UNTIL_SENT = "until the request leaves"
UNTIL_THERE = "until the exchange has the POST"


@dataclass(frozen=True)
class Part:
    """One stretch of the way from the request to the POST."""

    name: str
    ms_p50: float


@dataclass(frozen=True)
class _Span:
    name: str
    began_ns: int
    ended_ns: int


def read_parts(file: Path, between: Mapping[str, tuple[int, int]]) -> list[Part]:
    """Medians of what lies between request and POST.

    Args:
        file: the product's trace file.
        between: by signal id, wall nanoseconds at which the request was sent and the POST arrived.
    """
    traces: dict[str, list[_Span]] = defaultdict(list)
    signals: dict[str, str] = {}
    for line in file.read_text().splitlines():
        span = json.loads(line)
        trace_id = span["context"]["trace_id"]
        traces[trace_id].append(_Span(span["name"], _ns(span["start_time"]), _ns(span["end_time"])))
        if span["name"] == REQUEST_SPAN:
            signals[trace_id] = span["attributes"].get("signal_id", "")
    found: dict[str, list[float]] = defaultdict(list)
    for trace_id, signal_id in signals.items():
        if signal_id in between:
            for name, ms in _stretches(traces[trace_id], *between[signal_id]):
                found[name].append(ms)
    return [Part(name, round(statistics.median(values), 2)) for name, values in found.items()]


def _stretches(spans: list[_Span], sent_ns: int, posted_ns: int) -> list[tuple[str, float]]:
    """The way cut at the start and end of each span, in order."""
    request = next(span for span in spans if span.name == REQUEST_SPAN)
    start = next(span for span in spans if span.name.startswith(START_PREFIX))
    marks = [
        ("request sent → token known, body read", request.began_ns),
        ("signal checked and stored", start.began_ns),
        ("Temporal start (eager)", start.ended_ns),
    ]
    last = "workflow began"
    for step in sorted(_steps(spans, posted_ns), key=lambda span: span.began_ns):
        name = step.name.removeprefix(STEP_PREFIX)
        marks.append((f"{last} → {name} begins", step.began_ns))
        if step.ended_ns > posted_ns:
            marks += _within(name, spans, posted_ns)
            break
        marks.append((name, step.ended_ns))
        last = f"{name} done"
    ends = [sent_ns, *(at for _, at in marks)]
    return [(name, (end - begin) / 1e6) for (name, end), begin in zip(marks, ends, strict=False)]


def _within(step: str, spans: list[_Span], posted_ns: int) -> list[tuple[str, int]]:
    """The way through the step that places: what it stores, the request."""
    sent = next((span for span in spans if span.name == POST_SPAN and span.began_ns < posted_ns), None)
    marks = [] if sent is None else [(f"{step}: {UNTIL_SENT}", sent.began_ns)]
    return [*marks, (f"{step}: {UNTIL_THERE}", posted_ns)]


def _steps(spans: list[_Span], posted_ns: int) -> list[_Span]:
    return [span for span in spans if span.name.startswith(STEP_PREFIX) and span.began_ns < posted_ns]


def _ns(text: Any) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)
