"""``trading events tail``: the stream of events, read from PostgreSQL by position."""

import json
import select
import sys
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.common import NO_OPTIONS, Common, cell, clean, console, print_json
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows
from console.views import clock, money, shares
from schemas.events import parse_since
from schemas.wire import Topic
from storage.event_stream import (
    NUMBERED,
    AheadOfStream,
    EventsArchived,
    StreamEvent,
    events_after,
    position_before_newest,
    start_position,
)
from storage.wakeups import Bell

if TYPE_CHECKING:
    import asyncpg

    from storage.bus import BusEvent

NEWEST_DEFAULT: Final = 10
"""Where neither --since nor --limit says how far back to begin."""
PAGE: Final = 500
TICK_SECONDS: Final = 1.0
"""Between two looks while nothing comes: at the rows, and whether anyone still reads our output."""

Topics = Annotated[
    tuple[str, ...],
    Parameter(name="--topic", negative="", help=f"Only this topic; repeat for several: {', '.join(Topic)}."),
]
Since = Annotated[
    str | None,
    Parameter(help="Begin after this position, or with the first event of this time (2026-11-23T15:15:00Z)."),
]
LimitMax = Annotated[int | None, Parameter(validator=Number(gte=1), help="End after so many.")]
Follow = Annotated[bool, Parameter(help="Wait for what comes next, or end with what is there.")]


async def tail(
    *, topic: Topics = (), since: Since = None, limit: LimitMax = None, follow: Follow = True,
    common: Common = NO_OPTIONS,
) -> int:  # fmt: skip
    """Print events as they are numbered, oldest first; with --json one object a line.

    Without --since it begins with the newest 10, or with as many as --limit says.
    """
    topics = known_topics(topic)
    start = since_of(since)
    left = limit if limit is not None else sys.maxsize
    async with rows(common.addresses()) as connection:
        bell = await Bell.on(connection, NUMBERED)
        position = await _begin(connection, start, topics, limit or NEWEST_DEFAULT)
        while True:
            newest = await start_position(connection, None)
            page = await events_after(connection, position, limit=min(PAGE, left), topics=topics)
            _print(page, common)
            left -= len(page)
            if not left:
                return EXIT_DONE
            if page:
                position = page[-1].position
            if len(page) < PAGE:
                if not follow:
                    return EXIT_DONE
                position = max(position, newest)  # What lies between is of other topics.
                await bell.wait(TICK_SECONDS)
                _check_reader()


def known_topics(names: tuple[str, ...]) -> list[Topic]:
    """The topics of these names. Raises BadUsage: one is none."""
    try:
        return [Topic(name) for name in names]
    except ValueError as error:
        raise BadUsage(str(error).replace("Topic", "topic"), do=f"one of {', '.join(Topic)}") from error


def since_of(text: str | None, *, option: str = "--since") -> int | datetime | None:
    """A position or a time. Raises BadUsage: it is neither."""
    try:
        return None if text is None else parse_since(text)
    except ValueError as error:
        raise BadUsage(f"{option} {text}: {error}", do="see --help") from error


async def _begin(
    connection: "asyncpg.Connection[Any]", start: int | datetime | None, topics: list[Topic], newest: int
) -> int:
    if start is None:
        return await position_before_newest(connection, topics=topics, count=newest)
    return await _place(connection, start, "--since")


async def start_of(connection: "asyncpg.Connection[Any]", text: str, *, option: str = "--since") -> int:
    """The position that a place names. Raises BadUsage: it is none; Refused: it is archived."""
    return await _place(connection, since_of(text, option=option), option)


async def _place(connection: "asyncpg.Connection[Any]", start: int | datetime | None, option: str) -> int:
    try:
        return await start_position(connection, start)
    except EventsArchived as error:
        raise Refused(f"{option}: {error}", do="begin later") from error
    except AheadOfStream as error:
        raise BadUsage(f"{option}: {error}", do="is this the right installation?") from error


def line_of(event: "StreamEvent | BusEvent", **more: object) -> str:
    """The event as a line of JSON, whole."""
    told = {
        "position": event.position, "event_id": event.event_id, "topic": event.topic, "key": event.key,
        "occurred_at": event.occurred_at.isoformat(), **more, "payload": json.loads(event.payload),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False) + "\n"


def _check_reader() -> None:
    """End where nobody reads any more, though there is nothing to write.

    Raises:
        BrokenPipeError: the other end of the pipe is closed.
    """
    output = select.poll()
    output.register(sys.stdout, 0)
    if any(state & (select.POLLERR | select.POLLHUP) for _, state in output.poll(0)):
        raise BrokenPipeError


def _print(page: list[StreamEvent], common: Common) -> None:
    for event in page:
        payload = json.loads(event.payload)
        if common.json:
            print_json({"position": event.position, "topic": event.topic, "payload": payload})
        else:
            _print_line(event, payload)
    if page:
        sys.stdout.flush()


def _print_line(event: StreamEvent, payload: dict[str, Any]) -> None:
    from rich.text import Text

    line = Text(f"{event.position:>6}  {clock(event.occurred_at)}  ")
    line.append(f"{clean(event.topic):<28}", style="bold")
    line.append(f"  {clean(payload.get('signal_id', event.key))}  ")
    for word in _words(payload):
        line.append_text(cell(word)).append(" ")
    line.rstrip()
    console().print(line, soft_wrap=True)


def _words(payload: dict[str, Any]) -> list[str]:
    """What a person asks of an event: who did what to how much of which at what price, and why."""
    quantity = _number(payload, "approved_quantity", "filled_quantity", "quantity")
    price = _number(payload, "approved_limit_price", "fill_price", "average_price", "limit_price")
    words = [
        str(payload.get("action", "")),
        shares(quantity) if quantity is not None else "",
        str(payload.get("ticker") or ""),
        f"at {money(price)}" if price is not None else "",
        *(str(payload.get(name) or "") for name in ("status", "action_taken")),
        *payload.get("flags", ()),
        ",".join(payload.get("reasons", ())) or str(payload.get("reason") or ""),
        *(str(payload.get(name) or "") for name in ("kind", "detail")),
    ]
    return [word for word in words if word]


def _number(payload: dict[str, Any], *names: str) -> Decimal | None:
    return next((Decimal(payload[name]) for name in names if payload.get(name) is not None), None)
