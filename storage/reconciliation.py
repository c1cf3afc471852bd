"""Runs of the reconciliation, the broker's readings they act on, and orders that are not ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from risk.readiness import Readiness
from schemas.audit import AuditEntry, canonical_json
from schemas.base import UtcTime, Wire, decimal_text
from schemas.events import StateDrift
from schemas.orders import Action, BrokerOrder, OrderStatus
from schemas.reconciliation import (
    BrokerState,
    Comparison,
    Finding,
    Outcome,
    Report,
)
from schemas.wire import Leg, Topic, event_id
from storage.events import Queued, append
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("reconciliation")

COMPONENT: Final = "DriftMonitor"
CORRELATION: Final = "reconciliation"
READINGS_KEPT_FOR: Final = timedelta(hours=1)
"""Of runs that never came to their end."""
OPEN_ORDERS_MAX: Final = 50_000
LIST_MAX: Final = 500


class OwnOrder(Wire):
    """An order of ours, as far as it can be compared with the broker's."""

    signal_id: str
    leg: Leg
    broker_order_id: str | None
    client_order_id: str | None
    status: OrderStatus
    updated_at: UtcTime
    ticker: str = ""
    action: Action | None = None
    quantity: Decimal | None = None


class Reading(Wire):
    """One reading that showed differences."""

    taken_at: UtcTime
    state: BrokerState
    comparison: Comparison


@dataclass(frozen=True)
class Run:
    """A run as its row tells it: open, or finished with its report."""

    run_id: str
    trigger: str
    started_at: datetime
    report: Report | None
    findings: tuple[Finding, ...]
    """Of an open run: what was adopted by an overwrite that could not be finished."""
    drift: Decimal
    equity: Decimal | None
    market_at: datetime | None


async def open_run(connection: Connection, run_id: str, trigger: str, now: datetime) -> Run:
    """The run's row, made where there is none."""
    await connection.execute(_SQL["open_run"], run_id, trigger, now)
    return await read_run(connection, run_id)


async def read_run(connection: Connection, run_id: str) -> Run:
    """The run's row, which must be there."""
    row = await connection.fetchrow(_SQL["read_run"], run_id)
    assert row is not None, "a run is opened before it is read"
    report = _report(row) if row["outcome"] is not None else None
    return Run(
        run_id=row["run_id"],
        trigger=row["trigger"],
        started_at=row["started_at"],
        report=report,
        findings=_findings(row),
        drift=row["drift"],
        equity=row["equity"],
        market_at=row["market_at"],
    )


async def left_open(connection: Connection, before: datetime) -> list[tuple[str, str]]:
    """Run id and trigger of runs that began before then, have adopted something and were never finished."""
    return [(row["run_id"], row["trigger"]) for row in await connection.fetch(_SQL["left_open"], before)]


async def list_runs(connection: Connection, limit: int) -> list[Report]:
    """Finished runs, newest first."""
    return [_report(row) for row in await connection.fetch(_SQL["list_runs"], min(limit, LIST_MAX))]


def _findings(row: asyncpg.Record) -> tuple[Finding, ...]:
    return tuple(Finding.model_validate(each) for each in json.loads(row["findings"]))


def _report(row: asyncpg.Record) -> Report:
    values: dict[str, Any] = {key: row[key] for key in Report.model_fields if key in row}
    return Report.model_validate({**values, "findings": _findings(row), "killed": row["kill"] != "none"})


@dataclass(frozen=True)
class LastReading:
    """When the last good reading began."""

    read_at: datetime
    """By our own wall clock."""
    market_at: datetime
    """By the broker's, which may have been off."""


async def last_reading(connection: Connection) -> LastReading | None:
    """None before the first good one."""
    row = await connection.fetchrow(_SQL["last_good"])
    return LastReading(row["read_at"], row["market_at"]) if row else None


async def last_market_at(connection: Connection) -> datetime | None:
    """Market time of the last good reading; None before the first."""
    last = await last_reading(connection)
    return last.market_at if last else None


async def read_readiness(connection: Connection) -> Readiness:
    row = await connection.fetchrow(_SQL["readiness"])
    assert row is not None, "trade_stream always has its one row"
    return Readiness(**dict(row))


async def carry(
    connection: Connection,
    run_id: str,
    findings: Sequence[Finding],
    drift: Decimal,
    state: BrokerState,
    now: datetime,
) -> None:
    """Keep with an open run what is about to be adopted, so that its end can tell of it; with its audit row."""
    await connection.execute(
        _SQL["carry_findings"], run_id, canonical_json(list(findings)), drift, state.equity, state.market_at
    )
    told = AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=COMPONENT,
        actor="system",
        decision="ADOPTING",
        input={
            "detail": f"two readings agree on {len(findings)} executions and orders of ours",
            "run_id": run_id,
            "findings": [each.model_dump(mode="json") for each in findings],
            "drift": decimal_text(drift),
            "market_at": state.market_at.isoformat(),
        },
    )
    await append(connection, told)


async def save_reading(connection: Connection, run_id: str, number: int, reading: Reading) -> None:
    """Keep one reading; the same number again replaces it."""
    await connection.execute(
        _SQL["save_reading"], run_id, number, reading.taken_at, reading.state.model_dump_json(),
        reading.comparison.model_dump_json(),
    )  # fmt: skip


async def read_reading(connection: Connection, run_id: str, number: int) -> Reading | None:
    row = await connection.fetchrow(_SQL["read_reading"], run_id, number)
    if row is None:
        return None
    return Reading(
        taken_at=row["taken_at"],
        state=BrokerState.model_validate_json(row["state"]),
        comparison=Comparison.model_validate_json(row["comparison"]),
    )


