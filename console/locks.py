"""``trading lock``, ``unlock`` and ``locks``: tickers in which nothing new is opened; by whom, why, until when."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID, uuid4

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows

if TYPE_CHECKING:
    import asyncpg

    from schemas.locks import SymbolLockRow

_LOOK: Final = "look with `trading locks`"
Ticker = Annotated[str, Parameter(help="E.g. AAPL.")]
Person = Annotated[str | None, Parameter(help="Who says so (default: whoever sits at this terminal).")]


async def lock(
    ticker: Ticker,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why nothing new may be opened in it.")],
    for_: Annotated[
        str | None,
        Parameter(name="--for", help="30m, 2h, or a time; without it the lock lasts until it is lifted."),
    ] = None,
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Let nothing new be opened in a ticker; closes pass. What was approved and has not left does not leave."""
    from console.acts.locks import lock_ticker
    from console.acts.people import Actor
    from console.limits_change import until
    from console.strategies import who_and_why

    who, why = who_and_why(person, reason)
    end = None if for_ is None else until(for_, utc_now(), option="--for")
    async with rows(common.addresses()) as connection:
        made = await lock_ticker(connection, ticker, Actor(who), lock_id=uuid4(), until=end, reason=why)
    text = f"{made.ticker} is {made.text}"
    emit(common, made.model_dump(mode="json"), lambda: print(clean(text)))
    return EXIT_DONE


async def unlock(
    ticker: Annotated[str, Parameter(help="A ticker: all its locks; or one lock's id.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="What has changed.")],
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Lift every lock of a ticker, or one by its id. Exit 1: none holds."""
    from console.acts.locks import lift
    from console.acts.people import Actor
    from console.strategies import who_and_why

    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection:
        wanted = await _meant(connection, ticker)
        lifted = await lift(connection, [each.lock_id for each in wanted], Actor(who), reason=why)
    if not lifted:
        raise Refused(f"no lock of {clean(ticker)} holds", do=_LOOK)
    data = [each.model_dump(mode="json") for each in lifted]
    emit(common, data, lambda: print(f"{len(lifted)} lifted: {clean(lifted[0].ticker)} may be traded again"))
    return EXIT_DONE


async def locks(
    *,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Those that are over too, newest first.")
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """List the locks that hold: of which ticker, until when, why and by whom."""
    from storage.locks import holding_locks, past_locks

    now = utc_now()
    async with rows(common.addresses()) as connection:
        found = await past_locks(connection) if everything else await holding_locks(connection, now)
    emit(common, [each.model_dump(mode="json") for each in found], lambda: _draw(found, now))
    return EXIT_DONE


def _name(ticker: str) -> str:
    from schemas.signals import TICKER_PATTERN

    if not re.fullmatch(TICKER_PATTERN, ticker):
        raise BadUsage(f"{clean(ticker)} is no ticker", do="upper-case, e.g. AAPL or BRK.B")
    return ticker


async def _meant(connection: "asyncpg.Connection[Any]", text: str) -> "list[SymbolLockRow]":
    from storage.locks import holding_locks, read_lock

    try:
        found = await read_lock(connection, UUID(text))
    except ValueError:
        return await holding_locks(connection, utc_now(), _name(text))
    return [] if found is None else [found]


def _draw(found: "list[SymbolLockRow]", now: datetime) -> None:
    if not found:
        print("no ticker is locked")
        return
    lines: list[tuple[Any, ...]] = [
        (each.ticker, state(each, now), _time(each.locked_at), _time(each.until), clean(each.locked_by),
         clean(each.reason), clean(each.lifted_by or ""), str(each.lock_id))
        for each in found
    ]  # fmt: skip
    columns = ("ticker", "state", "since", "until", "by", "why", "lifted by", "id")
    console().print(table(columns, lines))


def state(lock: "SymbolLockRow", now: datetime) -> str:
    """``holds``, ``lifted`` or ``over``."""
    if lock.lifted_at is not None:
        return "lifted"
    return "holds" if lock.until is None or lock.until > now else "over"


def _time(value: datetime | None) -> str:
    return "it is lifted" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
