"""Rows of limits: what is in force, and the one way in which they are changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from risk.effective_limits import effective
from risk.limit_changes import changes, decision, raise_fault
from schemas.audit import AuditEntry
from schemas.limits import (
    MODELS,
    EffectiveLimits,
    LimitChange,
    LimitsDocument,
    LimitsRow,
    NewDocument,
    PastLimits,
    StrategyLimits,
    TickerLimits,
    names_fault,
    owner,
)
from schemas.risk import Limits, LimitScope, LimitsVersion
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("limits")
_RISK_SQL: Final = load("risk")

ROWS_MAX: Final = 1000
AUDIT_KEY: Final = "limits"
"""The correlation id of every change of limits."""


class LimitsMissing(Exception):
    """No limits are set: nothing may trade."""

    def __init__(self) -> None:
        super().__init__("no limits are set: `trading limits set --file FILE --reason WHY`")


class LimitsRefused(Exception):
    """These limits may not be stored; the message says why. Nothing was changed."""


@dataclass(frozen=True)
class Standing:
    """One scope's rows that count now."""

    scope: LimitScope
    name: str
    in_force: LimitsRow | None
    lasting: LimitsRow | None
    """The newest that does not expire: what a raise ends in."""

    @property
    def owner(self) -> str:
        """``account``, ``strategy momentum``, ``ticker TSLA``."""
        return owner(self.scope, self.name)

    def changes(self, document: LimitsDocument) -> tuple[LimitChange, ...]:
        """What ``document`` would change at once."""
        return changes(self.in_force.document if self.in_force else None, document)

    def compared(self, document: LimitsDocument) -> dict[str, Any]:
        """Whose limits ``document`` replaces and what it changes, for the audit log."""
        told: dict[str, Any] = {
            "scope": self.scope.value,
            "name": self.name,
            "replaces": self.in_force.version if self.in_force else None,
            "changes": [change.model_dump(mode="json") for change in self.changes(document)],
        }
        if self.lasting is not None and self.lasting != self.in_force:
            found = changes(self.lasting.document, document)
            told["changes_of_what_lasts"] = [change.model_dump(mode="json") for change in found]
        return told


def scope_of(document: NewDocument) -> LimitScope:
    """Whose document it is."""
    if isinstance(document, StrategyLimits):
        return LimitScope.STRATEGY
    return LimitScope.TICKER if isinstance(document, TickerLimits) else LimitScope.ACCOUNT


async def current_limits(connection: Connection, now: datetime) -> LimitsVersion:
    """The account's limits in force at ``now``.

    Raises:
        LimitsMissing: none are set.
    """
    row = await connection.fetchrow(_SQL["in_force"], LimitScope.ACCOUNT.value, "", now)
    if row is None:
        raise LimitsMissing
    return LimitsVersion.model_validate({**row, "limits": Limits.model_validate_json(row["document"])})


async def lasting_limits(connection: Connection) -> Limits:
    """The account's limits without a raise: what exits are measured by, at two moments that must agree.

    Raises:
        LimitsMissing: none are set.
    """
    row = await connection.fetchrow(_SQL["lasting"], LimitScope.ACCOUNT.value, "")
    if row is None:
        raise LimitsMissing
    return Limits.model_validate_json(row["document"])


def read_effective(rows: Sequence[Mapping[str, Any]]) -> EffectiveLimits | None:
    """What the rows in force of account, strategy and ticker come to; None where the account has none.

    Raises:
        ValidationError: a document is not whole. Nothing may be decided by it.
    """
    found = [_whole(row) for row in rows]
    account = next((row for row in found if row.scope is LimitScope.ACCOUNT), None)
    if account is None:
        return None
    return effective(account, [row for row in found if row is not account])


def _whole(row: Mapping[str, Any]) -> LimitsRow:
    document = MODELS[LimitScope(row["scope"])].model_validate(row["document"])
    return LimitsRow.model_validate({**row, "document": document})


async def effective_limits(
    connection: Connection, now: datetime, *, strategy: str | None = None, ticker: str | None = None
) -> EffectiveLimits:
    """What a decision at ``now`` would be measured by.

    Raises:
        LimitsMissing: the account has none.
        ValidationError: a document is not whole.
    """
    wanted = [(LimitScope.ACCOUNT, ""), (LimitScope.STRATEGY, strategy), (LimitScope.TICKER, ticker)]
    rows = [
        await connection.fetchrow(_SQL["in_force"], scope.value, name, now)
        for scope, name in wanted
        if name is not None
    ]
    found = read_effective([{**row, "document": json.loads(row["document"])} for row in rows if row])
    if found is None:
        raise LimitsMissing
    return found


