"""Strategies' tokens: made, listed, revoked, and how often one is used."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from schemas.base import Wire
from schemas.tokens import TokenOrder, TokenRow
from storage.events import append
from storage.signals import token_hash
from storage.statements import load
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Connection
    from storage.signals import Token

_SQL: Final = load("tokens")

TOKENS_MAX: Final = 500
"""Listed at once."""
WINDOW_SECONDS: Final = 60.0


class TokenExists(Exception):
    """A token of this name is here, or was: a name is one token's for ever."""


class Use(Wire):
    """Whether one more request may be made now."""

    granted: bool
    wait_seconds: float
    """Until the next one may; 0 where it may."""


async def make_token(
    connection: Connection,
    order: TokenOrder,
    *,
    secret: str,
    prefix: str,
    by: str,
    component: str,
    now: datetime,
) -> TokenRow:
    """Store a token's hash and what it may, with the audit row of it. The secret itself is stored nowhere.

    Raises:
        TokenExists: the name is taken, by a revoked one too.
    """
    row = await connection.fetchval(
        _SQL["make_token"], uuid4(), order.name, token_hash(secret), prefix, order.strategies, order.tickers,
        order.topics, order.rate_per_minute, now, now + order.valid_for, by,
    )  # fmt: skip
    if row is None:
        raise TokenExists(order.name)
    [made] = await list_tokens(connection, name=order.name)
    told = made.model_dump(mode="json", include={
        "token_id", "name", "prefix", "strategies", "tickers", "topics", "rate_per_minute", "expires_at",
    })  # fmt: skip
    detail = f"{made.name} ({prefix}…) may propose for {', '.join(order.strategies)}"
    await append(connection, access_entry("TOKEN_MADE", component, detail, told, now, actor=by))
    return made


async def revoke_token(
    connection: Connection, name: str, *, by: str, reason: str, component: str, now: datetime
) -> bool:
    """Let a token open nothing from now on, with the audit row of it. False: there is none to revoke."""
    token_id: UUID | None = await connection.fetchval(_SQL["revoke_token"], name, now, by)
    if token_id is None:
        return False
    evidence = {"token_id": str(token_id), "name": name, "reason": reason}
    detail = f"{name} is taken nowhere any more: {reason}"
    await append(connection, access_entry("TOKEN_REVOKED", component, detail, evidence, now, actor=by))
    return True


async def list_tokens(connection: Connection, *, name: str | None = None) -> list[TokenRow]:
    """The newest first, at most ``TOKENS_MAX``, revoked ones too."""
    rows = await connection.fetch(_SQL["list_tokens"], name, TOKENS_MAX)
    return [TokenRow.model_validate(dict(row)) for row in rows]


async def use_token(connection: Connection, token: Token, *, now: datetime | None = None) -> Use:
    """Count one request of a token that has a rate, for every gateway and across restarts.

    In any ``WINDOW_SECONDS`` at most its rate is granted: half of it at once, the rest evenly. ``now`` stands in
    for the database's clock, which is the one clock of all gateways.
    """
    assert token.rate_per_minute is not None, "one without a rate is not counted"
    burst = token.rate_per_minute // 2
    every = WINDOW_SECONDS / (token.rate_per_minute - burst)
    row = await connection.fetchrow(_SQL["use_token"], token.token_id, burst, every, now)
    # A token that has a rate was made with its row; without it nobody can count.
    return Use(granted=False, wait_seconds=WINDOW_SECONDS) if row is None else Use.model_validate(dict(row))


async def note_refused_use(
    connection: Connection,
    token: Token,
    *,
    scope: str,
    wanted: str,
    now: datetime,
    signal_id: str | None = None,
) -> None:
    """An audit row of a use beyond what the token may; ``scope`` is ``strategy``, ``ticker`` or ``topic``."""
    evidence = {
        "token_id": str(token.token_id), "name": token.name, "scope": scope, "wanted": wanted,
        "signal_id": signal_id,
    }  # fmt: skip
    detail = f"{token.name} may not use {scope} {wanted}"
    await append(
        connection, access_entry("TOKEN_REFUSED", "Gateway", detail, evidence, now, actor=token.name)
    )
