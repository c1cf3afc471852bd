"""``trading events groups`` and ``trading events dead``: groups of consumers, and what they could not take."""

import json
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows

if TYPE_CHECKING:
    from storage.bus_groups import Group, Letter


async def groups(
    *,
    drop: Annotated[
        str | None,
        Parameter(help="Forget this group, and what it could not take. Nothing is told to it any more."),
    ] = None,
    reason: Annotated[str, Parameter(help="With --drop: why.")] = "",
    common: Common = NO_OPTIONS,
) -> int:
    """List the groups: after which position each one's next event stands, how many wait, how many are dead.

    --drop is audited with who and why. Exit 1: there is no such group.
    """
    from storage.bus_groups import list_groups

    if drop is not None:
        return await _drop(drop, reason, common)
    async with rows(common.addresses()) as connection:
        found = await list_groups(connection)
    emit(common, [_group(each) for each in found], lambda: _draw_groups(found))
    return EXIT_DONE


async def dead(
    group: Annotated[str | None, Parameter(help="Of this group only.")] = None,
    /,
    *,
    put_back: Annotated[
        int | None, Parameter(help="Have the event of this position delivered to the group again.")
    ] = None,
    put_back_all: Annotated[
        bool, Parameter(name="--put-back-all", negative="", help="Have all of the group's delivered again.")
    ] = False,
    reason: Annotated[str, Parameter(help="What was wrong, and what was done about it.")] = "",
    common: Common = NO_OPTIONS,
) -> int:
    """List the events that groups could not take, or put them back. Audited with who and why. Exit 1: none is dead.

    What is put back comes out of its order: events behind it may have been taken long ago.
    """
    from storage.bus_groups import list_letters

    if put_back is not None or put_back_all:
        return await _put_back(group, put_back, reason, common)
    async with rows(common.addresses()) as connection:
        found = await list_letters(connection, group)
    emit(common, [_letter(each) for each in found], lambda: _draw_letters(found))
    return EXIT_DONE


async def _drop(group: str, reason: str, common: Common) -> int:
    from console.acts.people import COMPONENT
    from console.strategies import who_and_why
    from storage.bus import NoSuchGroup
    from storage.bus_groups import drop_group
    from storage.commits import committing

    who, why = who_and_why(None, reason)
    try:
        async with (
            rows(common.addresses()) as connection,
            committing(connection, "console.event_group_dropped"),
        ):
            await drop_group(connection, group, actor=who, reason=why, component=COMPONENT, now=utc_now())
    except NoSuchGroup as error:
        raise Refused(clean(error), do="look with `trading events groups`") from error
    text = f"{group} is forgotten"
    emit(common, {"group": group, "message": text}, lambda: print(text))
    return EXIT_DONE


async def _put_back(group: str | None, position: int | None, reason: str, common: Common) -> int:
    from console.acts.people import COMPONENT
    from console.strategies import who_and_why
    from storage.bus_groups import put_letters_back
    from storage.commits import committing

    if group is None:
        raise BadUsage("say whose", do="trading events dead GROUP --put-back POSITION --reason …")
    who, why = who_and_why(None, reason)
    async with (
        rows(common.addresses()) as connection,
        committing(connection, "console.events_put_back"),
    ):
        positions = await put_letters_back(
            connection, group, position, actor=who, reason=why, component=COMPONENT, now=utc_now()
        )
    if not positions:
        raise Refused(
            f"the group {clean(group)} has none that is dead there", do="look with `trading events dead`"
        )
    text = f"{len(positions)} put back: delivered to {group} again"
    emit(common, {"put_back": list(positions), "message": text}, lambda: print(text))
    return EXIT_DONE


def _group(group: "Group") -> dict[str, Any]:
    return {
        "group": group.name, "position": group.position, "waiting": group.waiting, "dead": group.dead,
        "resets": group.generation, "holders": list(group.holders), "created_at": group.created_at.isoformat(),
    }  # fmt: skip


def _letter(letter: "Letter") -> dict[str, Any]:
    event = letter.event
    return {
        "group": letter.group, "position": event.position, "event_id": event.event_id, "topic": event.topic,
        "key": event.key, "tries": letter.tries, "error": letter.error, "died_at": letter.died_at.isoformat(),
        "put_back": letter.put_back, "payload": json.loads(event.payload),
    }  # fmt: skip


def _draw_groups(found: "list[Group]") -> None:
    if not found:
        print("no group follows events")
        return
    lines = [
        (
            each.name,
            "all" if each.position is None else each.position,
            each.waiting,
            each.dead,
            ", ".join(each.holders),
        )
        for each in found
    ]
    columns = ("group", "taken up to", "waiting", "dead", "held by")
    console().print(table(columns, lines, right=("taken up to", "waiting", "dead")))


def _draw_letters(found: "list[Letter]") -> None:
    if not found:
        print("no dead events")
        return
    now = utc_now()
    lines = [
        (
            each.group, each.event.position, each.event.topic, each.event.key, each.tries, ago(each.died_at, now),
            "put back" if each.put_back else "dead", clean(each.error),
        )
        for each in found
    ]  # fmt: skip
    columns = ("group", "position", "topic", "key", "tries", "since", "state", "why")
    console().print(table(columns, lines, right=("position", "tries")))