async def every_in_force(connection: Connection, now: datetime) -> list[LimitsRow]:
    """The row that counts at ``now`` of the account and of every strategy and ticker that has one."""
    return [_row(row) for row in await connection.fetch(_SQL["every_in_force"], now)]


async def read_standing(connection: Connection, scope: LimitScope, name: str, now: datetime) -> Standing:
    """The rows of one scope that count at ``now``."""
    current = await connection.fetchrow(_SQL["in_force"], scope.value, name, now)
    below = await connection.fetchrow(_SQL["lasting"], scope.value, name)
    return Standing(scope, name, current and _row(current), below and _row(below))


async def read_history(
    connection: Connection, scope: LimitScope | None = None, name: str = ""
) -> list[LimitsRow]:
    """The newest ``ROWS_MAX`` rows of one scope, or of all, newest first."""
    rows = await connection.fetch(_SQL["history"], None if scope is None else scope.value, name, ROWS_MAX)
    return [_row(row) for row in rows]


async def read_document(connection: Connection, scope: LimitScope, name: str) -> dict[str, Any]:
    """What lasts of one scope as it is stored, whole or not; empty where there is nothing."""
    row = await connection.fetchrow(_SQL["lasting"], scope.value, name)
    found: dict[str, Any] = {} if row is None else json.loads(row["document"])
    return found


async def read_names(connection: Connection) -> list[tuple[LimitScope, str]]:
    """Strategies and tickers that have ever had limits of their own, sorted."""
    return [(LimitScope(row["scope"]), row["name"]) for row in await connection.fetch(_SQL["names"])]


async def lock_limits(connection: Connection) -> None:
    """Wait for the decision that is being made; until this transaction ends none is made, and nobody sets limits.

    The account's lock: once a change is committed no decision by the former limits can follow it. Read what it
    guards in later statements.
    """
    await connection.execute(_RISK_SQL["lock_account"])


def limits_fault(
    standing: Standing, document: NewDocument, *, expires_at: datetime | None, now: datetime
) -> str | None:
    """Why ``document`` may not follow what stands; None where it may."""
    fault = names_fault(standing.scope, standing.name, document)
    if fault is None and expires_at is not None:
        fault = raise_fault(standing.lasting, document, standing.owner, expires_at=expires_at, now=now)
    return fault


async def save_limits(
    connection: Connection,
    document: NewDocument,
    *,
    author: str,
    reason: str,
    now: datetime,
    name: str = "",
    expires_at: datetime | None = None,
    actor: str | None = None,
    component: str = "RiskManager",
    evidence: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Add a version and its audit row, under the account's lock; the next decision uses it.

    Args:
        name: the strategy or ticker that it is for; empty for the account.
        actor: who does it, where that is not the author.
        evidence: what else the audit row tells, e.g. of the person who has asked for it.

    Returns:
        The version.

    Raises:
        LimitsRefused: a name that is none, or what expires is no raise, or lasts too long.
    """
    scope = scope_of(document)
    await lock_limits(connection)
    standing = await read_standing(connection, scope, name, now)
    fault = limits_fault(standing, document, expires_at=expires_at, now=now)
    if fault is not None:
        raise LimitsRefused(fault)
    version: int = await connection.fetchval(
        _SQL["insert_limits"], scope.value, name, document.model_dump_json(exclude_none=True), author, reason,
        now, expires_at,
    )  # fmt: skip
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=AUDIT_KEY,
        component=component,
        actor=actor or author,
        decision=decision(standing.in_force, standing.lasting, document).value,
        input={
            "detail": reason,
            "version": version,
            "author": author,
            "limits": document.model_dump(mode="json", exclude_none=True),
            "expires_at": None if expires_at is None else expires_at.isoformat(),
            **standing.compared(document),
            **evidence,
        },
    )
    await append(connection, entry)
    return version


def _row(row: asyncpg.Record | Mapping[str, Any]) -> LimitsRow:
    """Any row as it is, whole or not: an old or a damaged one must still be shown, compared and replaced."""
    values = dict(row)
    scope, stored = LimitScope(values["scope"]), json.loads(values["document"])
    document: LimitsDocument
    try:
        document = MODELS[scope].model_validate_json(values["document"])
    except ValidationError:
        document = _past(stored)
    return LimitsRow.model_validate({**values, "document": document})


def _past(stored: dict[str, Any]) -> PastLimits:
    try:
        return PastLimits.model_validate(stored)
    except ValidationError as error:
        wrong = {each["loc"][0] for each in error.errors()}
        return PastLimits.model_validate({key: value for key, value in stored.items() if key not in wrong})
