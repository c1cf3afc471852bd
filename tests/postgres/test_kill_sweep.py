"""What a sweep stores: each order's fate, told again until the broker has confirmed every end."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from activities import kill_cancel
from activities.kill_alerts import KillAlerts
from activities.kill_sweep import KillSweeper
from broker import lifecycle
from broker.errors import NetworkError
from schemas.broker import Position
from schemas.kill import KillCommand, KillScope, KillState, OrderFate
from storage import sweeps, switches
from storage.alerts import LIST_MAX, list_alerts
from storage.database import Database
from storage.orders import lock_order
from storage.transitions import Step, refuse
from tests.postgres.books import prepare, propose
from tests.postgres.scripted_broker import ScriptedBroker, held, told
from tests.postgres.scripted_broker import told as told_order


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


class LandsLate(ScriptedBroker):
    """An order whose POST got no answer lands after the sweep's last list; the stream tells of it at once."""

    def __init__(self, rows: Database) -> None:
        super().__init__()
        self._rows = rows

    async def get_positions(self) -> list[Position]:
        if "late" not in self.orders:
            self.orders["late"] = told("late", "new")
            async with self._rows.transaction("test") as connection:
                await connection.execute(
                    "update orders set flags = '{}', status = 'ACKNOWLEDGED', broker_order_id = 'b'"
                )
        return await super().get_positions()


@pytest.mark.parametrize("scope", KillScope)
async def test_an_order_that_lands_after_the_last_list_is_canceled_and_not_called_done(
    rows: Database, scope: KillScope
) -> None:
    broker: Any = LandsLate(rows)
    await prepare(rows)
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = 'late', post_count = 1, status = 'SUBMITTED',"
            " flags = '{outcome_unknown}'"
        )
    await engage(rows, scope)
    sweeper = KillSweeper(rows, broker, now=now)
    first = await sweeper.sweep(beat=quietly)
    assert (first.sweep_confirmed, first.fates) == (False, {"late": OrderFate.PENDING})
    assert broker.cancelled == ["at-the-broker-late"]
    broker.orders["late"] = told("late", "canceled")
    second = await sweeper.sweep(beat=quietly)
    assert (second.sweep_confirmed, second.fates) == (True, {"late": OrderFate.CANCELED})


async def test_a_stop_of_ours_that_the_scope_keeps_is_neither_canceled_nor_waited_for(rows: Database) -> None:
    broker: Any = ScriptedBroker()
    await prepare(rows)
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set leg = 'stop', client_order_id = 'stop', post_count = 1, broker_order_id = 'b',"
            " status = 'ACKNOWLEDGED'"
        )
    broker.orders["stop"] = told("stop", "held")
    await engage(rows, KillScope.RISK_ADDING)
    swept = await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert (swept.sweep_confirmed, swept.fates, broker.cancelled) == (True, {}, [])


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
        stored = await sweeps.save_sweep(connection, began, {}, confirmed=True, unprotected=(), now=now())
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


async def test_what_may_stand_is_named_while_the_broker_cannot_be_asked(rows: Database) -> None:
    """How: one order of ours is out, unanswered; the broker is away, and comes back."""
    broker: Any = ScriptedBroker()
    await prepare(rows)
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = 'ours', post_count = 1, broker_order_id = 'b',"
            " status = 'ACKNOWLEDGED'"
        )
    await engage(rows)
    broker.away = NetworkError("no answer")
    sweeper = KillSweeper(rows, broker, now=now)
    for _ in range(2):
        with pytest.raises(NetworkError):
            await sweeper.sweep(beat=quietly)
    async with rows.connection() as connection:
        state = await switches.read_state(connection)
        told = await connection.fetch("select payload from events where key = 'kill-switch'")
    assert (state.sweep_confirmed, state.fates) == (False, {"ours": OrderFate.PENDING})
    assert len(told) == 2, "one for the activation and one for the failed sweep, not one for each try"
    broker.away = None
    broker.orders = {"ours": told_order("ours", "canceled")}
    again = await sweeper.sweep(beat=quietly)
    assert (again.sweep_confirmed, again.fates) == (True, {"ours": OrderFate.CANCELED})


