"""What risk reads and writes, all under the account lock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.approvals import SignedApproval, signal_hash
from schemas.audit import AuditEntry, canonical_json
from schemas.base import UtcTime, Wire, decimal_text
from schemas.events import RiskApproved, RiskMetrics, RiskRejected
from schemas.locks import SymbolLock
from schemas.market import Quote
from schemas.orders import OrderStatus, Side
from schemas.risk import Exposure, FundsRefusal, Limits, LimitSource, Proposal, RiskVerdict, WorkingOrder
from schemas.signals import DecisionView
from schemas.wire import Leg, Topic, event_id
from storage.events import Queued, append
from storage.limits import read_effective
from storage.orders import LockedOrder, StoredOrder, stored_order
from storage.signals import SignalNotFound
from storage.statements import load
from storage.switches import Installation
from storage.transitions import Step, entry_of, refuse

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("risk")


class NotBound(Exception):
    """The database does not know its account yet, so that nothing can be approved for it. Try again."""


@dataclass(frozen=True)
class FactsRow:
    """The rows a decision is made from, as they stand under the account lock."""

    proposal: Proposal
    equity: Decimal | None
    buying_power: Decimal | None
    """As the snapshot tells it."""
    spent: Decimal
    """US dollars of opening orders at reserve price that the snapshot does not know of yet."""
    snapshot_at: datetime | None
    kill_engaged: bool
    kill_epoch: int
    kill_reason: str | None
    kill_changed_at: datetime | None
    received_at: datetime
    """When the gateway took the signal."""
    as_signalled: bool
    """The order row, which is what goes out, says what the signal row says, which is what is judged."""
    limits_version: int | None
    """The newest row among those in force."""
    limits: Limits | None
    """In force at the decision's instant for its strategy and ticker; None where the account has none."""
    limit_sources: tuple[LimitSource, ...]
    """Those of them that are not the account's."""
    quote: Quote | None
    unknown_outcomes: tuple[str, ...]
    """client_order_ids on this ticker whose fate the broker has not told."""
    installation: Installation
    """Whom an approval is for."""
    locks: tuple[SymbolLock, ...]
    """Of its ticker, holding at the decision's instant."""
    funds_refusal: FundsRefusal | None
    """Of its strategy, that no snapshot has covered yet."""
    some_lapsed: bool
    """Room is to be given back first (`lapse_reservations`): read again then."""


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
    signed: SignedApproval


async def lock_account(connection: Connection) -> None:
    """Take the account lock until the transaction ends; read what it guards in later statements."""
    await connection.execute(_SQL["lock_account"])


async def lapse_reservations(connection: Connection, now: datetime) -> None:
    """Give back the room of approvals that never became an intent, so that every decision sees one truth.

    Each with its audit row, under its own signal. After account and order are locked. ``now`` is our own wall
    clock: no argument may lapse others' room.
    """
    for row in await connection.fetch(_SQL["lapse_reservations"], now):
        room = f"{decimal_text(row['quantity'])} {row['ticker']} at {decimal_text(row['price'])}"
        told = AuditEntry(
            occurred_at=now,
            correlation_id=row["signal_id"],
            component="RiskManager",
            actor="system",
            decision="RESERVATION_LAPSED",
            input={
                "detail": f"no order left in time: room for {room} is given back",
                "lapsed_at": row["lapses_at"].isoformat(),
                "quantity": decimal_text(row["quantity"]),
                "price": decimal_text(row["price"]),
            },
        )
        await append(connection, told)


