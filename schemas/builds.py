"""Builds of the processes that run workflows: which one gets new work, which ones still have some of their own."""

from enum import StrEnum
from typing import Final

from schemas.base import UtcTime, Wire
from schemas.wire import Queue

VERSIONED: Final = (Queue.ORDERS, Queue.OPERATIONS)
"""Who runs under a build. Each has a deployment of its own, of its queue's name: under one name over both, an order
that stays with its build would wait for that build's operations too."""
BUILD_PATTERN: Final = r"[A-Za-z0-9._+-]{1,63}"
"""How a build may be called."""


class BuildState(StrEnum):
    """What a build gets, as Temporal says."""

    CURRENT = "CURRENT"
    """New work."""
    RAMPING = "RAMPING"
    """A part of it."""
    DRAINING = "DRAINING"
    """No new work; what began with it is still open."""
    DRAINED = "DRAINED"
    """Nor is any of its own left."""
    INACTIVE = "INACTIVE"
    """It waits to be promoted."""


class Build(Wire):
    """One build of one deployment."""

    deployment: str
    build_id: str
    state: BuildState
    since: UtcTime | None = None
    """When it came to this."""
    ramp_percent: int = 0
    """The part of new work that a ramping one gets."""
    open_workflows: int = 0
    """Of those that began with it and stay with it; counted while it drains."""
    attended: bool = True
    """Whether some process of it asks for work."""

    @property
    def gets_new_work(self) -> bool:
        """All of it, or a part."""
        return self.state in (BuildState.CURRENT, BuildState.RAMPING)
