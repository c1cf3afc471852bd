"""The audit row and the one definition of its hash."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from schemas.base import UtcTime, Wire
from schemas.risk import CheckResult


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


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, models in JSON form (Decimals and times as text)."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_hex(value: object) -> str:
    """sha256 over the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
