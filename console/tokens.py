"""``trading token``: strategies' tokens, made, listed and revoked by who runs this installation."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage
from console.rows import rows

if TYPE_CHECKING:
    from schemas.tokens import TokenOrder, TokenRow

_UNITS: Final = {"d": "days", "h": "hours"}
Person = Annotated[str | None, Parameter(help="Who says so (default: whoever sits at this terminal).")]


async def make(
    name: Annotated[str, Parameter(help="Its name: a-z 0-9 . _ -. It is this token's for ever.")],
    /,
    *,
    strategy: Annotated[
        tuple[str, ...], Parameter(help="A strategy it may propose for; may be repeated.", negative="")
    ],
    ticker: Annotated[
        tuple[str, ...],
        Parameter(help="A ticker it may propose in; may be repeated. Default: any.", negative=""),
    ] = (),
    topic: Annotated[
        tuple[str, ...],
        Parameter(help="A topic it may be told of; may be repeated. Default: all of its own.", negative=""),
    ] = (),
    expires: Annotated[str, Parameter(help="How long it is valid: 30d, 12h; at most 366d.")] = "90d",
    rate: Annotated[str, Parameter(help="How many requests it may make: 60/min.")] = "60/min",
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Make a token and print it, this once: only its sha256 is kept. Exit 1: the name is taken."""
    from console.acts import tokens as acts
    from console.acts.people import Actor
    from console.strategies import who_and_why

    order = _order(name, strategy, ticker, topic, expires, rate)
    who, _ = who_and_why(person, "make")
    async with rows(common.addresses()) as connection:
        made, secret = await acts.make(connection, order, Actor(who))
    told = made.model_dump(mode="json") | {"token": secret}

    def draw() -> None:
        print(secret)
        print(f"{name}: {_scope(made)}; until {made.expires_at:%Y-%m-%d %H:%M} UTC")
        print("It is shown this once. Give it to the strategy alone, as `Authorization: Bearer …`.")

    emit(common, told, draw)
    return EXIT_DONE


async def list_tokens(*, common: Common = NO_OPTIONS) -> int:
    """List tokens, newest first, with what each may; never a secret."""
    from storage.tokens import list_tokens as read

    async with rows(common.addresses()) as connection:
        found = await read(connection)
    now = utc_now()
    told = [each.model_dump(mode="json") | {"state": each.state(now)} for each in found]
    emit(common, told, lambda: _draw(found))
    return EXIT_DONE


async def revoke(
    name: Annotated[str, Parameter(help="As `trading token list` shows it.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why it is taken no more.")],
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Let a token open nothing from its next request on; its event streams end at once. Exit 1: there is none."""
    from console.acts import tokens as acts
    from console.acts.people import Actor
    from console.strategies import who_and_why

    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection:
        await acts.revoke(connection, name, Actor(who), reason=why)
    text = f"{name} is taken nowhere any more"
    emit(common, {"revoked": True, "message": text}, lambda: print(text))
    return EXIT_DONE


def _order(
    name: str,
    strategies: tuple[str, ...],
    tickers: tuple[str, ...],
    topics: tuple[str, ...],
    expires: str,
    rate: str,
) -> "TokenOrder":
    from pydantic import ValidationError

    from schemas.tokens import TokenOrder

    fields: dict[str, Any] = {
        "name": name, "strategies": strategies, "tickers": tickers or None, "topics": topics or None,
        "valid_for": _duration(expires), "rate_per_minute": _rate(rate),
    }  # fmt: skip
    try:
        return TokenOrder.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise BadUsage(
            f"{where}: {message}" if where else message, do="see `trading token make --help`"
        ) from None


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,4})([dh])", text)
    if found is None:
        raise BadUsage(f"--expires {clean(text)} is no time", do="write 30d or 12h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _rate(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,5})/min", text)
    if found is None:
        raise BadUsage(f"--rate {clean(text)} is no rate", do="write 60/min")
    return int(found[1])


def _scope(row: "TokenRow") -> str:
    strategies, tickers = _named(row.strategies, "any strategy"), _named(row.tickers, "any ticker")
    parts = [f"may propose for {strategies} in {tickers}"]
    if row.topics is not None:
        parts.append(f"is told of {_named(row.topics, '')}")
    parts.append(
        "without a rate" if row.rate_per_minute is None else f"{row.rate_per_minute} requests a minute"
    )
    return ", ".join(parts)


def _named(names: tuple[str, ...] | None, anything: str) -> str:
    return anything if names is None else ", ".join(names)


def _draw(found: "list[TokenRow]") -> None:
    if not found:
        print("there are no tokens")
        return
    now = utc_now()
    lines: list[tuple[Any, ...]] = [
        (
            each.name,
            each.prefix or "-",
            each.state(now),
            "never" if each.expires_at is None else f"{each.expires_at:%Y-%m-%d %H:%M}",
            _scope(each),
            clean(each.made_by or "setup"),
            "" if each.used_at is None else f"{ago(each.used_at, now)} ago",
        )
        for each in found
    ]
    console().print(table(("token", "begins", "state", "ends (UTC)", "may", "made by", "last used"), lines))
