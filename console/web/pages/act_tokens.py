"""Strategies' tokens: listed, made by an Admin with a fresh factor and shown once, revoked by an Operator."""

import re
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from pydantic import ValidationError
from starlette.responses import Response

from console.acts import tokens as acts
from console.acts.people import why
from console.web.access import FreshAdmin, Operator, Person
from console.web.acting import Reason, actor_of, go_back, show, told
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import invalid
from schemas.people import Role
from schemas.tokens import RATE_PER_MINUTE, VALID_FOR, TokenOrder, TokenRow
from schemas.wire import Topic
from storage.tokens import list_tokens

router = APIRouter()

TOKENS: Final = "/acts/tokens"
NAME_CHARACTERS_MAX: Final = 64
NAMES_CHARACTERS_MAX: Final = 4000
_NAMES: Final = re.compile(r"[\s,]+")
Name = Annotated[str, Form(max_length=NAME_CHARACTERS_MAX)]
Names = Annotated[str, Form(max_length=NAMES_CHARACTERS_MAX)]
"""Parted by blanks or commas."""


@router.get(TOKENS)
async def show_tokens(request: Request, deps: Deps, person: Operator) -> Response:
    """What each may, until when, who made it; never a secret."""
    return await _page(request, deps, person, None)


@router.post(TOKENS)
async def make(
    request: Request,
    deps: Deps,
    person: FreshAdmin,
    name: Name,
    strategies: Names,
    tickers: Names = "",
    topics: Annotated[list[Topic] | None, Form()] = None,
    days: Annotated[int, Form(ge=1, le=366)] = VALID_FOR.days,
    rate: Annotated[int, Form(ge=1)] = RATE_PER_MINUTE,
) -> Response:
    """Make a token: its secret is on the page that answers, this once."""
    fields = {
        "name": name.strip(), "strategies": _parts(strategies), "tickers": _parts(tickers) or None,
        "topics": tuple(topics) if topics else None, "valid_for": timedelta(days=days), "rate_per_minute": rate,
    }  # fmt: skip
    try:
        order = TokenOrder.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise invalid(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    with told():
        async with deps.database.connection() as connection:
            made = await acts.make(connection, order, actor_of(person, deps))
    return await _page(request, deps, person, made)


@router.post("/acts/tokens/revoke")
async def revoke(request: Request, deps: Deps, person: Operator, name: Name, reason: Reason) -> Response:
    """It opens nothing from its next request on."""
    with told():
        text = why(reason, "a token is revoked for a reason")
        async with deps.database.connection() as connection:
            await acts.revoke(connection, name, actor_of(person, deps), reason=text)
    return go_back(request, TOKENS)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in _NAMES.split(text) if part))


async def _page(
    request: Request, deps: ConsoleDeps, person: Person, made: tuple[TokenRow, str] | None
) -> Response:
    async with deps.database.connection() as connection:
        tokens = await list_tokens(connection)
    return show(
        request, "tokens", person, tokens=tokens, made=made, topics=list(Topic), days=VALID_FOR.days,
        rate=RATE_PER_MINUTE, may_make=person.may(Role.ADMIN),
    )  # fmt: skip
