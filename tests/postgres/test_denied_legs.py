"""Orders that the broker has shown and then denies, while shares hang on them: judged by operations alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities import doubts as steps
from activities.notifier import OrderNotifier
from schemas.orders import OrderFlag, OrderStatus, OrderView
from schemas.protection import Act
from schemas.wire import Leg
from storage.database import Database
from storage.grants import Role
from storage.orders import read_order
from storage.watch import unsignalled
from tests.postgres.as_role import roles
from tests.postgres.books import market_clock
from tests.postgres.test_doubts import Silent
from tests.postgres.test_protection_rows import STOP, Floor, floor, protected
from tests.postgres.test_role_misuse import as_role

__all__ = ["floor", "roles"]

D = Decimal


@pytest.fixture
async def operations(
    floor: Floor, roles: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[steps.Doubts]:
    """Doubts with the rights of operations, whose last wait is over at once."""
    monkeypatch.setattr(steps, "FATAL_AFTER", timedelta(0))
    opened = await Database.connect(as_role(roles, Role.OPERATIONS))
    notifier: Any = Silent()
    async with market_clock() as clock:
        yield steps.Doubts(opened, floor.broker, clock, notifier, now=lambda: datetime.now(UTC))
    await opened.close()


async def deny(operations: steps.Doubts, order: OrderView) -> None:
    """Until the broker's denial counts for a proof."""
    assert order.broker_order_id is not None
    await operations.begin(order.broker_order_id)
    for _ in range(steps.ABSENCE_LOOKUPS):
        await operations.pursue()


async def test_a_stop_that_the_broker_denies_is_no_cover_and_is_replaced_once_proved_gone(
    floor: Floor, operations: steps.Doubts
) -> None:
    await floor.place(await protected(floor))
    stop = await floor.stop()
    assert stop.broker_order_id is not None
    await operations.begin(stop.broker_order_id)
    view = await floor.review()
    assert (view.act, view.covered) == (Act.WAIT, D(0)), "it may still stand: none is placed beside it"
    assert view.protection.uncovered_since is not None
    assert view.look_again_seconds < 10
    for _ in range(steps.ABSENCE_LOOKUPS):
        await operations.pursue()
    assert (await floor.stop()).status is OrderStatus.FATAL_ERROR
    view = await floor.review()
    assert (view.act, view.orders[0].generation) == (Act.PLACE, 1)
    await floor.place(view)
    assert (await floor.review()).covered == D(10)


async def test_a_denial_counts_for_the_generation_that_is_denied(
    floor: Floor, operations: steps.Doubts
) -> None:
    await floor.place(await protected(floor))
    await deny(operations, await floor.stop())
    await floor.place(await floor.review())
    await floor.set(
        "update orders set status = 'ACKNOWLEDGED', settled_at = null, final_at = null, absent_lookups = 0, "
        "absent_since = null where leg = 'stop' and generation = 0"
    )
    async with floor.database.connection() as connection:
        former = await read_order(connection, "s1", Leg.STOP, 0)
    assert former.broker_order_id is not None
    await operations.begin(former.broker_order_id)
    await operations.pursue()
    async with floor.database.connection() as connection:
        counted = await read_order(connection, "s1", Leg.STOP, 0)
        newest = await read_order(connection, "s1", Leg.STOP, 1)
    assert (counted.absent_lookups, newest.absent_lookups) == (2, 0)
    assert OrderFlag.OUTCOME_UNKNOWN not in newest.flags


async def test_an_order_that_cannot_be_ended_does_not_keep_the_others_from_it(
    floor: Floor, operations: steps.Doubts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await floor.entry("s1", **STOP), await floor.entry("s2")
    real = steps.refuse

    async def fails_for_the_first(locked: Any, *args: Any) -> Any:
        if locked.order.signal_id == "s1":
            raise RuntimeError("no right to it")
        return await real(locked, *args)

    monkeypatch.setattr(steps, "refuse", fails_for_the_first)
    for placed in (first, second):
        assert placed.order.broker_order_id is not None
        await operations.begin(placed.order.broker_order_id)
    for _ in range(steps.ABSENCE_LOOKUPS - 1):
        await operations.pursue()
    with pytest.raises(RuntimeError, match="no right to it"):
        await operations.pursue()
    async with floor.database.connection() as connection:
        ended = [(await read_order(connection, each)).status for each in ("s1", "s2")]
    assert ended == [OrderStatus.ACKNOWLEDGED, OrderStatus.FATAL_ERROR]


class Temporal:
    """Takes signals: ``answers`` are what the next ones come to, None for taken."""

    def __init__(self, *answers: RPCStatusCode | None) -> None:
        self.answers = list(answers)
        self.heard: list[str] = []

    def get_workflow_handle(self, name: str) -> Any:
        async def signal(*_: Any, **__: Any) -> None:
            self.heard.append(name)
            if self.answers and (status := self.answers.pop(0)) is not None:
                raise RPCError("no", status, b"")

        return type("Handle", (), {"signal": staticmethod(signal)})()


async def test_an_entry_that_vanishes_with_shares_is_protected_and_its_workflow_told_until_it_has_heard(
    floor: Floor, operations: steps.Doubts
) -> None:
    placed = await floor.entry("s1", **STOP)
    await floor.filled(placed.order, 4, raw="partially_filled")
    await deny(operations, placed.order)
    async with floor.database.connection() as connection:
        order = await read_order(connection, "s1")
    assert (order.status, order.filled_quantity, order.settled) == (OrderStatus.FATAL_ERROR, D(4), True)
    view = await floor.review()
    assert (view.act, view.target) == (Act.PLACE, D(4))
    client: Any = Temporal(RPCStatusCode.UNAVAILABLE, None, RPCStatusCode.NOT_FOUND)
    notifier = OrderNotifier(client, floor.database)
    for heard in (1, 3):
        (late,) = [each for each in await untold(floor) if each.leg is Leg.ENTRY]
        await notifier.notify(late)
        async with asyncio.timeout(20):
            while len(client.heard) < heard:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0)
        await notifier.flush()
    assert client.heard == ["order-s1", "order-s1", "protect-s1"]
    assert [each for each in await untold(floor) if each.leg is Leg.ENTRY] == []


async def untold(floor: Floor) -> Any:
    async with floor.database.connection() as connection:
        return await unsignalled(
            connection, changed_before=datetime.now(UTC) + timedelta(seconds=1), limit=10
        )
