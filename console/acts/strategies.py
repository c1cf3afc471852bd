"""Strategies as acts of a person: disabled by an Operator, enabled again by a named person who answers for risk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from console.acts.people import COMPONENT, Actor
from console.errors import BadUsage, Refused
from schemas.conduct import StopCause, StrategyStop
from schemas.people import Role
from schemas.signals import STRATEGY_PATTERN
from storage.commits import committing
from storage.conduct import enable_strategy, stop_strategy

if TYPE_CHECKING:
    from storage.database import Connection

LOOK: Final = "look with `trading strategy list`"


async def disable(connection: Connection, strategy: str, actor: Actor, *, reason: str) -> bool:
    """Let a strategy open nothing; it may close. False where it was disabled already."""
    actor.require(Role.OPERATOR, "to disable a strategy")
    stop = StrategyStop(
        strategy=named(strategy), since=actor.now(), cause=StopCause.BY_HAND, reason=reason,
        stopped_by=actor.name,
    )  # fmt: skip
    async with committing(connection, "console.strategy_disabled"):
        return await stop_strategy(
            connection, stop, component=COMPONENT, evidence={}, correlation_id=stop.strategy
        )


async def enable(connection: Connection, strategy: str, actor: Actor, *, reason: str) -> None:
    """Let a disabled strategy trade again; its alert ends.

    Raises:
        Refused: it is not disabled.
    """
    actor.require(Role.RISK, "to let a strategy trade again")
    async with committing(connection, "console.strategy_enabled"):
        done = await enable_strategy(
            connection,
            named(strategy),
            person=actor.name,
            reason=reason,
            component=COMPONENT,
            now=actor.now(),
        )
    if not done:
        raise Refused(f"{strategy} is not disabled", do=LOOK)


def named(strategy: str) -> str:
    """Raises:
    BadUsage: this is no strategy's name.
    """
    if not re.fullmatch(STRATEGY_PATTERN, strategy):
        raise BadUsage("that is no strategy's name", do=LOOK)
    return strategy
