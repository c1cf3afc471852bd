"""When a watcher of the kill switch sweeps by itself. How: its clock is the test's, the broker is scripted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from activities import kill_cancel
from activities.kill_sweep import KillSweeper
from broker.errors import NetworkError
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.kill import KillCommand, OrderFate
from storage import switches
from storage.alerts import list_alerts
from storage.database import Database
from tests.postgres.books import prepare, propose
from tests.postgres.scripted_broker import ScriptedBroker, held
from workers import kill_watch
from workers.kill_watch import KillWatcher


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def rows(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(kill_cancel, "CONFIRM_WAIT_MAX_SECONDS", 0.3)
    opened = await Database.connect(database)
    yield opened
    await opened.close()


@pytest.fixture
def look_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[KillWatcher, float], Awaitable[None]]:
    """One look of a watcher, so many seconds after the first."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(kill_watch, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def look(watcher: KillWatcher, seconds: float) -> None:
        clock.now = seconds
        await watcher.look()

    return look


Look = Callable[[KillWatcher, float], Awaitable[None]]


async def engage(rows: Database) -> None:
    async with rows.transaction("test") as connection:
        await switches.engage(
            connection, KillCommand(reason="test"), request_id=str(uuid4()), now=now(), component="test"
        )


async def test_repeated_activations_do_not_put_the_sweep_off(rows: Database, look_at: Look) -> None:
    broker: Any = ScriptedBroker()
    watcher = KillWatcher(rows, broker, Metrics())
    for second in range(0, 6, 2):
        await engage(rows)
        await look_at(watcher, second)
    assert broker.cancels == 0, "the workflow is waited for"
    await engage(rows)
    await look_at(watcher, 6)
    assert broker.cancels > 0


async def test_a_sweep_that_reached_no_broker_is_no_sweep(rows: Database, look_at: Look) -> None:
    """How: the workflow's own sweep fails, and names an order; Temporal goes down and the broker comes back."""
    broker: Any = ScriptedBroker()
    watcher = KillWatcher(rows, broker, Metrics())
    await prepare(rows)
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = 'ours', post_count = 1, status = 'ACKNOWLEDGED'"
        )
    await engage(rows)
    broker.away = NetworkError("no answer")
    with pytest.raises(NetworkError):
        await KillSweeper(rows, broker, now=now).sweep(beat=lambda _: None)
    broker.away = None
    await look_at(watcher, 0)
    async with rows.connection() as connection:
        state = await switches.read_state(connection)
        alerts = {each.code: each.text for each in await list_alerts(connection)}
    assert (state.swept_at, state.fates) == (None, {"ours": OrderFate.UNKNOWN})
    assert "ours" in alerts[AlertCode.KILL_SWEEP_UNCONFIRMED]
    await look_at(watcher, 6)
    assert broker.cancels > 0


async def test_positions_without_a_stop_are_looked_at_again_until_the_release(
    rows: Database, look_at: Look
) -> None:
    """How: swept, confirmed, and AAPL bare; a person closes it at the broker."""
    broker: Any = ScriptedBroker()
    broker.positions = [held("AAPL", 10)]
    watcher = KillWatcher(rows, broker, Metrics())

    async def unprotected() -> tuple[str, ...]:
        async with rows.connection() as connection:
            return (await switches.read_state(connection)).unprotected

    await engage(rows)
    await KillSweeper(rows, broker, now=now).sweep(beat=lambda _: None)
    await look_at(watcher, 0)
    broker.positions = []
    await look_at(watcher, 59)
    assert await unprotected() == ("AAPL",)
    await look_at(watcher, 61)
    assert await unprotected() == ()
    broker.positions = [held("AAPL", 10)]
    await look_at(watcher, 300)
    assert await unprotected() == (), "nothing can come back in this scope: nothing is asked"
