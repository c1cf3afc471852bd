"""Files in cold storage hold what was sealed, byte for byte, and nothing passes for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.cold.files import (
    CopyWrong,
    audit_lines,
    check_audit_file,
    check_events_file,
    event_lines,
    file_name,
    pack,
    unpack,
)
from schemas.archives import ArchiveKind
from schemas.audit import AuditRow, canonical_json, leaf_hash, leaf_text, text_sha256
from storage.archives import EventRow, SealedRow

START = datetime(2026, 10, 1, 15, 30, tzinfo=UTC)


def sealed(sequence: int, payload: dict[str, object], **fields: str) -> SealedRow:
    """A row and its leaf, as the sealer makes it."""
    text = canonical_json(payload)
    row = AuditRow(
        id=sequence + 7,
        occurred_at=START + timedelta(microseconds=sequence),
        correlation_id="sig-1",
        component="Test",
        actor="ana",
        input_hash=text_sha256(text),
        decision="APPROVED",
        checks=fields.get("checks", "[]"),
        references='["a","ö"]',
        previous_checkpoint="5 00ff" if sequence else None,
    )
    return SealedRow(sequence, leaf_hash(leaf_text(row)), row, text)


ROWS = [sealed(number, {"detail": f"row {number}", "price": "180.50"}) for number in range(3)]
LEAVES = [each.leaf for each in ROWS]
EVENTS = [
    EventRow(n, f"evt_{n}", "trading.signal.created", "sig-1", START, f'{{"number": {n}}}') for n in (4, 5)
]
FILE = pack(audit_lines(ROWS))

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(
    payloads=st.lists(st.dictionaries(_TEXT, _JSON, max_size=4), max_size=4),
    checks=st.lists(_JSON, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_whatever_was_sealed_comes_back(payloads: list[dict[str, object]], checks: list[object]) -> None:
    rows = [
        sealed(number, payload, checks=canonical_json(checks)) for number, payload in enumerate(payloads, 100)
    ]
    _, found = check_audit_file(pack(audit_lines(rows)), [each.leaf for each in rows], 100)
    assert found == [each.payload for each in rows]


def test_a_line_is_the_export_line() -> None:
    fields = json.loads(unpack(FILE)[1])
    assert list(fields) == [
        "actor", "checks", "component", "correlation_id", "decision", "id", "input_hash", "leaf", "occurred_at",
        "payload", "previous_checkpoint", "references", "sequence", "v",
    ]  # fmt: skip
    assert (fields["sequence"], fields["leaf"], fields["payload"]) == (1, LEAVES[1].hex(), ROWS[1].payload)
    assert fields["occurred_at"] == "2026-10-01T15:30:00.000001Z"
    assert file_name(ArchiveKind.AUDIT, 0, 3) == "audit/00000000000000000000-00000000000000000003.jsonl.zst"


def test_no_byte_of_a_copy_can_be_another() -> None:
    """Of its text; of the file itself there is a checksum."""
    text = "\n".join([*unpack(FILE), ""]).encode()
    for at in range(len(text)):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(CopyWrong):
            check_audit_file(_packed(changed), LEAVES, 0)
    assert check_audit_file(_packed(text), LEAVES, 0)[1] == [each.payload for each in ROWS]


def _packed(text: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(text)


def test_no_byte_of_a_file_can_be_another() -> None:
    for at in range(len(FILE)):
        changed = FILE[:at] + bytes([FILE[at] ^ 1]) + FILE[at + 1 :]
        try:
            checked, payloads = check_audit_file(changed, LEAVES, 0)
        except CopyWrong:
            continue
        # A bit of the frame that means nothing: what it holds is the same.
        assert payloads == [each.payload for each in ROWS]
        assert checked.rows_hash == check_audit_file(FILE, LEAVES, 0)[0].rows_hash


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (replace(ROWS[1], row=None), "sequence 1: its audit row is not there"),
        (replace(ROWS[1], payload=None), "sequence 1: its payload is not there"),
        (replace(ROWS[1], payload="{}"), "sequence 1: the payload does not have the hash"),
        (replace(ROWS[1], leaf=LEAVES[0]), "sequence 1: the audit row is not what was sealed"),
        (replace(ROWS[1], row=ROWS[0].row), "sequence 1: the audit row is not what was sealed"),
    ],
)
def test_what_is_not_as_sealed_is_not_written(row: SealedRow, told: str) -> None:
    with pytest.raises(CopyWrong, match=told):
        pack(audit_lines([ROWS[0], row, ROWS[2]]))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file"),
        (b"no file", "cannot be unpacked"),
        (FILE + FILE, "does not end"),
        (pack(unpack(FILE)[:2]), "2 rows where 3 belong"),
        (pack([*unpack(FILE), unpack(FILE)[2]]), "4 rows where 3 belong"),
        (pack([unpack(FILE)[1], unpack(FILE)[0], unpack(FILE)[2]]), "sequence 0: the audit row in the copy"),
        (pack(["null", *unpack(FILE)[1:]]), "sequence 0: no line of ours"),
        (pack([line.replace('"v":1', '"v":2') for line in unpack(FILE)]), "sequence 0: no line of ours"),
    ],
)  # fmt: skip
def test_a_copy_of_something_else_is_wrong(content: bytes, told: str) -> None:
    with pytest.raises(CopyWrong, match=told):
        check_audit_file(content, LEAVES, 0)


def test_events_are_held_against_what_stands() -> None:
    content = pack(event_lines(EVENTS))
    checked = check_events_file(content, EVENTS)
    assert (checked.object_bytes, len(checked.rows_hash)) == (len(content), 64)
    for changed in (
        EVENTS[:1], [*EVENTS, EVENTS[0]], EVENTS[::-1], [EVENTS[0], replace(EVENTS[1], payload='{"number": 6}')],
        [EVENTS[0], replace(EVENTS[1], occurred_at=START + timedelta(microseconds=1))],
        [replace(EVENTS[0], key="sig-2"), EVENTS[1]],
    ):  # fmt: skip
        with pytest.raises(CopyWrong):
            check_events_file(content, changed)