async def read_facts(connection: Connection, signal_id: str, now: datetime, *, wall: datetime) -> FactsRow:
    """Signal, account, kill switch, limits in force at ``now``, quote, unknown outcomes and refusal in one reading.

    ``wall`` is our own clock: no argument may end a lock of the ticker before its time.

    Raises:
        SignalNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["read_facts"], signal_id, now, wall)
    if row is None:
        raise SignalNotFound(signal_id)
    limits = read_effective(json.loads(row["limits"], parse_float=Decimal)) if row["limits"] else None
    return FactsRow(
        proposal=Proposal.model_validate(dict(row)),
        equity=row["equity"],
        buying_power=row["buying_power"],
        spent=row["spent"],
        snapshot_at=row["taken_at"],
        kill_engaged=row["engaged"],
        kill_epoch=row["epoch"],
        kill_reason=row["kill_reason"],
        kill_changed_at=row["kill_changed_at"],
        received_at=row["taken_in_at"],
        as_signalled=row["as_signalled"],
        limits_version=limits.version if limits else None,
        limits=limits.limits if limits else None,
        limit_sources=limits.narrowed if limits else (),
        quote=Quote.model_validate(dict(row)) if row["quoted_at"] is not None else None,
        unknown_outcomes=tuple(row["unknown_outcomes"]),
        installation=Installation.model_validate(dict(row)),
        locks=tuple(SymbolLock.model_validate(each) for each in json.loads(row["locks"] or "[]")),
        funds_refusal=_refusal(row),
        some_lapsed=row["some_lapsed"],
    )


def _refusal(row: asyncpg.Record) -> FundsRefusal | None:
    if row["refused_order"] is None:
        return None
    return FundsRefusal(
        strategy=row["strategy"],
        client_order_id=row["refused_order"],
        needed=row["refused_needed"],
        refused_at=row["refused_at"],
    )


async def read_exposures(connection: Connection) -> tuple[Exposure, ...]:
    """Held and reserved shares per ticker and strategy, sorted by both."""
    return tuple(Exposure.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_exposures"]))


async def read_working(connection: Connection, ticker: str) -> tuple[WorkingOrder, ...]:
    """Orders on the ticker that may still execute, or have and are not told: ours with room reserved, and others'.

    Oldest first. One that is not ours bears its client order id for a signal's.
    """
    rows = await connection.fetch(_SQL["read_working"], ticker)
    return tuple(WorkingOrder.model_validate(dict(row)) for row in rows)


async def read_decision(
    connection: Connection, signal_id: str, leg: Leg = Leg.ENTRY
) -> StoredDecision | None:
    """The stored decision, if there is one."""
    row = await connection.fetchrow(_SQL["read_decision"], signal_id, leg.value)
    return _decision(row) if row else None


async def read_approval(connection: Connection, signal_id: str) -> str | None:
    """What risk has signed of the signal's entry; None where it was approved by an earlier release, or never."""
    document: str | None = await connection.fetchval(_SQL["read_approval"], signal_id)
    return document


def _decision(row: asyncpg.Record) -> StoredDecision:
    values = dict(row)
    values["checks"] = json.loads(values["checks"])
    return StoredDecision.model_validate(values)


async def write_approval(
    locked: LockedOrder, proposal: Proposal, verdict: RiskVerdict, approval: Approval
) -> StoredOrder:
    """Decision, reservation, event and audit row of an approval."""
    row = await locked.connection.fetchrow(
        _SQL["approve_order"], *locked.key, approval.approval_id, canonical_json(verdict.checks),
        verdict.quantity, verdict.worst_price, verdict.account_exposure_pct, approval.limits_version,
        approval.kill_epoch, approval.approved_at, approval.expires_at, verdict.side.value,
        approval.reservation_lapses_at, verdict.reserve_price, verdict.limit_price, proposal.hard_stop_loss,
        approval.signed.document, approval.signed.signature, approval.signed.key_id,
    )  # fmt: skip
    assert row is not None, "the row is locked by this transaction"
    order = stored_order(row)
    event = RiskApproved(
        event_id=event_id(Topic.RISK_APPROVED, order.signal_id, order.leg.value, order.generation),
        timestamp=approval.approved_at,
        signal_id=order.signal_id,
        ticker=order.ticker,
        action=order.action.value,
        approved_quantity=verdict.quantity,
        approved_limit_price=verdict.worst_price,
        hard_stop_loss=proposal.hard_stop_loss,
        risk_metrics=_metrics(verdict, order),
        approval_id=str(approval.approval_id),
        expires_at=approval.expires_at,
        kill_epoch=approval.kill_epoch,
        limits_version=approval.limits_version,
        stop_price=order.stop_price,
        signature=approval.signed.signature,
        key_id=approval.signed.key_id,
    )
    side = "up to" if verdict.side is Side.BUY else "down to"
    step = Step(
        now=approval.approved_at,
        component="RiskManager",
        decision="APPROVED",
        detail=f"{verdict.quantity} {order.ticker} {side} {verdict.worst_price}",
        checks=verdict.checks,
        evidence={
            **_basis(proposal, verdict),
            "approval_id": str(approval.approval_id),
            "signed": approval.signed.model_dump(mode="json"),
        },
        references=(
            *_references(proposal, approval.limits_version, approval.kill_epoch),
            f"approval {approval.approval_id}",
            f"approval key {approval.signed.key_id}",
        ),
    )
    queued = Queued(Topic.RISK_APPROVED, order.signal_id, event)
    await append(locked.connection, entry_of(order, step), queued)
    return order


