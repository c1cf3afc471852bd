"""Shares beyond what was approved: somebody else made the entry larger. The approved ones keep their stop, of the
others a person is told, and nothing looks like a forgery.
"""

from datetime import UTC, datetime
from decimal import Decimal

from activities.evidence import take_in
from schemas.alerts import AlertCode
from schemas.orders import BrokerOrder, Fill, OrderView, Side
from schemas.protection import Act, ProtectView
from storage.alerts import list_alerts
from tests.postgres.as_role import roles
from tests.postgres.test_cover_watch import Temporal, later, temporal, watch
from tests.postgres.test_protection_given_up import closed, lots
from tests.postgres.test_protection_rows import STOP, Floor, floor
from workers.cover_watch import CoverWatch

__all__ = ["floor", "roles", "temporal", "watch"]

D = Decimal
BEYOND = (
    "5 shares long AAPL of momentum beyond what was approved have no stop: place one at the broker, or close "
    "them, with a signal or there"
)


async def made_larger(floor: Floor, signal_id: str = "s1", shares: int = 15) -> None:
    """An entry of ten that another client of the account has replaced by one for more, filled whole."""
    entry = (await floor.entry(signal_id, **STOP)).order
    assert entry.broker_order_id is not None
    now, name = datetime.now(UTC), f"larger-{entry.broker_order_id}"
    told = BrokerOrder(
        broker_order_id=name, client_order_id=entry.client_order_id or "", ticker="AAPL", side=Side.BUY,
        raw_type="limit", raw_time_in_force="day", raw_status="filled", quantity=D(shares),
        filled_quantity=D(shares), replaces=entry.broker_order_id, created_at=now,
    )  # fmt: skip
    fill = Fill(
        execution_id=f"x-{name}", broker_order_id=name, ticker="AAPL", side=Side.BUY, quantity=D(shares),
        price=D(100), cumulative_quantity=D(shares), executed_at=now,
    )  # fmt: skip
    for evidence in (told, fill):
        await take_in(floor.database, evidence, now=now, source="test")


async def covered(floor: Floor) -> ProtectView:
    """Fifteen are held, and what may be placed is."""
    await made_larger(floor)
    view = await floor.review()
    assert (view.protection.lot, view.target, view.beyond) == (D(15), D(10), D(5))
    await floor.place(view)
    return await floor.review()


async def forgeries(floor: Floor) -> list[str]:
    async with floor.database.connection() as connection:
        return [
            each.text
            for each in await list_alerts(connection, everything=True)
            if each.code is AlertCode.APPROVAL_FORGED
        ]


async def gone(floor: Floor, shares: int) -> None:
    """So many were sold by hand; the reconciliation has booked it."""
    await floor.set(f"update positions set quantity = quantity - {shares}")


async def test_the_approved_shares_get_their_stop_and_a_person_is_told_of_the_others(floor: Floor) -> None:
    view = await covered(floor)
    assert (view.act, view.covered, view.beyond) == (Act.WAIT, D(10), D(5))
    assert view.look_again_seconds <= 30, "shares that are closed by hand are seen soon"
    assert "5 shares beyond what was approved" in view.why
    sent = floor.broker.requests[-1]
    assert (sent.side, sent.quantity, sent.stop_price) == (Side.SELL, D(10), D(95))
    assert await floor.unprotected() == [BEYOND]
    assert await forgeries(floor) == []


async def test_it_is_over_once_they_are_gone_and_the_stop_is_never_touched(floor: Floor) -> None:
    await covered(floor)
    await gone(floor, 2)
    await floor.review()
    assert (await floor.unprotected())[0].startswith(
        "3 shares long AAPL of momentum beyond what was approved"
    )
    await gone(floor, 3)
    view = await floor.review()
    assert (view.act, view.covered, view.target, view.beyond) == (Act.WAIT, D(10), D(10), D(0))
    assert await floor.unprotected() == []
    assert (await floor.stop()).generation == 0


async def test_a_signal_that_closes_takes_those_first(floor: Floor) -> None:
    await covered(floor)
    await closed(floor, "s2", 5)
    view = await floor.review()
    assert (view.act, view.target, view.beyond) == (Act.WAIT, D(10), D(0))
    assert await floor.unprotected() == []


async def test_another_entry_s_stop_keeps_its_shares_when_they_are_closed(floor: Floor) -> None:
    """Without a stop first, then the oldest: the older lot loses nothing."""
    first = (await floor.entry("s0", quantity=D(9), **STOP)).order
    await floor.filled(first, 9)
    await covered(floor)
    await gone(floor, 5)
    assert (await floor.review()).beyond == D(0)
    assert await lots(floor) == {"s0": D(9), "s1": D(10)}


async def test_what_the_stop_sells_it_sells_of_the_approved_ones(floor: Floor) -> None:
    await covered(floor)
    stop = await floor.stop()
    await floor.filled(stop, 4, raw="partially_filled", price="95")
    view = await floor.review()
    assert (view.act, view.target, view.beyond) == (Act.WAIT, D(6), D(5)), "the rest of it still fits"
    await executed(floor, stop, 6, 10)
    await floor.set("update orders set settled_at = now() where leg = 'stop' and status = 'FILLED'")
    view = await floor.review()
    assert (view.act, view.target, view.beyond) == (Act.WAIT, D(0), D(5))
    assert len(floor.broker.posts) == 2, "entry and stop: ten were approved to be sold, and no more"
    assert await floor.unprotected() == [BEYOND]
    await gone(floor, 5)
    assert (await floor.review()).act is Act.CLOSED
    assert await floor.unprotected() == []


async def executed(floor: Floor, order: OrderView, quantity: int, cumulative: int) -> None:
    """One more execution of a stop, and its end."""
    assert order.broker_order_id is not None
    fill = Fill(
        execution_id=f"x-{order.client_order_id}-{cumulative}", broker_order_id=order.broker_order_id,
        ticker="AAPL", side=Side.SELL, quantity=D(quantity), price=D(95), cumulative_quantity=D(cumulative),
        executed_at=datetime.now(UTC),
    )  # fmt: skip
    await take_in(floor.database, fill, now=datetime.now(UTC), source="test")


async def test_operations_see_it_alike_and_wake_nobody_for_it(
    floor: Floor, watch: CoverWatch, temporal: Temporal
) -> None:
    await covered(floor)
    await later(floor)
    await watch.watch_cover()
    assert (await floor.unprotected(), temporal.heard) == ([BEYOND], [])


async def test_a_missing_stop_is_told_of_for_the_approved_shares_as_well(
    floor: Floor, watch: CoverWatch, temporal: Temporal
) -> None:
    await made_larger(floor)
    await later(floor)
    await watch.watch_cover()
    assert (await floor.unprotected())[0].startswith("10 shares long AAPL")
    assert len(temporal.heard) == 1
    await floor.review()
    await floor.set(
        "update protections set uncovered_since = uncovered_since - interval '11 s', updated_at = now()"
    )
    await floor.review()
    ten, five = sorted(await floor.unprotected())
    assert ten.startswith("10 shares long AAPL of momentum have had no stop at 95.00 since")
    assert five == BEYOND
    await floor.place(await floor.review())
    await floor.review()
    assert await floor.unprotected() == [BEYOND]


async def test_a_leg_for_more_than_was_approved_is_still_taken_for_a_forgery(floor: Floor) -> None:
    await made_larger(floor)
    await floor.review()
    await floor.set("update orders set quantity = 11 where leg = 'stop'")
    await floor.try_leg(0)
    assert len(await forgeries(floor)) == 1
    assert len(floor.broker.posts) == 1, "the entry alone"
