"""The way of a signal is cut at its spans, without a gap: the stretches come to the whole."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.bench_page import WHAT_FOR
from benchmarks.breakdown import POST_SPAN, REQUEST_SPAN, read_parts
from schemas import wire

SENT = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
ASSESS, CHECK, PLACE = (
    f"RunActivity:{name}"
    for name in (wire.ACTIVITY_ASSESS_RISK, wire.ACTIVITY_CHECK_PRE_TRADE, wire.ACTIVITY_PLACE_ORDER)
)
SPANS = {
    REQUEST_SPAN: (2, 30),
    f"StartWorkflow:{wire.WORKFLOW_ORDER}": (5, 9),
    ASSESS: (12, 18),
    CHECK: (19, 24),
    PLACE: (25, 40),
    POST_SPAN: (31, 38),
    f"RunActivity:{wire.ACTIVITY_SETTLE_ORDER}": (50, 60),
}
POSTED_MS = 33


def trace(file: Path, spans: dict[str, tuple[int, int]]) -> Path:
    """One signal's spans, milliseconds after it was sent."""
    lines = [
        json.dumps({
            "name": name,
            "context": {"trace_id": "0x1"},
            "start_time": (SENT + timedelta(milliseconds=began)).isoformat(),
            "end_time": (SENT + timedelta(milliseconds=ended)).isoformat(),
            "attributes": {"signal_id": "s1"} if name == REQUEST_SPAN else {},
        })
        for name, (began, ended) in spans.items()
    ]  # fmt: skip
    file.write_text("\n".join(lines))
    return file


def cut(file: Path) -> dict[str, float]:
    sent = int(SENT.timestamp()) * 10**9
    return {each.name: each.ms_p50 for each in read_parts(file, {"s1": (sent, sent + POSTED_MS * 10**6)})}


def test_each_stretch_is_told_with_what_it_is_spent_on(tmp_path: Path) -> None:
    found = cut(trace(tmp_path / "trace.jsonl", SPANS))
    assert list(found.values()) == [2, 3, 4, 3, 6, 1, 5, 1, 6, 2]
    assert sum(found.values()) == POSTED_MS
    assert found.keys() == WHAT_FOR.keys(), "in their order, none without its words"
