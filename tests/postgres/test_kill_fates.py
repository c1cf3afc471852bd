"""Whose end a sweep tells, of how many, and what it leaves alone: many orders, a sweep that died, a release."""

from typing import Any

import pytest

from activities import kill_sweep
from activities.kill_sweep import KillSweeper
from broker.errors import NetworkError
from broker.told import OUTCOME_OK, BrokerCall, tell
from schemas.broker import Position
from schemas.kill import KillScope, OrderFate
from schemas.orders import BrokerOrder, CancelAnswer, Side
from storage.database import Database
from tests.postgres.books import prepare, propose
from tests.postgres.scripted_broker import ScriptedBroker, held, told
from tests.postgres.test_kill_sweep import engage, now, quietly, rows

__all__ = ["rows"]

MANY = 50


async def many(rows: Database) -> list[str]:
    """So many orders of ours that the broker has accepted, by client_order_id."""
    await prepare(rows)
    for number in range(MANY):
        await propose(rows, f"s{number}")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = signal_id, broker_order_id = 'at-the-broker-' || signal_id,"
            " post_count = 1, status = 'ACKNOWLEDGED'"
        )
    return sorted(f"s{number}" for number in range(MANY))


class CountsLookUps(ScriptedBroker):
    """``asked``: the orders that were asked for by name."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        self.asked.append(client_order_id)
        return await super().get_order_by_client_id(client_order_id)


async def test_ends_that_rows_tell_are_confirmed_at_once_however_many(rows: Database) -> None:
    """How: the broker is away when all are named; their ends come by the stream before the next sweep."""
    broker: Any = CountsLookUps()
    names = await many(rows)
    await engage(rows)
    broker.away = NetworkError("no answer")
    sweeper = KillSweeper(rows, broker, now=now)
    with pytest.raises(NetworkError):
        await sweeper.sweep(beat=quietly)
    broker.away = None
    async with rows.transaction("test") as connection:
        await connection.execute("update orders set status = 'CANCELED', final_at = clock_timestamp()")
        await connection.execute("update orders set status = 'FILLED' where signal_id = 's7'")
    swept = await sweeper.sweep(beat=quietly)
    assert (swept.sweep_confirmed, broker.asked) == (True, [])
    filled = {"s7": OrderFate.FILLED}
    assert swept.fates == dict.fromkeys(names, OrderFate.CANCELED) | filled


async def test_each_sweep_asks_for_other_names_until_all_are_told(rows: Database) -> None:
    """How: the broker shows none of them in its lists; it knows the last ones only, in the order of their names."""
    broker: Any = CountsLookUps()
    names = await many(rows)
    broker.orders = {name: told(name, "canceled") for name in names[kill_sweep.LOOK_UPS_MAX :]}
    await engage(rows)
    sweeper = KillSweeper(rows, broker, now=now)
    for _ in range(0, MANY, kill_sweep.LOOK_UPS_MAX):
        swept = await sweeper.sweep(beat=quietly)
    unsure = {name for name, fate in swept.fates.items() if not fate.is_end}
    assert unsure == set(names[: kill_sweep.LOOK_UPS_MAX])
    assert len(broker.asked) <= 3 * kill_sweep.LOOK_UPS_MAX


async def test_what_a_sweep_ended_that_died_before_it_could_tell_is_named(rows: Database) -> None:
    """How: its cancel took effect and the stream told of it; nothing of the sweep itself was stored."""
    broker: Any = ScriptedBroker()
    await prepare(rows)
    for name in ("before", "raced", "cancelled", "kept"):
        await propose(rows, name)
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = signal_id, broker_order_id = signal_id, post_count = 1,"
            " status = 'CANCELED', final_at = clock_timestamp() - interval '1 minute'"
        )
    await engage(rows, KillScope.RISK_ADDING)
    async with rows.transaction("test") as connection:
        await connection.execute("update orders set final_at = clock_timestamp() where signal_id <> 'before'")
        await connection.execute("update orders set status = 'FILLED' where signal_id = 'raced'")
        await connection.execute("update orders set leg = 'stop' where signal_id = 'kept'")
    swept = await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert swept.sweep_confirmed
    assert swept.fates == {"raced": OrderFate.FILLED, "cancelled": OrderFate.CANCELED}


class ReleasedMeanwhile(ScriptedBroker):
    """Between the first cancel and the second the switch is released, and an order is placed."""

    def __init__(self, rows: Database) -> None:
        super().__init__()
        self._rows = rows

    async def cancel_all(self) -> dict[str, CancelAnswer]:
        answers = await super().cancel_all()
        tell(BrokerCall("cancel_all", "DELETE", "/v2/orders", 207, OUTCOME_OK, 1.0, None))
        async with self._rows.transaction("test") as connection:
            await connection.execute("alter table kill_switch disable trigger all")
            await connection.execute("update kill_switch set engaged = false, epoch = epoch + 1")
        self.orders = {"new": told("new", "new")}
        return answers


async def test_a_sweep_cancels_nothing_that_was_placed_after_a_release(rows: Database) -> None:
    broker: Any = ReleasedMeanwhile(rows)
    await engage(rows)
    after = await KillSweeper(rows, broker, now=now).sweep(beat=quietly)
    assert (after.engaged, broker.cancels) == (False, 1)
    async with rows.connection() as connection:
        audited = await connection.fetch(
            "select decision, payload from audit_log join audit_payloads on audit_id = id"
            " where decision like 'SWEEP%'"
        )
    assert [row["decision"] for row in audited] == ["SWEEP_OVERTAKEN"]
    assert "DELETE /v2/orders" in audited[0]["payload"]


async def test_a_stop_that_follows_the_sweep_ends_the_alarm(rows: Database) -> None:
    """How: the first look is too early for the stop; then it stands; then somebody takes it away."""
    broker: Any = ScriptedBroker()
    broker.positions = [held("AAPL", 10)]
    await engage(rows, KillScope.RISK_ADDING)
    sweeper = KillSweeper(rows, broker, now=now)
    swept = await sweeper.sweep(beat=quietly)
    assert (swept.sweep_confirmed, swept.unprotected) == (True, ("AAPL",))
    broker.orders = {"stop": told("stop", "new").model_copy(update={"raw_type": "stop", "side": Side.SELL})}
    covered = await sweeper.look_again()
    assert (covered.sweep_confirmed, covered.unprotected) == (True, ())
    assert await sweeper.look_again() == covered
    broker.orders = {}
    assert (await sweeper.look_again()).unprotected == ("AAPL",)
    async with rows.connection() as connection:
        told_of = await connection.fetchval("select count(*) from events where key = 'kill-switch'")
    assert (told_of, broker.cancels, broker.cancelled) == (4, 0, []), "one for each change, none for no news"


class KilledAgain(ScriptedBroker):
    """While positions are read the switch is engaged again, as by an order that turned out to be alive."""

    def __init__(self, rows: Database) -> None:
        super().__init__()
        self._rows = rows
        self.is_due = False

    async def get_positions(self) -> list[Position]:
        if self.is_due:
            await engage(self._rows, KillScope.RISK_ADDING)
        return await super().get_positions()


async def test_a_look_at_the_stops_confirms_no_later_activation(rows: Database) -> None:
    broker: Any = KilledAgain(rows)
    await engage(rows, KillScope.RISK_ADDING)
    sweeper = KillSweeper(rows, broker, now=now)
    assert (await sweeper.sweep(beat=quietly)).sweep_confirmed
    broker.is_due, broker.positions = True, [held("AAPL", 10)]
    looked = await sweeper.look_again()
    assert (looked.sweep_confirmed, looked.swept_at, looked.unprotected) == (False, None, ("AAPL",))
