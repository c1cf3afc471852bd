"""Lines of an export, a row each: canonical JSON of the leaf's fields with ``leaf``, ``payload``, ``sequence``.

The leaf's text is a line without those three, so a good line is cut and not parsed. Whatever is not exactly so is
parsed, and told what is wrong with it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Any, Final

from audit.check.digests import NO_LEAF, Digest, Named
from audit.check.findings import Wrong
from audit.check.tree import HASH_BYTES
from schemas.audit import (
    LEAF_PREFIX,
    LEAF_VERSION,
    AuditRow,
    canonical_json,
    leaf_hash,
    leaf_text,
    text_sha256,
)

PARSED_MAX: Final = 8
"""Lines parsed one by one, where one of them is not good."""

_LEAF: Final = b',"leaf":"'
_LEAF_CUT: Final = len(_LEAF) + 64 + 1
_TIME_CUT: Final = _LEAF_CUT + len(b',"occurred_at":"2026-11-23T15:15:00.000000Z"')
_PAYLOAD: Final = b',"payload":"'
_NO_PAYLOAD: Final = b',"payload":null'
_PREVIOUS: Final = b',"previous_checkpoint":'
_REFERENCES: Final = b',"references":'
_SEQUENCE: Final = b',"sequence":'
_END: Final = b',"v":%d}' % LEAF_VERSION
_LEAF_FIELDS: Final = frozenset(
    {
        "actor", "checks", "component", "correlation_id", "decision", "id", "input_hash", "occurred_at",
        "previous_checkpoint", "references", "v",
    }
)  # fmt: skip
_FIELDS: Final = _LEAF_FIELDS | {"leaf", "payload", "sequence"}
_TEXTS: Final = ("actor", "component", "correlation_id", "decision", "input_hash", "leaf", "occurred_at")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_INPUT_HASH: Final = '"input_hash":"'
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_BACKSLASH: Final = b"\\"
_ESCAPED_QUOTE: Final = b'\\"'
_QUOTE: Final = b'"'
_FRAME_QUOTES: Final = 4
"""Those of ``,"payload":""``."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, judged by itself."""

    sequence: int | None = None
    audit_id: int | None = None
    leaf: bytes = NO_LEAF
    stored: bytes = b""
    previous: str | None = None
    correlation_id: str | None = None
    has_payload: bool = False
    wrong: tuple[Wrong, str] | None = None
    fields: dict[str, Any] | None = None


def line_of(row: AuditRow, sequence: int, leaf: bytes, payload: str | None) -> str:
    """The line of a row, put together by hand as `leaf_text` is."""
    text = leaf_text(row)
    leaf_at = text.index(_INPUT_HASH + row.input_hash) + len(_INPUT_HASH) + len(row.input_hash) + 1
    payload_at = leaf_at + _TIME_CUT - _LEAF_CUT
    end = text.rindex(",")
    payload_text = "null" if payload is None else encode_basestring(payload)
    return (
        f'{text[:leaf_at]},"leaf":"{leaf.hex()}"{text[leaf_at:payload_at]},"payload":{payload_text}'
        f'{text[payload_at:end]},"sequence":{sequence}{text[end:]}'
    )


def digest_lines(lines: Sequence[bytes]) -> Digest:
    """Hash a batch of lines anew. Fast where all of them are good; where any is not, it is looked for by halves."""
    found = _cut_all(lines)
    if found is not None:
        return found
    if len(lines) <= PARSED_MAX:
        return _parse_all(lines)
    half = len(lines) // 2
    return digest_lines(lines[:half]).followed_by(digest_lines(lines[half:]))


def _cut_all(lines: Sequence[bytes]) -> Digest | None:
    """The batch, if every line is exactly as exports are written and the numbers have no holes; else None."""
    texts: list[bytes] = []
    payloads: list[bytes] = []
    hashes: list[bytes] = []
    stored: list[bytes] = []
    numbers: list[bytes] = []
    previous: list[bytes] = []
    plain: list[bytes] = []
    before = _PREVIOUS
    for line in lines:
        leaf_at = line.find(_LEAF)
        payload_at = leaf_at + _TIME_CUT
        end = line.rfind(before)  # From the end: it is near.
        if end < payload_at or before is _PREVIOUS:
            end = line.find(_PREVIOUS, payload_at)
            before = line[end : line.find(_REFERENCES, end) + len(_REFERENCES)] if end > 0 else b""
        if leaf_at < 0 or not before:
            return None
        last = line.rfind(_SEQUENCE)
        parts = (LEAF_PREFIX, line[:leaf_at], line[leaf_at + _LEAF_CUT : payload_at], line[end:last], _END)
        texts.append(b"".join(parts))
        stored.append(line[leaf_at + len(_LEAF) : leaf_at + _LEAF_CUT])
        numbers.append(line[last:])
        previous.append(before)
        segment = line[payload_at:end]
        payload = segment.translate(None, _BACKSLASH)
        if payload.count(_QUOTE) - _FRAME_QUOTES == len(segment) - len(payload):
            plain.append(segment)
        elif segment != _NO_PAYLOAD:
            payload = _unescaped(segment)
        if payload[: len(_PAYLOAD)] == _PAYLOAD and payload[-1:] == _QUOTE:
            payloads.append(payload[len(_PAYLOAD) : -1])
            hashes.append(line[leaf_at - 65 : leaf_at - 1])
        elif segment != _NO_PAYLOAD:
            return None
    escaped = b"".join(plain)
    if escaped.count(_ESCAPED_QUOTE) != escaped.count(_BACKSLASH):
        return None
    if b"".join([sha256(payload).digest() for payload in payloads]).hex().encode() != b"".join(hashes):
        return None
    return _consistent(
        lines, [sha256(text).digest() for text in texts], stored, numbers, previous, len(payloads)
    )


