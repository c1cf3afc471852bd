"""The line of a live installation that says whether orders may leave by the newest grant."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from risk.live_grant import GrantState, grant_line, grant_state
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg


async def read_live_line(
    connection: "asyncpg.Connection[Any]", mode: str | None, now: datetime
) -> dict[str, Any] | None:
    """How the newest grant stands. None: it is no live installation."""
    if mode != "live":
        return None
    row = await connection.fetchrow(load("live")["read_newest_grant"])
    expires_at = None if row is None else row["expires_at"]
    state = grant_state(expires_at, None if row is None else row["revoked_at"], now)
    return {
        "state": state.value,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
        "line": grant_line(state, expires_at, now),
    }


def live_lines(found: dict[str, Any] | None) -> list[tuple[str, str, bool]]:
    """(label, text, whether it needs attention)."""
    if found is None:
        return []
    return [("live grant", found["line"], found["state"] != GrantState.IN_FORCE)]
