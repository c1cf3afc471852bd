"""When a placement waits for the books."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from risk.readiness import (
    RECONCILED_AGE_MAX,
    STREAM_GAP_MAX,
    Readiness,
    can_be_mended,
    waits_for,
)

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
TICK = timedelta(microseconds=1)
GOOD = Readiness(read_at=NOW, finished_at=NOW, last_seen_at=NOW, gap_ended_at=NOW - TICK)


@pytest.mark.parametrize(
    ("books", "waits", "mended"),
    [
        (GOOD, None, False),
        (replace(GOOD, kill_due=True), "kill switch", False),
        (Readiness(), "not been reconciled", True),
        (Readiness(last_seen_at=NOW), "not been reconciled", True),
        (Readiness(read_at=NOW, finished_at=NOW), "not been connected", False),
        (replace(GOOD, finished_at=NOW - RECONCILED_AGE_MAX), None, False),
        (replace(GOOD, finished_at=NOW - RECONCILED_AGE_MAX - TICK), "15 min old", True),
        (replace(GOOD, last_seen_at=None, finished_at=NOW - RECONCILED_AGE_MAX - TICK), "15 min old", True),
        (replace(GOOD, gap_ended_at=NOW), "reconciled since", True),
        (Readiness(read_at=NOW, finished_at=NOW, last_seen_at=NOW - STREAM_GAP_MAX), None, False),
        (Readiness(read_at=NOW, finished_at=NOW, last_seen_at=NOW - STREAM_GAP_MAX - TICK), "silent", False),
    ],
)
def test_at_its_edges(books: Readiness, waits: str | None, mended: bool) -> None:
    told = waits_for(books, NOW)
    assert (told is None) is (waits is None)
    assert (waits or "") in (told or "")
    assert can_be_mended(books, NOW) is mended
