"""Signals to order workflows: one a second each, the newest version, the end at once, and nobody waits for them."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities import notifier as module
from activities.notifier import OrderNotifier
from schemas.orders import OrderStatus
from storage.orders import StoredOrder

NOW = datetime.now(UTC)


def order(key: UUID, version: int, status: OrderStatus = OrderStatus.PARTIALLY_FILLED) -> StoredOrder:
    return StoredOrder.model_validate(
        {
            "signal_id": "s1", "internal_order_id": key, "ticker": "AAPL", "action": "BUY_TO_OPEN", "quantity": 10,
            "status": status, "row_version": version, "created_at": NOW, "updated_at": NOW,
            "broker_filled_quantity": 0, "post_open": False, "absent_lookups": 0, "absent_proved_posts": 0,
        }
    )  # fmt: skip


class Temporal:
    """Keeps what it is signalled and when; ``silent`` while it does not answer."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, float]] = []
        self.names: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: RPCError | None = None

    def get_workflow_handle(self, name: str) -> "Temporal":
        self.names.append(name)
        return self

    async def signal(self, _: str, view: Any, **how: Any) -> None:
        await self.answers.wait()
        self.heard.append((view.row_version, time.monotonic()))
        if self.error is not None:
            raise self.error

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)


@pytest.fixture
def temporal(monkeypatch: pytest.MonkeyPatch) -> Temporal:
    monkeypatch.setattr(module, "SIGNAL_INTERVAL_SECONDS", 0.3)
    return Temporal()


async def test_at_most_one_an_interval_and_the_newest_of_it(temporal: Any) -> None:
    key, told = uuid4(), OrderNotifier(temporal, None)  # type: ignore[arg-type]
    for version in (1, 2, 3):
        await told.notify(order(key, version))
    await temporal.until(1)
    for version in (5, 4):
        await told.notify(order(key, version))
    await temporal.until(2)
    (first, at), (second, later) = temporal.heard
    assert (first, second) == (3, 5)
    assert later - at >= 0.15, "the interval is from sending to sending, and the first may be heard late"
    await told.close()


async def test_the_end_is_told_at_once_and_other_orders_do_not_wait(temporal: Any) -> None:
    key, told = uuid4(), OrderNotifier(temporal, None)  # type: ignore[arg-type]
    module.SIGNAL_INTERVAL_SECONDS = 60.0
    await told.notify(order(key, 1))
    await temporal.until(1)
    await told.notify(order(key, 2))
    await told.notify(order(uuid4(), 7))
    await temporal.until(2)
    await told.notify(order(key, 3, OrderStatus.FILLED))
    await temporal.until(3)
    assert [version for version, _ in temporal.heard] == [1, 7, 3]
    await told.close()


async def test_after_its_end_an_entry_is_told_to_its_protection_too(temporal: Any) -> None:
    """While it is not settled, more of its executions may come."""
    told = OrderNotifier(temporal, None)  # type: ignore[arg-type]
    ended = order(uuid4(), 3, OrderStatus.CANCELED)
    change = {"hard_stop_loss": Decimal(95), "filled_quantity": Decimal(4)}
    await told.notify(ended.model_copy(update=change))
    await told.notify(order(uuid4(), 1))
    await temporal.until(3)
    assert sorted(temporal.names) == ["order-s1", "order-s1", "protect-s1"]
    await told.close()


async def test_nobody_waits_for_a_temporal_that_does_not_answer(temporal: Any) -> None:
    told = OrderNotifier(temporal, None)  # type: ignore[arg-type]
    temporal.answers.clear()
    async with asyncio.timeout(5):
        for version in range(100):
            await told.notify(order(uuid4(), version))
    assert temporal.heard == []
    await told.close()


async def test_an_order_without_a_workflow_is_given_to_the_sweeper(
    temporal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, told, given = uuid4(), OrderNotifier(temporal, Rows()), []  # type: ignore[arg-type]

    async def keep(_: Any, orders: Any) -> None:
        given.extend(orders)

    async def forget(*_: Any) -> None:
        return

    monkeypatch.setattr(module, "mark_unchecked", keep)
    monkeypatch.setattr(module, "mark_signalled", forget)
    temporal.error = RPCError("gone", RPCStatusCode.NOT_FOUND, b"")
    await told.notify(order(key, 1))
    await temporal.until(1)
    await asyncio.sleep(0)
    await told.flush()
    assert given == [key]
    await told.close()


class Rows:
    """A database whose transactions hold nothing."""

    def transaction(self, _: str) -> "Rows":
        return self

    async def __aenter__(self) -> "Rows":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return
