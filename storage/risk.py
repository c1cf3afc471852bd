"""What risk reads and writes, all under the account lock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.audit import AuditEntry, canonical_json
from schemas.base import DecimalText, UtcTime, Wire
from schemas.events import RiskApproved, RiskMetrics, RiskRejected
from schemas.market import Quote
from schemas.orders import OrderStatus, Side
from schemas.risk import Exposure, Limits, LimitsVersion, Proposal, RiskVerdict
from schemas.signals import DecisionView
from schemas.wire import Leg, Topic, event_id
from storage.events import append_audit, append_event
from storage.orders import LockedOrder, StoredOrder, read_order
from storage.statements import load
from storage.transitions import Step, refuse

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("risk")


class LimitsMissing(Exception):
    """No limits are set: nothing may trade. Set them with ``trading limits set``."""


@dataclass(frozen=True)
class MarketRow:
    """How the market's clock stood to ours at one reading."""

    read_at: datetime
    broker_at: datetime
    speed: float


@dataclass(frozen=True)
class FactsRow:
    """The rows a decision is made from, as they stand under the account lock."""

    equity: Decimal | None
    buying_power: Decimal | None
    snapshot_at: datetime | None
    kill_engaged: bool
    kill_epoch: int
    kill_reason: str | None
    limits_version: int | None
    limits: Limits | None
    quote: Quote | None
    market: MarketRow | None


class StoredDecision(DecisionView):
    """A decision row: the approval that placement must present."""

    signal_id: str
    leg: Leg
    generation: int
    approval_id: UUID | None
    kill_epoch: int
    user_message: str | None = None


class Approval(Wire):
    """What an approved decision grants."""

    approval_id: UUID
    approved_at: UtcTime
    expires_at: UtcTime
    reservation_lapses_at: UtcTime
    limits_version: int
    kill_epoch: int
    limit_price: DecimalText


async def lock_account(connection: Connection, now: datetime) -> None:
    """Take the account lock until the transaction ends; read what it guards in later statements.

    Approvals that never became an intent give their room back here, so that every decision sees one truth.
    """
    await connection.execute(_SQL["lock_account"])
    await connection.execute(_SQL["lapse_reservations"], now)


async def read_facts(connection: Connection, ticker: str) -> FactsRow:
    """Account, kill switch, limits, quote and market clock in one reading."""
    row = await connection.fetchrow(_SQL["read_facts"], ticker)
    assert row is not None, "account and kill_switch always have their one row"
    quote = None
    if row["quoted_at"] is not None:
        quote = Quote.model_validate({**dict(row), "ticker": ticker})
    market = None
    if row["read_at"] is not None:
        market = MarketRow(read_at=row["read_at"], broker_at=row["broker_at"], speed=row["speed"])
    return FactsRow(
        equity=row["equity"],
        buying_power=row["buying_power"],
        snapshot_at=row["taken_at"],
        kill_engaged=row["engaged"],
        kill_epoch=row["epoch"],
        kill_reason=row["kill_reason"],
        limits_version=row["limits_version"],
        limits=Limits.model_validate_json(row["limits"]) if row["limits"] else None,
        quote=quote,
        market=market,
    )