def _unescaped(segment: bytes) -> bytes:
    """A payload with more than quotes escaped, framed as it was; nothing where that is not canonical."""
    try:
        text = json.loads(segment[len(_PAYLOAD) - 1 :].decode())
    except ValueError:
        return b""
    if not isinstance(text, str) or _PAYLOAD[:-1] + encode_basestring(text).encode() != segment:
        return b""
    return _PAYLOAD + text.encode() + _QUOTE


def _consistent(
    lines: Sequence[bytes],
    leaves: list[bytes],
    stored: list[bytes],
    numbers: list[bytes],
    previous: list[bytes],
    payloads: int,
) -> Digest | None:
    """What was cut, if it is what the lines say of themselves."""
    if b"".join(leaves).hex('"', -HASH_BYTES).encode() + _QUOTE != b"".join(stored):
        return None
    start = numbers[0][len(_SEQUENCE) : -len(_END)]
    if not start.isdigit():
        return None
    sequences = range(int(start), int(start) + len(lines))
    if b"".join(numbers) != b"".join([b"%s%d%s" % (_SEQUENCE, each, _END) for each in sequences]):
        return None
    known = {each: json.loads(each[len(_PREVIOUS) : -len(_REFERENCES)]) for each in set(previous)}
    return Digest(
        sequences=sequences,
        leaves=leaves,
        stored=leaves,
        previous=[known[each] for each in previous],
        name=lambda place: _named(lines[place]),
        payloads=payloads,
        elsewhere=len(lines) - payloads,
    )


def _named(line: bytes) -> Named:
    parsed = parse_line(line)
    return Named(parsed.audit_id, parsed.correlation_id)


def _parse_all(lines: Sequence[bytes]) -> Digest:
    parsed = [parse_line(line) for line in lines]
    return Digest(
        sequences=[each.sequence for each in parsed],
        leaves=[each.leaf for each in parsed],
        stored=[each.stored for each in parsed],
        previous=[each.previous for each in parsed],
        name=lambda place: Named(parsed[place].audit_id, parsed[place].correlation_id),
        wrong={place: each.wrong for place, each in enumerate(parsed) if each.wrong is not None},
        payloads=sum(each.has_payload for each in parsed),
        elsewhere=sum(not each.has_payload for each in parsed),
    )


def parse_line(line: bytes) -> Line:
    """One line, read as JSON and hashed anew from its fields."""
    try:
        fields = json.loads(line, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError):
        return Line(wrong=(Wrong.MALFORMED, "the line is no JSON object of an audit row"))
    fault = _fault(fields)
    if fault is not None:
        return Line(wrong=(Wrong.MALFORMED, fault))
    leaf = leaf_hash(canonical_json({name: fields[name] for name in _LEAF_FIELDS}))
    wrong = None
    if fields["payload"] is not None and text_sha256(fields["payload"]) != fields["input_hash"]:
        wrong = (Wrong.PAYLOAD_CHANGED, "the payload does not have the row's input_hash")
    elif canonical_json(fields).encode() != line:
        wrong = (Wrong.MALFORMED, "the line says the same in other bytes than exports are written in")
    return Line(
        sequence=fields["sequence"],
        audit_id=fields["id"],
        leaf=leaf,
        stored=bytes.fromhex(fields["leaf"]),
        previous=fields["previous_checkpoint"],
        correlation_id=fields["correlation_id"],
        has_payload=fields["payload"] is not None,
        wrong=wrong,
        fields=fields,
    )


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _fault(fields: Any) -> str | None:
    """What keeps a parsed line from being an audit row; None where nothing does."""
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        return "the line does not have the fields of an audit row"
    texts = [fields[name] for name in _TEXTS]
    optional = [each for name in ("payload", "previous_checkpoint") if (each := fields[name]) is not None]
    if not all(isinstance(each, str) for each in (*texts, *optional)):
        return "a field that is a text is none"
    if any(type(fields[name]) is not int or fields[name] < 0 for name in ("id", "sequence")):
        return "a number is none"
    if type(fields["v"]) is not int or fields["v"] != LEAF_VERSION:
        return f"not of version {LEAF_VERSION}"
    if not all(isinstance(fields[name], list) for name in ("checks", "references")):
        return "a list is none"
    if not all(_HASH.fullmatch(fields[name]) for name in ("leaf", "input_hash")):
        return "a hash is none"
    if not _TIME.fullmatch(fields["occurred_at"]):
        return "the time is not written as leaves write it"
    return None
