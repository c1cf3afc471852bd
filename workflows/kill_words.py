"""What arrives at the kill switch, read so that nothing is refused: parsed by hand, with defaults."""

import json
from collections.abc import Sequence
from typing import Any

from temporalio.common import RawValue

from schemas import wire
from schemas.kill import KillCommand, KillScope, ReleaseGrant

REASON_MAX_CHARACTERS = 500
SEALED = b"binary/encrypted"
UNREADABLE = "the reason is encrypted under a key that is not known here"


def parse_command(name: str, texts: Sequence[str]) -> KillCommand:
    """Make an activation of whatever arrived; what is missing or unreadable gets its default."""
    text = texts[0] if texts else ""
    fields = _fields(text)
    reason = short(fields.get("reason")) or short(text) or "no reason given"
    scope = KillScope.RISK_ADDING if fields.get("scope") == KillScope.RISK_ADDING.value else KillScope.ALL
    return KillCommand(
        reason=reason,
        triggered_by=short(fields.get("triggered_by")) or "raw signal",
        scope=scope,
        misspelt_name=None if name == wire.SIGNAL_KILL else short(name),
        request_id=short(fields.get("request_id")) or None,
    )


def parse_grant(value: RawValue) -> ReleaseGrant | None:
    """The grant, or None where what arrived is none."""
    try:
        return ReleaseGrant.model_validate_json(value.payload.data)
    except (ValueError, RecursionError):
        return None


def _fields(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def text_of(arg: RawValue) -> str:
    if arg.payload.metadata.get("encoding") == SEALED:
        return UNREADABLE
    return arg.payload.data.decode("utf-8", "replace")


def short(value: object) -> str:
    text = value if isinstance(value, str) else ""
    # A character with code zero or half a surrogate pair can be stored nowhere, and would be tried for ever.
    printable = "".join(each if each.isprintable() else " " for each in text)
    return printable.strip().strip('"')[:REASON_MAX_CHARACTERS]