async def read_exposures(connection: Connection) -> tuple[Exposure, ...]:
    """Held and reserved shares per ticker and strategy, sorted by both."""
    return tuple(Exposure.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_exposures"]))


async def spent_since(connection: Connection, snapshot_at: datetime) -> Decimal:
    """US dollars of buys that the snapshot's buying power does not know of yet, at worst price."""
    spent: Decimal = await connection.fetchval(_SQL["spent_since_snapshot"], snapshot_at)
    return spent


async def unknown_outcomes(connection: Connection, ticker: str) -> tuple[str, ...]:
    """client_order_ids on this ticker whose fate the broker has not told."""
    return tuple(row["client_order_id"] for row in await connection.fetch(_SQL["unknown_outcomes"], ticker))


async def read_decision(
    connection: Connection, signal_id: str, leg: Leg = Leg.ENTRY
) -> StoredDecision | None:
    """The stored decision, if there is one."""
    row = await connection.fetchrow(_SQL["read_decision"], signal_id, leg.value)
    return _decision(row) if row else None


def _decision(row: asyncpg.Record) -> StoredDecision:
    values = dict(row)
    values["checks"] = json.loads(values["checks"])
    return StoredDecision.model_validate(values)


async def write_approval(
    locked: LockedOrder, proposal: Proposal, verdict: RiskVerdict, approval: Approval
) -> StoredOrder:
    """Decision, reservation, event and audit row of an approval."""
    connection, order = locked.connection, locked.order
    await connection.execute(
        _SQL["approve_order"], order.internal_order_id, verdict.quantity, verdict.worst_price,
        approval.approved_at,
    )  # fmt: skip
    await _insert_decision(locked, verdict, approval, approval.approved_at, approval.expires_at, None)
    await connection.execute(
        _SQL["insert_reservation"], *locked.key, order.strategy, order.ticker, verdict.side.value,
        verdict.quantity, verdict.worst_price, approval.approved_at, approval.reservation_lapses_at,
    )  # fmt: skip
    event = RiskApproved(
        event_id=event_id(Topic.RISK_APPROVED, order.signal_id, order.leg.value, order.generation),
        timestamp=approval.approved_at,
        signal_id=order.signal_id,
        ticker=order.ticker,
        action=order.action.value,
        approved_quantity=verdict.quantity,
        approved_limit_price=verdict.worst_price,
        hard_stop_loss=proposal.hard_stop_loss,
        risk_metrics=RiskMetrics(account_exposure_pct=verdict.account_exposure_pct, strategy=order.strategy),
        approval_id=str(approval.approval_id),
        expires_at=approval.expires_at,
        kill_epoch=approval.kill_epoch,
        limits_version=approval.limits_version,
    )
    await append_event(connection, Topic.RISK_APPROVED, order.signal_id, event)
    side = "up to" if verdict.side is Side.BUY else "down to"
    await _audit(
        locked, proposal, verdict, "APPROVED", approval.approved_at,
        f"{verdict.quantity} {order.ticker} {side} {verdict.worst_price}",
    )  # fmt: skip
    return await read_order(connection, order.signal_id, order.leg)


async def write_rejection(
    locked: LockedOrder, proposal: Proposal, verdict: RiskVerdict, *, limits_version: int, kill_epoch: int,
    now: datetime, user_message: str | None,
) -> StoredOrder:  # fmt: skip
    """Decision, ended order, event and audit row of a rejection."""
    order = locked.order
    basis = Approval(
        approval_id=order.internal_order_id, approved_at=now, expires_at=now, reservation_lapses_at=now,
        limits_version=limits_version, kill_epoch=kill_epoch, limit_price=verdict.worst_price,
    )  # fmt: skip
    await _insert_decision(locked, verdict, basis, now, now, user_message)
    reasons = tuple(reason.value for reason in verdict.reasons)
    event = RiskRejected(
        event_id=event_id(Topic.RISK_REJECTED, order.signal_id, order.leg.value, order.generation),
        timestamp=now,
        signal_id=order.signal_id,
        ticker=order.ticker,
        action=order.action.value,
        reasons=reasons,
        user_message=user_message,
        risk_metrics=RiskMetrics(account_exposure_pct=verdict.account_exposure_pct, strategy=order.strategy),
    )
    await append_event(locked.connection, Topic.RISK_REJECTED, order.signal_id, event)
    failed = "; ".join(check.formula for check in verdict.checks if not check.passed)
    step = Step(
        now=now, component="RiskManager", decision="REJECTED", detail=failed, checks=verdict.checks,
        evidence={"proposal": proposal.model_dump(mode="json")}, user_message=user_message,
    )  # fmt: skip
    ended = locked.state.model_copy(update={"status": OrderStatus.REJECTED, "reason": ",".join(reasons)})
    return await refuse(locked, ended, step)


async def _insert_decision(
    locked: LockedOrder, verdict: RiskVerdict, approval: Approval, now: datetime, expires_at: datetime,
    user_message: str | None,
) -> None:  # fmt: skip
    await locked.connection.execute(
        _SQL["insert_decision"], *locked.key, approval.approval_id if verdict.approved else None,
        verdict.approved, [reason.value for reason in verdict.reasons], canonical_json(verdict.checks),
        verdict.quantity, verdict.worst_price, verdict.account_exposure_pct, approval.limits_version,
        approval.kill_epoch, now, expires_at, user_message,
    )  # fmt: skip


async def _audit(
    locked: LockedOrder, proposal: Proposal, verdict: RiskVerdict, decision: str, now: datetime, detail: str
) -> None:
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=locked.order.signal_id,
        component="RiskManager",
        actor="system",
        decision=decision,
        input={"detail": detail, "proposal": proposal.model_dump(mode="json")},
        checks=verdict.checks,
    )
    await append_audit(locked.connection, entry)


async def start_working(locked: LockedOrder) -> bool:
    """Tie the reservation to an intent. False when it lapsed: the approval buys nothing any more."""
    return await locked.connection.fetchval(_SQL["start_working"], *locked.key) is not None


async def live_reservations(connection: Connection) -> tuple[int, Decimal]:
    """How many reservations are live, and their worth in US dollars at worst price."""
    row = await connection.fetchrow(_SQL["live_reservations"])
    assert row is not None, "an aggregate always has a row"
    return row["count"], row["notional"]


async def current_limits(connection: Connection) -> LimitsVersion:
    """The limits in force.

    Raises:
        LimitsMissing: none are set.
    """
    row = await connection.fetchrow(_SQL["current_limits"])
    if row is None:
        raise LimitsMissing("no limits are set")
    return LimitsVersion(
        version=row["version"],
        limits=Limits.model_validate_json(row["document"]),
        author=row["author"],
        reason=row["reason"],
        created_at=row["created_at"],
    )


async def save_limits(
    connection: Connection, limits: Limits, *, author: str, reason: str, now: datetime
) -> int:
    """Add a version and its audit row; the next decision uses it."""
    version: int = await connection.fetchval(
        _SQL["insert_limits"], limits.model_dump_json(), author, reason, now
    )
    entry = AuditEntry(
        occurred_at=now, correlation_id="limits", component="RiskManager", actor=author, decision="LIMITS_SET",
        input={"detail": reason, "version": version, "limits": limits.model_dump(mode="json")},
    )  # fmt: skip
    await append_audit(connection, entry)
    return version