def _metrics(verdict: RiskVerdict, order: StoredOrder) -> RiskMetrics:
    return RiskMetrics(account_exposure_pct=verdict.account_exposure_pct, strategy=order.strategy)


def _basis(proposal: Proposal, verdict: RiskVerdict) -> dict[str, object]:
    """What was judged, and which of its limits were not the account's."""
    return {"proposal": proposal.model_dump(mode="json"), "narrowed_limits": list(verdict.narrowed_limits)}


def _references(proposal: Proposal, limits_version: int, kill_epoch: int) -> tuple[str, ...]:
    """What a decision rests on, by name. The strategy's own are in its signal's row.

    Risk reads none of the strategy's words.
    """
    return (
        f"signal {proposal.signal_id} {signal_hash(proposal)}",
        f"limits {limits_version}",
        f"kill switch epoch {kill_epoch}",
    )


async def write_rejection(
    locked: LockedOrder,
    proposal: Proposal,
    verdict: RiskVerdict,
    *,
    limits_version: int,
    kill_epoch: int,
    now: datetime,
    user_message: str | None,
) -> StoredOrder:
    """Decision, ended order, event and audit row of a rejection."""
    order = locked.order
    reasons = tuple(reason.value for reason in verdict.reasons)
    await locked.connection.execute(
        _SQL["insert_rejection"], *locked.key, list(reasons), canonical_json(verdict.checks), verdict.quantity,
        verdict.worst_price, verdict.account_exposure_pct, limits_version, kill_epoch, now, user_message,
    )  # fmt: skip
    event = RiskRejected(
        event_id=event_id(Topic.RISK_REJECTED, order.signal_id, order.leg.value, order.generation),
        timestamp=now,
        signal_id=order.signal_id,
        ticker=order.ticker,
        action=order.action.value,
        reasons=reasons,
        user_message=user_message,
        risk_metrics=_metrics(verdict, order),
    )
    step = Step(
        now=now,
        component="RiskManager",
        decision="REJECTED",
        detail="; ".join(check.formula for check in verdict.checks if check.name in verdict.reasons),
        checks=verdict.checks,
        evidence=_basis(proposal, verdict),
        references=_references(proposal, limits_version, kill_epoch),
        user_message=user_message,
    )
    ended = locked.state.model_copy(update={"status": OrderStatus.REJECTED, "reason": ",".join(reasons)})
    return await refuse(locked, ended, step, Queued(Topic.RISK_REJECTED, order.signal_id, event))


async def live_reservations(connection: Connection) -> tuple[int, Decimal]:
    """How many reservations are live, and their worth in US dollars at worst price."""
    row = await connection.fetchrow(_SQL["live_reservations"])
    assert row is not None, "an aggregate always has a row"
    return row["count"], row["notional"]
