"""Files in cold storage: JSON lines, sorted keys, one row each, compressed with zstd. Audit rows as `trading audit
export` has them.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.archives import ArchiveKind
from schemas.audit import (
    LEAF_VERSION,
    AuditRow,
    canonical_json,
    leaf_hash,
    leaf_text,
    leaf_time,
    text_sha256,
)
from storage.archives import EventRow, SealedRow

COMPRESSION_LEVEL: Final = 9
TEXT_BYTES_MAX: Final = 512 * 1024 * 1024
"""Of one file, unpacked: what claims to be more is none of ours."""
EVENT_LINE_VERSION: Final = 1
BETWEEN_FIELDS: Final = "\x1f"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class CopyWrong(Exception):
    """What would go, or what the store holds, is not what was sealed; the message names the first wrong row."""


@dataclass(frozen=True)
class Checked:
    """A copy that holds what it should."""

    rows_hash: str
    """As the database's ``archived_rows_hash`` has it."""
    object_hash: str
    """sha256 over its bytes."""
    object_bytes: int


def file_name(kind: ArchiveKind, first: int, stop: int) -> str:
    """The object's name, in the order of what it holds."""
    return f"{kind.value}/{first:020d}-{stop:020d}.jsonl.zst"


def pack(lines: Iterable[str]) -> bytes:
    """The lines as a file: the same lines give the same bytes, with the same release of zstd."""
    zstd = _zstd()
    options = {
        zstd.CompressionParameter.compression_level: COMPRESSION_LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    text = "".join(f"{line}\n" for line in lines)
    packed: bytes = zstd.compress(text.encode(), options=options)
    return packed


def unpack(content: bytes) -> list[str]:
    """The lines of a file.

    Raises:
        CopyWrong: it is none, or is cut off.
    """
    zstd = _zstd()
    reader = zstd.ZstdDecompressor()
    try:
        text = reader.decompress(content, max_length=TEXT_BYTES_MAX)
        if not reader.eof or reader.unused_data:
            raise CopyWrong("the file does not end where it should")
        lines: list[str] = text.decode().split("\n")
    except (zstd.ZstdError, EOFError, UnicodeDecodeError) as error:
        raise CopyWrong(f"the file cannot be unpacked: {error}") from error
    if lines.pop() != "":
        raise CopyWrong("the last line is cut off")
    return lines


def audit_lines(rows: Iterable[SealedRow]) -> Iterator[str]:
    """Lines of sealed rows; each is held against its leaf, and its payload against its hash.

    Raises:
        CopyWrong: one is missing, or is not what was sealed: nothing of the file may be written.
    """
    for each in rows:
        if each.row is None:
            raise CopyWrong(f"sequence {each.sequence}: its audit row is not there")
        if each.payload is None:
            raise CopyWrong(f"sequence {each.sequence}: its payload is not there, or not old enough")
        text = leaf_text(each.row)
        if leaf_hash(text) != each.leaf:
            raise CopyWrong(f"sequence {each.sequence}: the audit row is not what was sealed")
        if text_sha256(each.payload) != each.row.input_hash and not each.moved:
            raise CopyWrong(f"sequence {each.sequence}: the payload does not have the hash in its audit row")
        yield _audit_line(text, each.leaf, each.payload, each.sequence)


def check_audit_file(
    content: bytes, leaves: Sequence[bytes], first: int, moved: Collection[int] = ()
) -> tuple[Checked, list[str]]:
    """Hold a file that was read back against the leaves of its rows.

    Args:
        leaves: of the rows from sequence ``first`` on, as they are sealed.
        moved: sequences whose payloads came over from an earlier release without the text that was hashed: of
            them only the sum of the database says that they are right.

    Returns:
        What was found, and the payloads in order.

    Raises:
        CopyWrong: naming the first row that is not what was sealed, or is missing or too much.
    """
    lines = unpack(content)
    if len(lines) != len(leaves):
        raise CopyWrong(f"{len(lines)} rows where {len(leaves)} belong")
    rows, payloads = hashlib.sha256(), []
    for sequence, (line, leaf) in enumerate(zip(lines, leaves, strict=True), start=first):
        payload = _checked_payload(line, leaf, sequence, moved=sequence in moved)
        payloads.append(payload)
        rows.update(leaf + hashlib.sha256(payload.encode()).digest())
    return _checked(rows.hexdigest(), content), payloads


def _checked_payload(line: str, leaf: bytes, sequence: int, *, moved: bool) -> str:
    try:
        fields = json.loads(line)
        row, payload = _row(fields), fields["payload"]
        text = leaf_text(row)
        same = line == _audit_line(text, leaf, payload, sequence)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CopyWrong(f"sequence {sequence}: no line of ours: {type(error).__name__}") from error
    if leaf_hash(text) != leaf or not same:
        raise CopyWrong(f"sequence {sequence}: the audit row in the copy is not what was sealed")
    if not isinstance(payload, str) or (text_sha256(payload) != row.input_hash and not moved):
        raise CopyWrong(
            f"sequence {sequence}: the payload in the copy does not have the hash in its audit row"
        )
    return payload


def _audit_line(text: str, leaf: bytes, payload: str, sequence: int) -> str:
    return canonical_json(json.loads(text) | {"leaf": leaf.hex(), "payload": payload, "sequence": sequence})


def _row(fields: dict[str, Any]) -> AuditRow:
    if fields["v"] != LEAF_VERSION:
        raise ValueError("a leaf of another version")
    return AuditRow(
        id=fields["id"],
        occurred_at=datetime.fromisoformat(fields["occurred_at"]),
        correlation_id=fields["correlation_id"],
        component=fields["component"],
        actor=fields["actor"],
        input_hash=fields["input_hash"],
        decision=fields["decision"],
        checks=canonical_json(fields["checks"]),
        references=canonical_json(fields["references"]),
        previous_checkpoint=fields["previous_checkpoint"],
    )


def event_lines(rows: Iterable[EventRow]) -> Iterator[str]:
    """Lines of events; the payload is the exact text that the database holds."""
    for each in rows:
        yield canonical_json(
            {
                "event_id": each.event_id,
                "key": each.key,
                "occurred_at": leaf_time(each.occurred_at),
                "payload": each.payload,
                "position": each.position,
                "topic": each.topic,
                "v": EVENT_LINE_VERSION,
            }
        )


def check_events_file(content: bytes, rows: Sequence[EventRow]) -> Checked:
    """Hold a file that was read back against the events as they stand.

    Raises:
        CopyWrong: naming the first position that differs.
    """
    lines = unpack(content)
    if len(lines) != len(rows):
        raise CopyWrong(f"{len(lines)} events where {len(rows)} belong")
    found = hashlib.sha256()
    for line, row, expected in zip(lines, rows, event_lines(rows), strict=True):
        if line != expected:
            raise CopyWrong(f"position {row.position}: the event in the copy is not what stands here")
        found.update(event_hash(row))
    return _checked(found.hexdigest(), content)


def event_hash(row: EventRow) -> bytes:
    """sha256 over an event's fields, as the database computes it."""
    microseconds = (row.occurred_at - _EPOCH) // _MICROSECOND
    fields = (row.position, row.event_id, row.topic, row.key, microseconds, row.payload)
    return hashlib.sha256(BETWEEN_FIELDS.join(str(each) for each in fields).encode()).digest()


def _checked(rows_hash: str, content: bytes) -> Checked:
    return Checked(rows_hash, hashlib.sha256(content).hexdigest(), len(content))


def _zstd() -> Any:
    """The standard library's from Python 3.14 on."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
