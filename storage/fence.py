"""The fence as the kill switch sees it: whether an earlier placement try can still send, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.base import Wire
from storage.placement import FENCE_KEY, unanswered_posts
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("fence")

UNANSWERED_GRACE_SECONDS: Final = 5.0
"""After a POST's deadline: two clocks' worth of doubt before it is taken as gone."""
FENCE_WAIT_MAX_SECONDS: Final = 30.0
"""A POST's deadline (15 s), its grace (5 s) and room."""
FENCE_POLL_SECONDS: Final = 0.1


class Holder(Wire):
    """A database session that holds the fence."""

    pid: int
    """Of the server's process for that session."""
    role: str | None
    process: str
    """What the client calls itself: service, process id and machine."""
    exclusive: bool
    """Nobody places while it lasts. The kill switch holds it so for the length of one statement."""

    def __str__(self) -> str:
        how = "alone, which blocks every placement" if self.exclusive else "while placing"
        return f"{self.process or 'unnamed'} as {self.role}, session {self.pid}, {how}"


class Fence(Wire):
    """``free``: since the switch was committed, every try that had read the old row has ended."""

    free: bool
    waiting_for: tuple[str, ...] = ()
    """client_order_ids whose POST may still leave, or be on its way unanswered."""
    held_by: tuple[Holder, ...] = ()

    @property
    def text(self) -> str:
        """What is waited for, for a person."""
        parts = [f"the answer to the POST of {each}" for each in self.waiting_for]
        parts += [f"the fence, held by {each}" for each in self.held_by]
        return "; ".join(parts) or "a placement to end"


async def try_fence(connection: Connection) -> Fence:
    """Take the fence alone for a moment, outside any transaction. Not free: with the names of what holds it."""
    taken: bool = await connection.fetchval(_SQL["try_fence_exclusive"], FENCE_KEY)
    # In this order: a try that ended with its session, in mid-POST, is seen by its row.
    waiting = await unanswered_posts(connection, grace_seconds=UNANSWERED_GRACE_SECONDS)
    if taken and not waiting:
        return Fence(free=True)
    return Fence(free=False, waiting_for=waiting, held_by=await fence_holders(connection))


async def fence_holders(connection: Connection) -> tuple[Holder, ...]:
    """Who holds the fence now: placement tries share it."""
    rows = await connection.fetch(_SQL["fence_holders"], FENCE_KEY)
    return tuple(Holder.model_validate(dict(row)) for row in rows)