async def test_names_outlive_a_second_activation_during_the_sweep(rows: Database) -> None:
    began = await engage(rows)
    await engage(rows)
    async with rows.transaction("test") as connection:
        overtaken = await sweeps.save_sweep(
            connection, began, {"gone": OrderFate.CANCELED}, confirmed=True, unprotected=(), now=now()
        )
    assert (overtaken.swept_at, overtaken.sweep_confirmed) == (None, False)
    async with rows.transaction("test") as connection:
        later = await sweeps.save_sweep(connection, overtaken, {}, confirmed=True, unprotected=(), now=now())
        assert later == await sweeps.save_sweep(
            connection, began, {}, confirmed=False, unprotected=(), now=now()
        ), "what was overtaken says nothing of the later activation"
    broker: Any = ScriptedBroker()
    swept = await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert (swept.sweep_confirmed, swept.fates) == (True, {"gone": OrderFate.CANCELED})


async def test_alerts_follow_the_row(rows: Database) -> None:
    broker: Any = ScriptedBroker()
    alerts = KillAlerts(rows, now=now)

    async def raised(*, overdue: bool = False) -> dict[str, str]:
        await alerts.keep(overdue=overdue)
        async with rows.connection() as connection:
            return {each.code.value: each.text for each in await list_alerts(connection)}

    assert await raised() == {}
    await engage(rows)
    assert list(await raised()) == ["KILL_SWITCH"]
    assert set(await raised(overdue=True)) == {"KILL_SWITCH", "KILL_SWEEP_UNCONFIRMED"}
    assert set(await raised()) == {"KILL_SWITCH", "KILL_SWEEP_UNCONFIRMED"}, "it lasts until it is confirmed"
    broker.positions = [held("AAPL", 10), held("MSFT", -5), held("TSLA", 3)]
    broker.orders = {"slow": told_order("slow", "pending_cancel")}
    await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    found = await raised()
    assert "slow" in found["KILL_SWEEP_UNCONFIRMED"]
    assert "AAPL, MSFT, TSLA" in found["UNPROTECTED"]
    broker.orders, broker.positions = {"slow": told_order("slow", "canceled")}, []
    await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert list(await raised()) == ["KILL_SWITCH"]
    async with rows.transaction("test") as connection:
        await connection.execute("alter table kill_switch disable trigger all")
        await connection.execute("update kill_switch set engaged = false")
    assert await raised() == {}


async def test_alerts_follow_the_row_however_many_others_last(rows: Database) -> None:
    """How: more alerts than a list holds are raised after the kill's own."""
    alerts = KillAlerts(rows, now=now)
    await engage(rows)
    await alerts.keep()
    async with rows.transaction("test") as connection:
        await connection.execute(
            "insert into alerts (alert_id, code, severity, subject, text, correlation_id, raised_at,"
            " last_raised_at) select 'LATE_TRUTH:' || n, 'LATE_TRUTH', 'high', n::text, 'x', 'x', now(),"
            " now() + interval '1 hour'"
            " from generate_series(1, $1::int) n",
            LIST_MAX,
        )
    await alerts.keep()

    async def kills_own() -> Any:
        async with rows.connection() as connection:
            return await connection.fetchrow(
                "select times, cleared_at is null as lasts from alerts where code = 'KILL_SWITCH'"
            )

    assert dict(await kills_own()) == {"times": 1, "lasts": True}
    async with rows.transaction("test") as connection:
        await connection.execute("alter table kill_switch disable trigger all")
        await connection.execute("update kill_switch set engaged = false")
    await alerts.keep()
    assert not (await kills_own())["lasts"]
