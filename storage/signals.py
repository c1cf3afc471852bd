"""Signals and the tokens of those who send them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from schemas.audit import AuditEntry, canonical_json, sha256_hex
from schemas.events import SignalCreated
from schemas.orders import price_line
from schemas.risk import Proposal
from schemas.signals import SignalIn, SignalRow
from schemas.tokens import CONSOLE_TOKEN
from schemas.wire import Topic, event_id
from storage.events import Queued, append
from storage.statements import load
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("signals")

LIST_MAX: Final = 500
TOKENS_CHANGED: Final = "trading_tokens"
"""Notified when what a token may has changed, by a trigger."""
_SCOPES: Final = ("strategies", "tickers", "topics")


class SignalNotFound(Exception):
    """No signal has this id."""


class SignalConflict(Exception):
    """This id was used before: by another token, or with other content."""

    def __init__(self, signal_id: str) -> None:
        super().__init__(f"signal_id {signal_id} was used before with other content: send a new signal_id")


@dataclass(frozen=True)
class Token:
    """Who sends signals, and what he may. None: any."""

    token_id: UUID
    name: str
    strategies: frozenset[str] | None
    tickers: frozenset[str] | None = None
    topics: frozenset[str] | None = None
    rate_per_minute: int | None = None
    """None: its requests are not counted."""

    def may_propose_for(self, strategy: str) -> bool:
        return self.strategies is None or strategy in self.strategies

    def may_trade(self, ticker: str) -> bool:
        return self.tickers is None or ticker in self.tickers

    def may_hear_of(self, topic: str) -> bool:
        return self.topics is None or topic in self.topics


def token_hash(secret: str) -> bytes:
    """sha256: the secret is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


async def save_token(
    connection: Connection, *, name: str, strategy: str | None, secret: str, now: datetime
) -> UUID:
    """Store a token's hash under its name; another secret under the same name replaces it.

    For the setup of an installation: it has no end and no rate. A revoked name stays revoked. What changes nothing
    has no audit row.
    """
    strategies = None if strategy is None else [strategy]
    known = await connection.fetchval(_SQL["token_is_known"], name, strategies, token_hash(secret))
    token_id: UUID = await connection.fetchval(
        _SQL["insert_token"], uuid4(), name, strategies, token_hash(secret), now, None
    )
    if not known:
        may = "any strategy" if strategy is None else f"strategy {strategy}"
        evidence = {"token_id": str(token_id), "name": name, "strategy": strategy}
        detail = f"{name} may propose for {may}"
        await append(connection, access_entry("TOKEN_SET", "Setup", detail, evidence, now))
    return token_id


async def find_token(connection: Connection, secret: str, now: datetime) -> Token | None:
    """The token this secret belongs to; None when unknown, expired or revoked, or without bounds in live mode."""
    row = await connection.fetchrow(_SQL["find_token"], token_hash(secret), now, CONSOLE_TOKEN)
    if row is None:
        return None
    scopes = {name: None if row[name] is None else frozenset(row[name]) for name in _SCOPES}
    return Token(row["token_id"], row["name"], rate_per_minute=row["rate_per_minute"], **scopes)


async def accept_signal(
    connection: Connection, signal: SignalIn, token: Token, *, valid_until: datetime, now: datetime,
    traceparent: str | None,
) -> bool:  # fmt: skip
    """Write signal, order row, event and audit row. Call it in a transaction of its own.

    Returns:
        True when new, False when the same signal from the same token is already here.

    Raises:
        SignalConflict: the id belongs to another token or other content.
    """
    order_id = uuid4()
    content_hash = bytes.fromhex(sha256_hex(signal.content))
    new = await connection.fetchval(
        _SQL["insert_signal"], signal.signal_id, token.token_id, content_hash, canonical_json(signal),
        signal.strategy, signal.ticker, signal.action.value, signal.order_type.value,
        signal.time_in_force.value, signal.quantity, signal.limit_price, signal.hard_stop_loss,
        signal.extended_hours, signal.created_at, valid_until, now, traceparent, order_id,
        signal.stop_price,
    )  # fmt: skip
    if new is None:
        row = await connection.fetchrow(_SQL["read_signal"], signal.signal_id)
        if row is None or row["token_id"] != token.token_id or row["content_hash"] != content_hash:
            raise SignalConflict(signal.signal_id)
        return False
    await _record(connection, signal, token, order_id, valid_until, now)
    return True


async def _record(
    connection: Connection,
    signal: SignalIn,
    token: Token,
    order_id: UUID,
    valid_until: datetime,
    now: datetime,
) -> None:
    event = SignalCreated(
        event_id=event_id(Topic.SIGNAL_CREATED, signal.signal_id),
        timestamp=now,
        signal_id=signal.signal_id,
        strategy=signal.strategy,
        ticker=signal.ticker,
        action=signal.action.value,
        order_type=signal.order_type.value,
        quantity=signal.quantity,
        limit_price=signal.limit_price,
        hard_stop_loss=signal.hard_stop_loss,
        valid_until=valid_until,
        stop_price=signal.stop_price,
    )
    price = price_line(signal.action.side, signal.limit_price, signal.stop_price)
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=signal.signal_id,
        component="Gateway",
        actor=token.name,
        decision="SIGNAL_ACCEPTED",
        input={
            "detail": f"{signal.action.value} {signal.quantity} {signal.ticker} {price} from {signal.strategy}",
            "signal": signal.model_dump(mode="json", exclude={"rationale", "references"}),
            "order_id": str(order_id),
            "content_sha256": sha256_hex(signal.content),
            "valid_until": valid_until.isoformat(),
        },
        references=signal.references,
    )
    await append(connection, entry, Queued(Topic.SIGNAL_CREATED, signal.signal_id, event))


async def read_signal(connection: Connection, signal_id: str) -> SignalRow:
    """The signal without its free text.

    Raises:
        SignalNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["read_signal"], signal_id)
    if row is None:
        raise SignalNotFound(signal_id)
    values = dict(row)
    return SignalRow(
        proposal=Proposal.model_validate(values),
        token_id=str(values["token_id"]),
        content_hash=values["content_hash"].hex(),
        received_at=values["received_at"],
        traceparent=values["traceparent"],
    )


async def list_signals(
    connection: Connection,
    *,
    token_id: UUID | None = None,
    strategy: str | None = None,
    limit: int = LIST_MAX,
) -> list[str]:
    """Signal ids, newest first; with ``token_id`` only that token's."""
    rows = await connection.fetch(_SQL["list_signals"], token_id, strategy, min(limit, LIST_MAX))
    return [row["signal_id"] for row in rows]
