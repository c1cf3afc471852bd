"""What a sweep stores: each order's fate, told again until the broker has confirmed every end."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from activities import kill_cancel
from activities.kill_sweep import KillSweeper
from broker import lifecycle
from schemas.kill import KillCommand, KillScope, KillState, OrderFate
from storage import switches
from storage.database import Database
from storage.orders import lock_order
from storage.transitions import Step, refuse
from tests.postgres.books import prepare, propose
from tests.postgres.scripted_broker import ScriptedBroker, told


def now() -> datetime:
    return datetime.now(UTC)


def quietly(_: str) -> None:
    """No heartbeat."""


@pytest.fixture
async def rows(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(kill_cancel, "CONFIRM_WAIT_MAX_SECONDS", 0.3)
    opened = await Database.connect(database)
    yield opened
    await opened.close()


async def engage(rows: Database, scope: KillScope = KillScope.ALL) -> KillState:
    async with rows.transaction("test") as connection:
        return await switches.engage(
            connection,
            KillCommand(reason="test", scope=scope),
            request_id=str(uuid4()),
            now=now(),
            component="test",
        )


async def test_a_cancel_that_ended_between_two_sweeps_is_confirmed(rows: Database) -> None:
    broker: Any = ScriptedBroker()
    broker.orders = {"slow": told("slow", "pending_cancel"), "foreign": told("foreign", "pending_cancel")}
    await engage(rows)
    sweeper = KillSweeper(rows, broker, now=now)
    first = await sweeper.sweep(beat=quietly)
    assert not first.sweep_confirmed
    assert first.fates == {"slow": OrderFate.PENDING, "foreign": OrderFate.PENDING}
    broker.orders = {"slow": told("slow", "filled", filled=10), "foreign": told("foreign", "canceled")}
    second = await sweeper.sweep(beat=quietly)
    assert second.sweep_confirmed
    assert second.fates == {"slow": OrderFate.FILLED, "foreign": OrderFate.CANCELED}


async def test_an_unknown_order_that_proved_absent_is_confirmed(rows: Database) -> None:
    """How: its row is unknown at the first sweep and refused, as never placed, before the second."""
    broker: Any = ScriptedBroker()
    await prepare(rows)
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute("update orders set client_order_id = 'lost', flags = '{outcome_unknown}'")
    await engage(rows)
    sweeper = KillSweeper(rows, broker, now=now)
    first = await sweeper.sweep(beat=quietly)
    assert (first.sweep_confirmed, first.fates) == (False, {"lost": OrderFate.UNKNOWN})
    async with rows.transaction("test") as connection:
        locked = await lock_order(connection, "s1")
        ended = lifecycle.apply(locked.state, lifecycle.Refused("KILL_SWITCH"))
        await refuse(locked, ended, Step(now=now(), component="test", decision="REFUSED"))
    second = await sweeper.sweep(beat=quietly)
    assert (second.sweep_confirmed, second.fates) == (True, {"lost": OrderFate.CANCELED})


async def test_an_order_that_nobody_knows_stays_unconfirmed(rows: Database) -> None:
    broker: Any = ScriptedBroker()
    broker.orders = {"gone": told("gone", "pending_cancel")}
    await engage(rows)
    sweeper = KillSweeper(rows, broker, now=now)
    await sweeper.sweep(beat=quietly)
    broker.orders = {}
    again = await sweeper.sweep(beat=quietly)
    assert (again.sweep_confirmed, again.fates) == (False, {"gone": OrderFate.PENDING})


async def test_a_scope_widened_during_a_sweep_wants_its_own(rows: Database) -> None:
    began = await engage(rows, KillScope.RISK_ADDING)
    widened = await engage(rows, KillScope.ALL)
    assert widened.epoch == began.epoch
    async with rows.transaction("test") as connection:
        stored = await switches.save_sweep(connection, began, {}, confirmed=True, unprotected=(), now=now())
        assert (stored.scope, stored.sweep_confirmed) == (KillScope.ALL, False)
        events = await connection.fetch("select payload->>'action_taken' as action from events")
    assert "ALL_OPEN_ORDERS_CANCELED" not in [row["action"] for row in events]


async def test_row_and_signal_of_one_command_are_one_activation(rows: Database) -> None:
    """How: the row is written, swept, and the signal with the same request id comes after; then a new one."""

    async def engage_as(request_id: str) -> KillState:
        async with rows.transaction("test") as connection:
            return await switches.engage(
                connection, KillCommand(reason="test"), request_id=request_id, now=now(), component="test"
            )

    broker: Any = ScriptedBroker()
    await engage_as("one")
    swept = await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert await engage_as("one") == swept
    again = await engage_as("two")
    assert (again.epoch, again.swept_at, again.sweep_confirmed) == (swept.epoch, None, False)
    async with rows.connection() as connection:
        audited = await connection.fetch(
            "select decision from audit_log where decision like 'KILL%' order by id"
        )
    assert [row["decision"] for row in audited] == ["KILL_ENGAGED", "KILL_REPEATED"]
