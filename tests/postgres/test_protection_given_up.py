"""Shares that are gone are protected no more: no old stop may stand for shares that were bought since."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from activities.evidence import take_in
from schemas.orders import BrokerOrder, Fill, OrderView, Side
from schemas.protection import Act
from tests.postgres.test_protection_rows import STOP, Floor, floor, protected

__all__ = ["floor"]

D = Decimal


async def executed(floor: Floor, order: OrderView, quantity: int, cumulative: int) -> None:
    """One more execution of a buy, and nothing else."""
    assert order.broker_order_id is not None
    fill = Fill(
        execution_id=f"x-{order.signal_id}-{cumulative}", broker_order_id=order.broker_order_id, ticker="AAPL",
        side=Side.BUY, quantity=D(quantity), price=D(100), cumulative_quantity=D(cumulative),
        executed_at=datetime.now(UTC),
    )  # fmt: skip
    await take_in(floor.database, fill, now=datetime.now(UTC), source="test")


async def closed(floor: Floor, signal_id: str, quantity: int, **fields: Any) -> None:
    """A sale that is filled at once."""
    closing = {"action": "SELL_TO_CLOSE", "quantity": D(quantity), "limit_price": D(101), **fields}
    placed = await floor.entry(signal_id, **closing)
    await floor.filled(placed.order, quantity, price="101")


async def lots(floor: Floor) -> dict[str, Decimal]:
    """What each protection still stands for."""
    async with floor.database.connection() as connection:
        rows = await connection.fetch(
            "select p.signal_id, e.filled_quantity - p.given_up - coalesce((select sum(l.filled_quantity) from"
            " orders l where l.signal_id = p.signal_id and l.leg <> 'entry'), 0) as lot from protections p"
            " join orders e on e.signal_id = p.signal_id and e.leg = 'entry' order by 1"
        )
    return {row["signal_id"]: row["lot"] for row in rows}


async def test_an_entry_whose_first_shares_were_sold_before_its_end_protects_the_rest(floor: Floor) -> None:
    entry = (await floor.entry("s1", **STOP)).order
    await floor.filled(entry, 4, raw="partially_filled")
    await closed(floor, "s2", 4)
    await executed(floor, entry, 6, 10)
    assert await lots(floor) == {"s1": D(6)}
    await floor.place(await floor.review())
    await floor.filled(await floor.stop(), 6, price="95")
    await floor.set("update orders set settled_at = now() where leg = 'stop' and status = 'FILLED'")
    assert (await floor.review()).act is Act.CLOSED
    again = (await floor.entry("s3", quantity=D(9), hard_stop_loss=D(80))).order
    await floor.filled(again, 3, raw="partially_filled")
    view = await floor.review()
    assert (view.act, view.target) == (Act.CLOSED, D(0)), "the old stop at 95 asks for none of them"


async def test_what_another_strategy_has_closed_is_gone_before_the_next_shares_come(floor: Floor) -> None:
    """The account nets: whoever sells, sells what the first strategy has bought."""
    await protected(floor)
    await closed(floor, "s2", 7, strategy="pairs")
    assert await lots(floor) == {"s1": D(3)}


async def test_a_sale_by_hand_is_written_off_by_the_next_fill(floor: Floor) -> None:
    """The reconciliation has booked the sale; no review has been made since."""
    await floor.filled((await floor.entry("s1", **STOP)).order, 10)
    bought = (await floor.entry("s3", quantity=D(9), hard_stop_loss=D(80))).order
    await floor.set(
        "insert into positions (ticker, strategy, quantity, cash, updated_at)"
        " values ('AAPL', 'EXTERNAL', -10, 1000, now())"
    )
    await executed(floor, bought, 3, 3)
    assert await lots(floor) == {"s1": D(0)}
    assert (await floor.review()).target == D(0)


async def test_a_sale_by_hand_is_written_off_by_the_next_review_and_told_in_the_audit_log(
    floor: Floor,
) -> None:
    await protected(floor)
    await floor.set("update positions set quantity = 4")
    assert (await floor.review()).protection.given_up == D(6)
    async with floor.database.connection() as connection:
        told = await connection.fetch(
            "select correlation_id, payload::jsonb->>'gone' as gone from audit_log"
            " join audit_payloads on audit_id = id where decision = 'SHARES_GIVEN_UP'"
        )
    assert [tuple(row) for row in told] == [("s1", "6")]


async def test_nothing_is_written_off_while_an_execution_of_a_stop_is_missing(floor: Floor) -> None:
    """The reconciliation may have booked it already; the execution will take that entry back."""
    await floor.place(await protected(floor))
    stop = await floor.stop()
    assert stop.broker_order_id is not None
    partly = BrokerOrder(
        broker_order_id=stop.broker_order_id, client_order_id=stop.client_order_id or "", ticker="AAPL",
        side=Side.SELL, raw_type="stop", raw_time_in_force="gtc", raw_status="partially_filled", quantity=D(10),
        filled_quantity=D(4), stop_price=D(95), created_at=datetime.now(UTC),
    )  # fmt: skip
    await take_in(floor.database, partly, now=datetime.now(UTC), source="test")
    await floor.set("update positions set quantity = 6")
    assert (await floor.review()).protection.given_up == D(0)


async def test_late_shares_of_an_entry_that_has_ended_are_protected_too(floor: Floor) -> None:
    entry = (await floor.entry("s1", **STOP)).order
    await floor.filled(entry, 6, raw="canceled")
    assert await lots(floor) == {"s1": D(6)}
    await executed(floor, entry, 4, 10)
    assert await lots(floor) == {"s1": D(10)}
    assert (await floor.review()).target == D(10)
