"""When a watcher of the kill switch sweeps by itself. How: its clock is the test's, the broker is scripted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from activities import kill_cancel
from observability.metrics import Metrics
from schemas.kill import KillCommand
from storage import switches
from storage.database import Database
from tests.postgres.scripted_broker import ScriptedBroker
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
