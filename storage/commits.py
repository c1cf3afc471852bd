"""Transactions whose commits have names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from observability.crash_points import pass_by

if TYPE_CHECKING:
    from storage.database import Connection


@asynccontextmanager
async def committing(
    connection: Connection, name: str, *, one_statement: bool = False
) -> AsyncIterator[None]:
    """A transaction on a connection already held. ``name`` is its commit's: see `observability.crash_points`.

    ``one_statement``: the block sends exactly one, which the server commits by itself: one round trip in place of
    three.
    """
    if one_statement:
        # Before it is sent is as good as before it is committed: nothing has happened.
        pass_by("commit", name, "before")
        yield
    else:
        async with connection.transaction():
            yield
            pass_by("commit", name, "before")
    pass_by("commit", name, "after")
