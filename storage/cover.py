"""Shares whose stop is missing by rows alone, whoever should have placed it: for a look beside the workflows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.base import DecimalText, UtcTime, Wire
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("cover")

OUT_OF_COVER_MAX: Final = 500


class OutOfCover(Wire):
    """A protection whose live legs stand for more or fewer shares than are left of its entry."""

    signal_id: str
    covered: DecimalText
    since: UtcTime
    is_seen: bool
    """A review has noticed that cover is missing, so the next one follows by itself."""
    is_told: bool
    """The alert of it is raised."""


async def out_of_cover(
    connection: Connection, *, before: datetime, signal_id: str | None = None
) -> list[OutOfCover]:
    """Those that have been so since ``before``; of one signal, if it is given. Shares may be lent: judge that."""
    rows = await connection.fetch(_SQL["out_of_cover"], before, signal_id, OUT_OF_COVER_MAX)
    return [OutOfCover.model_validate(dict(row)) for row in rows]
