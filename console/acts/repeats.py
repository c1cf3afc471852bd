"""The same form sent again is the same act; the same id with something else in it is another, and is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from console.errors import Refused
from schemas.audit import canonical_json

if TYPE_CHECKING:
    from schemas.two_persons import AskedApproval, AskedKind

OF_THE_MOMENT: Final = frozenset({"expires_at", "valid_for_seconds", "asked_mfa_at"})
"""What is worked out anew each time that a form is sent."""
TOLERANCE: Final = timedelta(minutes=1)
"""Between a form and itself sent again: ``2h`` ends a little later then."""
OTHERWISE: Final = "this form was sent before, with something else in it: nothing was done"
DO: Final = "look at what came of it, then fill in a new form"


def require_same_ask(
    asked: AskedApproval,
    kind: AskedKind,
    content: Mapping[str, Any],
    *,
    person_id: UUID | None,
    reason: str,
    now: datetime,
) -> None:
    """Hold what was asked under an id against what is asked now.

    Raises:
        Refused: it is something else, or another person's.
    """
    stored = json.loads(asked.content)
    wanted = json.loads(canonical_json(dict(content)))
    same = (
        (asked.kind, asked.reason) == (kind, reason)
        and (person_id is None or asked.asked_by == person_id)
        and _lasting(stored) == _lasting(wanted)
        and is_same_end(_end(stored, asked.asked_at), asked.asked_at, _end(wanted, now), now)
    )
    if not same:
        raise Refused(OTHERWISE, do=DO)


def is_same_end(
    first: datetime | None, first_at: datetime, second: datetime | None, second_at: datetime
) -> bool:
    """Whether two ends, said at these two moments, are one time, or one span."""
    if first is None or second is None:
        return first is second
    return abs(first - second) <= TOLERANCE or abs((first - first_at) - (second - second_at)) <= TOLERANCE


def _lasting(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in OF_THE_MOMENT}


def _end(content: Mapping[str, Any], at: datetime) -> datetime | None:
    if content.get("expires_at") is not None:
        return datetime.fromisoformat(content["expires_at"])
    seconds = content.get("valid_for_seconds")
    return None if seconds is None else at + timedelta(seconds=seconds)
