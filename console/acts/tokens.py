"""Strategies' tokens as acts of a person: made by an Admin with a fresh second factor, revoked by an Operator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from console.acts.people import COMPONENT, Actor
from console.errors import BadUsage, Refused
from schemas.people import Role
from schemas.tokens import TOKEN_NAME_PATTERN
from security.tokens import make_secret, shown_part
from storage import tokens as rows
from storage.commits import committing

if TYPE_CHECKING:
    from schemas.tokens import TokenOrder, TokenRow
    from storage.database import Connection

LOOK: Final = "look with `trading token list`"


async def make(connection: Connection, order: TokenOrder, actor: Actor) -> tuple[TokenRow, str]:
    """Make a token; the secret beside it is for its holder, and can never be shown again.

    Raises:
        Refused: he may not, or the name is taken.
        StepUpNeeded: no second factor was shown just now.
    """
    actor.require(Role.ADMIN, "to make a token")
    actor.require_fresh()
    secret = make_secret()
    try:
        async with committing(connection, "console.token_made"):
            made = await rows.make_token(
                connection, order, secret=secret, prefix=shown_part(secret), by=actor.name, component=COMPONENT,
                now=actor.now(),
            )  # fmt: skip
    except rows.TokenExists as error:
        raise Refused(
            f"there is, or was, a token named {order.name}: a name is one token's for ever",
            do=f"choose another name; {LOOK}",
        ) from error
    return made, secret


async def revoke(connection: Connection, name: str, actor: Actor, *, reason: str) -> None:
    """Let a token open nothing from its next request on; its event streams end at once.

    Raises:
        Refused: he may not, or there is none to revoke.
    """
    actor.require(Role.OPERATOR, "to revoke a token")
    if not re.fullmatch(TOKEN_NAME_PATTERN, name):
        raise BadUsage("that is no token's name", do=LOOK)
    async with committing(connection, "console.token_revoked"):
        done = await rows.revoke_token(
            connection, name, by=actor.name, reason=reason, component=COMPONENT, now=actor.now()
        )
    if not done:
        raise Refused(f"no token named {name} can be revoked", do=LOOK)