async def finish(
    connection: Connection, report: Report, *, read_at: datetime | None, market_at: datetime | None
) -> bool:
    """Close a run with its events and audit rows: one of each for every difference. A repeat changes nothing.

    Returns:
        Whether this call closed it.
    """
    kill = "due" if report.killed else "none"
    closed = await connection.fetchval(
        _SQL["finish_run"], report.run_id, report.trigger, report.outcome.value, report.started_at, read_at,
        market_at, report.finished_at, canonical_json(list(report.findings)), report.drift, report.equity,
        report.left_out, report.booked, kill, report.detail,
    )  # fmt: skip
    if closed is None:
        return False
    await connection.execute(_SQL["drop_readings"], report.run_id, report.finished_at - READINGS_KEPT_FOR)
    if report.outcome is not Outcome.OPENED and market_at is not None:
        for finding in report.findings:
            await append(connection, _drift_entry(report, finding), _drift_event(report, finding, market_at))
    await append(connection, _run_entry(report, read_at, market_at))
    return True


def _run_entry(report: Report, read_at: datetime | None, market_at: datetime | None) -> AuditEntry:
    return AuditEntry(
        occurred_at=report.finished_at,
        correlation_id=CORRELATION,
        component=COMPONENT,
        actor=report.trigger,
        decision=f"RECONCILED_{report.outcome.value}",
        input={
            "detail": report.detail,
            "run_id": report.run_id,
            "drift": decimal_text(report.drift),
            "equity": None if report.equity is None else decimal_text(report.equity),
            "findings": len(report.findings),
            "booked": report.booked,
            "left_out": report.left_out,
            "killed": report.killed,
            "read_at": None if read_at is None else read_at.isoformat(),
            "market_at": None if market_at is None else market_at.isoformat(),
        },
    )


def _drift_entry(report: Report, finding: Finding) -> AuditEntry:
    return AuditEntry(
        occurred_at=report.finished_at,
        correlation_id=finding.signal_id or CORRELATION,
        component=COMPONENT,
        actor=report.trigger,
        decision="STATE_DRIFT",
        input={"detail": f"{finding.kind.value}: {finding.detail}", "run_id": report.run_id,
               "finding": finding.model_dump(mode="json"), "kills": report.killed},
    )  # fmt: skip


def _drift_event(report: Report, finding: Finding, market_at: datetime) -> Queued:
    event = StateDrift(
        event_id=event_id(Topic.STATE_DRIFT, report.run_id, finding.kind.value, finding.subject),
        timestamp=report.finished_at,
        run_id=report.run_id,
        kind=finding.kind.value,
        subject=finding.subject,
        ticker=finding.ticker,
        local=finding.here,
        broker=finding.there,
        difference=finding.difference,
        price=finding.price,
        signal_id=finding.signal_id,
        client_order_id=finding.client_order_id,
        broker_order_id=finding.broker_order_id,
        detail=finding.detail,
        what_to_do=finding.do,
        drift=report.drift,
        drift_pct=report.drift_pct,
        equity=report.equity or Decimal(0),
        snapshot_at=market_at,
        kills=report.killed,
    )
    return Queued(Topic.STATE_DRIFT, CORRELATION, event)


async def take_kill(connection: Connection, run_id: str) -> bool:
    """Whether this run's kill is still to be done, and done by the caller's transaction."""
    return await connection.fetchval(_SQL["take_kill"], run_id) is not None


async def kills_due(connection: Connection) -> list[str]:
    """Runs whose kill was decided and not carried out."""
    return [row["run_id"] for row in await connection.fetch(_SQL["kills_due"])]


async def own_orders(
    connection: Connection, broker_ids: Iterable[str], client_ids: Iterable[str]
) -> list[OwnOrder]:
    """Our orders among those that the broker names."""
    rows = await connection.fetch(_SQL["own_orders"], list(broker_ids), list(client_ids))
    return [OwnOrder.model_validate(dict(row)) for row in rows]


async def own_executed(connection: Connection, broker_ids: Iterable[str]) -> set[str]:
    """Broker ids, also of replaced orders, under which executions of ours are booked."""
    return {row["broker_order_id"] for row in await connection.fetch(_SQL["own_executed"], list(broker_ids))}


async def open_here(connection: Connection) -> list[OwnOrder]:
    """Our orders that stand at the broker as far as we know."""
    rows = await connection.fetch(_SQL["open_here"], OPEN_ORDERS_MAX)
    return [OwnOrder.model_validate(dict(row)) for row in rows]


async def external_known(connection: Connection, broker_ids: Iterable[str]) -> set[str]:
    """Which of these orders an earlier run has stored as external."""
    rows = await connection.fetch(_SQL["external_known"], list(broker_ids))
    return {row["broker_order_id"] for row in rows}


async def save_external(connection: Connection, orders: Sequence[BrokerOrder], now: datetime) -> None:
    """Store every open order that is not ours; those it no longer names have ended."""
    await connection.executemany(
        _SQL["save_external"],
        [
            (
                order.broker_order_id, order.client_order_id, order.ticker, order.side.value,
                max((order.quantity or Decimal(0)) - order.filled_quantity, Decimal(0)),
                order.limit_price or order.stop_price, order.raw_status, now, order.model_dump_json(),
            )
            for order in orders
        ],
    )  # fmt: skip
    await connection.execute(_SQL["end_external"], [order.broker_order_id for order in orders], now)


async def external_open(connection: Connection) -> set[str]:
    """Broker ids of the external orders that were open at the last reading."""
    return {row["broker_order_id"] for row in await connection.fetch(_SQL["external_open"])}
