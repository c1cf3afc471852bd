"""``trading strategy``: which strategies are disabled, and a person who disables one or lets it trade again."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows

if TYPE_CHECKING:
    from storage.conduct import StopRow

_LOOK = "look with `trading strategy list`"
Person = Annotated[str | None, Parameter(help="Who says so (default: whoever sits at this terminal).")]


async def list_strategies(
    *,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Those enabled again too, with who did it and why.")
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """List the strategies that may open nothing: since when, why, and by whom they were disabled."""
    from storage.conduct import list_stops

    async with rows(common.addresses()) as connection:
        found = await list_stops(connection, everything=everything)
    emit(common, [each.model_dump(mode="json") for each in found], lambda: _draw(found))
    return EXIT_DONE


async def disable(
    strategy: Annotated[str, Parameter(help="Its name, as its signals carry it.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why it may open nothing.")],
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Let a strategy open nothing; it may close. What was approved and has not left yet does not leave."""
    from console.kill_steps import COMPONENT
    from schemas.conduct import StopCause, StrategyStop
    from storage.commits import committing
    from storage.conduct import stop_strategy

    name = _name(strategy)
    who, why = who_and_why(person, reason)
    stop = StrategyStop(strategy=name, since=utc_now(), cause=StopCause.BY_HAND, reason=why, stopped_by=who)
    async with (
        rows(common.addresses()) as connection,
        committing(connection, "console.strategy_disabled"),
    ):
        fresh = await stop_strategy(connection, stop, component=COMPONENT, evidence={}, correlation_id=name)
    text = f"{name} is disabled: it opens nothing" if fresh else f"{name} was disabled already"
    emit(common, {"disabled": fresh, "message": text}, lambda: print(text))
    return EXIT_DONE


async def enable(
    strategy: Annotated[str, Parameter(help="Its name, as `trading strategy list` shows it.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="What was wrong, and what was done about it.")],
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Let a disabled strategy trade again. Audited with who and why; its alert ends. Exit 1: it is not disabled."""
    from console.kill_steps import COMPONENT
    from storage.commits import committing
    from storage.conduct import enable_strategy

    name = _name(strategy)
    who, why = who_and_why(person, reason)
    async with (
        rows(common.addresses()) as connection,
        committing(connection, "console.strategy_enabled"),
    ):
        done = await enable_strategy(
            connection, name, person=who, reason=why, component=COMPONENT, now=utc_now()
        )
    if not done:
        raise Refused(f"{name} is not disabled", do=_LOOK)
    text = f"{name} may trade again"
    emit(common, {"enabled": True, "message": text}, lambda: print(text))
    return EXIT_DONE


def _name(strategy: str) -> str:
    import re

    from schemas.signals import STRATEGY_PATTERN

    if not re.fullmatch(STRATEGY_PATTERN, strategy):
        raise BadUsage(f"{clean(strategy)} is no strategy's name", do=_LOOK)
    return strategy


def who_and_why(person: str | None, reason: str) -> tuple[str, str]:
    """Who is named in the audit log, and why."""
    from console.kill_steps import REASON_MAX_CHARACTERS, operator

    why = reason.strip()[:REASON_MAX_CHARACTERS]
    if not why:
        raise BadUsage("this is done for a reason", do='--reason "its loop was mended"')
    name = operator()
    if person is not None:
        if not person.strip():
            raise BadUsage("a person has a name", do='--person "Jo Doe"')
        name = f"{person.strip()[:REASON_MAX_CHARACTERS]} ({name})"
    return name, why


def _draw(found: "list[StopRow]") -> None:
    if not found:
        print("no strategy is disabled")
        return
    now = utc_now()
    lines: list[tuple[Any, ...]] = [
        (
            each.strategy,
            "disabled" if each.enabled_at is None else "enabled",
            ago(each.since, now),
            each.cause.value,
            clean(each.stopped_by),
            clean(each.reason),
            "" if each.enabled_by is None else f"{clean(each.enabled_by)}: {clean(each.enable_reason)}",
        )
        for each in found
    ]
    columns = ("strategy", "state", "since", "cause", "by", "why", "enabled by")
    console().print(table(columns, lines))
