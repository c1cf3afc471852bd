"""The audit row, and the one definition of its hashes: of its input, and of its leaf in the Merkle tree."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from schemas.base import UtcTime, Wire
from schemas.risk import CheckResult

LEAF_VERSION: Final = 1
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"
"""What is hashed begins with one of them, so that a leaf is never a node (RFC 6962, section 2.1)."""
HASH_BYTES: Final = 32

_string: Final = json.encoder.encode_basestring
"""As `json.dumps` writes a text with ``ensure_ascii=False``, without its way there."""


class AuditEntry(Wire):
    """One fact that must be provable later. Written in the transaction of what it tells."""

    occurred_at: UtcTime
    correlation_id: str
    """The signal id, or the name of the switch or account."""
    component: str
    actor: str
    decision: str
    input: dict[str, Any]
    """What the decision was made from; its canonical JSON is hashed and kept."""
    checks: tuple[CheckResult, ...] = ()
    references: tuple[str, ...] = ()


class AuditRow(NamedTuple):
    """An audit row as it is stored, without its payload."""

    id: int
    occurred_at: datetime
    """Aware."""
    correlation_id: str
    component: str
    actor: str
    input_hash: str
    decision: str
    checks: str
    """Canonical JSON of a list; so are ``references``. Both are hashed as they stand."""
    references: str
    previous_checkpoint: str | None
    """``<size> <root in hexadecimal>`` of the newest checkpoint when the row was written."""


def previous_checkpoint(size: int | None, root: str | None) -> str | None:
    """As a leaf names it, from the columns."""
    return None if size is None else f"{size} {root}"


def leaf_time(at: datetime) -> str:
    """UTC with six digits of the second and ``Z``."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat("T", "microseconds")[:-6] + "Z"


def leaf_text(row: AuditRow) -> str:
    """What the leaf of a row is the hash of: canonical JSON."""
    return leaf_text_of(*row)


def leaf_text_of(
    row_id: int,
    occurred_at: datetime,
    correlation_id: str,
    component: str,
    actor: str,
    input_hash: str,
    decision: str,
    checks: str,
    references: str,
    previous: str | None,
) -> str:
    """The same of a row's fields, in their order.

    Put together by hand, as it is built for every row; a test holds it against `canonical_json`.
    """
    previous_text = "null" if previous is None else _string(previous)
    return (
        f'{{"actor":{_string(actor)},"checks":{checks},"component":{_string(component)}'
        f',"correlation_id":{_string(correlation_id)},"decision":{_string(decision)},"id":{row_id}'
        f',"input_hash":{_string(input_hash)},"occurred_at":"{leaf_time(occurred_at)}"'
        f',"previous_checkpoint":{previous_text},"references":{references},"v":{LEAF_VERSION}}}'
    )


def leaf_hash(text: str) -> bytes:
    """The leaf: 32 bytes."""
    return hashlib.sha256(LEAF_PREFIX + text.encode()).digest()


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, models in JSON form (Decimals and times as text)."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_hex(value: object) -> str:
    """sha256 over the canonical JSON."""
    return text_sha256(canonical_json(value))


def text_sha256(text: str) -> str:
    """sha256 over a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
