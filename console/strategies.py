"""``trading strategy``: which strategies are disabled, and a person who disables one or lets it trade again."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage
from console.rows import rows

if TYPE_CHECKING:
    from storage.conduct import StopRow

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
    from console.acts import strategies as acts
    from console.acts.people import Actor

    name = acts.named(strategy)
    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection:
        fresh = await acts.disable(connection, name, Actor(who), reason=why)
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
    from console.acts import strategies as acts
    from console.acts.people import Actor

    name = acts.named(strategy)
    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection:
        await acts.enable(connection, name, Actor(who), reason=why)
    text = f"{name} may trade again"
    emit(common, {"enabled": True, "message": text}, lambda: print(text))
    return EXIT_DONE


def who_and_why(person: str | None, reason: str) -> tuple[str, str]:
    """Who is named in the audit log, and why."""
    from console.acts.people import REASON_MAX_CHARACTERS
    from console.kill_steps import operator

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
