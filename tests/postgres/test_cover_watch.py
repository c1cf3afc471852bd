"""Shares without their stop, seen by operations from rows alone."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from activities.notifier import OrderNotifier
from schemas.wire import SIGNAL_LOOK_AGAIN
from storage.database import Database
from storage.grants import Role
from tests.postgres.as_role import roles
from tests.postgres.test_protection_rows import Floor, floor, protected
from tests.postgres.test_role_misuse import as_role
from workers.cover_watch import CoverWatch

__all__ = ["floor", "roles"]

D = Decimal
LATER = (
    "update orders set updated_at = updated_at - interval '11 s'",
    "update protections set updated_at = updated_at - interval '11 s'",
)


class Temporal:
    """Takes signals."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def get_workflow_handle(self, workflow_id: str) -> Any:
        async def signal(name: str, *_: Any, **__: Any) -> None:
            self.heard.append((workflow_id, name))

        return type("Handle", (), {"signal": staticmethod(signal)})()


@pytest.fixture
def temporal() -> Temporal:
    return Temporal()


@pytest.fixture
async def watch(floor: Floor, roles: str, temporal: Any) -> AsyncIterator[CoverWatch]:
    """With the rights of operations."""
    opened = await Database.connect(as_role(roles, Role.OPERATIONS))
    yield CoverWatch(opened, OrderNotifier(temporal, opened))
    await opened.close()


async def later(floor: Floor) -> None:
    for statement in LATER:
        await floor.set(statement)


async def test_shares_without_a_stop_are_told_and_looked_at_though_nobody_reviews_them(
    floor: Floor, watch: CoverWatch, temporal: Temporal
) -> None:
    placed = await floor.entry("s1", hard_stop_loss=D(95))
    await floor.filled(placed.order, 10)
    await watch.watch_cover()
    assert (await floor.unprotected(), temporal.heard) == ([], []), "a stop takes its time"
    await later(floor)
    await watch.watch_cover()
    (text,) = await floor.unprotected()
    assert "10 shares long AAPL of momentum have had no stop at 95.00" in text
    assert temporal.heard == [("protect-s1", SIGNAL_LOOK_AGAIN)]
    await floor.place(await floor.review())
    await floor.review()
    await later(floor)
    await watch.watch_cover()
    assert (await floor.unprotected(), len(temporal.heard)) == ([], 1)
    await floor.set("update orders set filled_quantity = 4 where leg = 'entry'")
    await watch.watch_cover()
    assert (await floor.unprotected(), len(temporal.heard)) == ([], 2), (
        "a stop that is too large is looked at"
    )


async def test_what_a_closing_signal_has_asked_for_is_not_missed_until_it_is_over(
    floor: Floor, watch: CoverWatch, temporal: Temporal
) -> None:
    await protected(floor)
    await floor.entry("s2", action="SELL_TO_CLOSE", quantity=D(10), limit_price=D(99))
    await floor.set("update protections set uncovered_since = null")
    await later(floor)
    await watch.watch_cover()
    assert (await floor.unprotected(), temporal.heard) == ([], [])
    await floor.set("update reservations set state = 'released', ended_at = now() where signal_id = 's2'")
    await watch.watch_cover()
    assert len(await floor.unprotected()) == 1
    assert temporal.heard == [("protect-s1", SIGNAL_LOOK_AGAIN)]
