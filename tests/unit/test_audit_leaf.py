"""The leaf of an audit row: the fast text is the canonical JSON, and a known row has a known hash."""

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import AuditRow, canonical_json, leaf_hash, leaf_text, previous_checkpoint

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.builds(
    AuditRow,
    id=st.integers(1, 2**63 - 1),
    occurred_at=st.datetimes(
        min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(minutes=345))]),
    ),
    correlation_id=TEXT, component=TEXT, actor=TEXT, input_hash=TEXT, decision=TEXT,
    checks=st.lists(VALUE, max_size=3).map(canonical_json),
    references=st.lists(TEXT, max_size=3).map(canonical_json),
    previous_checkpoint=st.none() | TEXT,
)  # fmt: skip


@given(ROWS)
def test_the_fast_text_is_the_canonical_json(row: AuditRow) -> None:
    at = row.occurred_at.astimezone(UTC)
    assert leaf_text(row) == canonical_json({
        "actor": row.actor,
        "checks": json.loads(row.checks),
        "component": row.component,
        "correlation_id": row.correlation_id,
        "decision": row.decision,
        "id": row.id,
        "input_hash": row.input_hash,
        "occurred_at": f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}"
        f".{at.microsecond:06d}Z",
        "previous_checkpoint": row.previous_checkpoint,
        "references": json.loads(row.references),
        "v": 1,
    })  # fmt: skip


def test_a_known_row_has_a_known_leaf() -> None:
    row = AuditRow(
        id=7, occurred_at=datetime(2026, 11, 26, 14, 30, tzinfo=UTC), correlation_id="sig-1",
        component="RiskManager", actor="risk", input_hash="ab" * 32, decision="APPROVED",
        checks='[{"name":"größe"}]', references="[]",
        previous_checkpoint=previous_checkpoint(3, "cd" * 32),
    )  # fmt: skip
    assert leaf_text(row) == (
        '{"actor":"risk","checks":[{"name":"größe"}],"component":"RiskManager","correlation_id":"sig-1",'
        f'"decision":"APPROVED","id":7,"input_hash":"{"ab" * 32}","occurred_at":"2026-11-26T14:30:00.000000Z",'
        f'"previous_checkpoint":"3 {"cd" * 32}","references":[],"v":1}}'
    )
    assert leaf_hash(leaf_text(row)).hex() == KNOWN


KNOWN = "c28fc4b2e5821ed224af3ff787e3c3406bc6245bb507b781fbab217fd692f438"
