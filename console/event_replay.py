"""``trading events replay``: past events written out, or told to a group again."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, clean, emit, utc_now
from console.errors import EXIT_DONE, BadUsage, Refused
from console.events import Topics, known_topics, line_of, start_of
from console.rows import rows
from storage.event_stream import events_after, oldest_position, start_position

if TYPE_CHECKING:
    import asyncpg

PAGE: Final = 500


async def replay(
    *,
    since: Annotated[
        str,
        Parameter(
            help="After this position (0: from the first), or from this time on (2026-11-23T15:15:00Z)."
        ),
    ],
    until: Annotated[
        str | None, Parameter(help="Up to this position, or before this time (default: now).")
    ] = None,
    topic: Topics = (),
    output: Annotated[Path | None, Parameter(help="Into this new file instead of standard output.")] = None,
    group: Annotated[
        str | None,
        Parameter(help="Instead of writing: set this group back, so that it is told all of it again."),
    ] = None,
    reason: Annotated[str, Parameter(help="With --group: why.")] = "",
    common: Common = NO_OPTIONS,
) -> int:
    """Write past events as JSON, one a line, in their order; or have a group of consumers told them again.

    Setting a group back is audited with who and why. Its consumers lose what they hold, and are told everything
    from there on with an attempt above 1. Nothing is passed over: what stands before that place and was not
    acknowledged is told too. Exit 1: what is asked for is archived, or there is no such group.
    """
    if group is not None:
        if until is not None or topic or output is not None:
            raise BadUsage(
                "a group is told everything from a place on", do="leave out --until, --topic and --output"
            )
        return await _set_back(group, since, reason, common)
    with ExitStack() as stack:
        async with rows(common.addresses()) as connection:
            position = await _start(connection, since)
            end = await _end(connection, until)
            out = sys.stdout if output is None else stack.enter_context(_new(output))
            count = await _write(connection, position, end, topic, out)
    if output is not None:
        emit(common, {"events": count, "file": str(output)}, lambda: print(f"{count} events in {output}"))
    return EXIT_DONE


async def _write(
    connection: "asyncpg.Connection[Any]", position: int, end: int, names: tuple[str, ...], out: TextIO
) -> int:
    topics, count = known_topics(names), 0
    while position < end:
        page = await events_after(connection, position, limit=PAGE, topics=topics)
        for event in page:
            if event.position > end:
                break
            out.write(line_of(event))
            count += 1
        if len(page) < PAGE:
            break
        position = page[-1].position
    out.flush()
    if out is not sys.stdout:
        os.fsync(out.fileno())
    return count


def _new(file: Path) -> TextIO:
    try:
        return file.open("x", encoding="utf-8")
    except FileExistsError:
        raise Refused(f"{file} is there already", do="name a new file") from None
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}", do="name another") from error


async def _start(connection: "asyncpg.Connection[Any]", since: str) -> int:
    position = await start_of(connection, since)
    oldest = await oldest_position(connection)
    if oldest is not None and position + 1 < oldest:
        raise Refused(
            f"events up to position {oldest - 1} are archived", do=f"begin with --since {oldest - 1}"
        )
    return position


async def _end(connection: "asyncpg.Connection[Any]", until: str | None) -> int:
    if until is None:
        return await start_position(connection, None)
    return await start_of(connection, until, option="--until")


async def _set_back(group: str, since: str, reason: str, common: Common) -> int:
    from console.acts.people import COMPONENT
    from console.strategies import who_and_why
    from storage.bus import NoSuchGroup
    from storage.bus_groups import reset_group
    from storage.commits import committing

    who, why = who_and_why(None, reason)
    async with rows(common.addresses()) as connection:
        position = await _start(connection, since)
        try:
            async with committing(connection, "console.event_group_reset"):
                await reset_group(
                    connection, group, position, actor=who, reason=why, component=COMPONENT, now=utc_now()
                )
        except NoSuchGroup as error:
            raise Refused(clean(error), do="look with `trading events groups`") from error
    text = f"{group} is told everything after position {position} again"
    emit(common, {"group": group, "position": position, "message": text}, lambda: print(text))
    return EXIT_DONE
