"""Every kind of drift as a story: how it comes about, and what a pass must find of it."""

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Final

from schemas.reconciliation import DriftKind as Kind
from schemas.wire import CLIENT_ORDER_ID_PREFIX
from workers.chaos.drift_desk import ASK, Desk, Story, Told

LOWER: Final = ("99.30", "99.40")
"""A market that fills what rests at 99.50."""
HIGHER: Final = ("101.20", "101.30")
CORRECTED: Final = "99.00"
FILL_LIST: Final = "/v2/account/activities/FILL"
Steps = AsyncIterator[Told]


def _cost(quantity: int, price: str = ASK) -> Decimal:
    return quantity * Decimal(price)


async def missed_fill(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    await desk.market(*LOWER)
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.MISSED_FILL, Kind.ORDER_ENDED_THERE)


async def missed_part(desk: Desk) -> Steps:
    order = await desk.rests(10)
    yield Told()
    await desk.market(*LOWER, size=4)
    await desk.executed(order["broker_order_id"], 4)
    yield desk.told(Kind.MISSED_FILL)


async def missed_in_parts(desk: Desk) -> Steps:
    order = await desk.rests(9)
    yield Told()
    for size in (4, 5):
        await desk.market(*LOWER, size=size)
        await desk.executed(order["broker_order_id"], size)
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.MISSED_FILL, Kind.MISSED_FILL, Kind.ORDER_ENDED_THERE)


async def missed_sale(desk: Desk) -> Steps:
    await desk.buys()
    order = await desk.rests(10, "101.00", "SELL_TO_CLOSE")
    yield Told()
    await desk.market(*HIGHER)
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.MISSED_FILL, Kind.ORDER_ENDED_THERE)


async def missed_before_cancel(desk: Desk) -> Steps:
    order = await desk.rests(10)
    yield Told()
    await desk.market(*LOWER, size=4)
    await desk.executed(order["broker_order_id"], 4)
    await desk.broker("DELETE", f"/v2/orders/{order['broker_order_id']}")
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.MISSED_FILL, Kind.ORDER_ENDED_THERE)


async def bust_missed(desk: Desk) -> Steps:
    order = await desk.buys()
    yield Told()
    await desk.amend("bust", order)
    yield desk.told(Kind.FILL_TAKEN_BACK)


async def correction_of_price_missed(desk: Desk) -> Steps:
    order = await desk.buys()
    yield Told()
    await desk.amend("correct", order, price=CORRECTED)
    yield desk.told(Kind.MISSED_FILL, Kind.FILL_TAKEN_BACK)


async def correction_of_quantity_missed(desk: Desk) -> Steps:
    order = await desk.buys()
    yield Told()
    await desk.amend("correct", order, qty="7")
    yield desk.told(Kind.MISSED_FILL, Kind.FILL_TAKEN_BACK)


async def told_after_overwrite(desk: Desk) -> Steps:
    """The account shows what the list of executions does not: overwritten, and reversed once it is listed.

    The order's own end asks for its executions until they add up: nothing is left for the next pass.
    """
    order = await desk.rests(5)
    yield Told()
    await desk.fault(FILL_LIST, "empty_list")
    await desk.market(*LOWER)
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.POSITION_ONLY_THERE, Kind.ORDER_ENDED_THERE, cash=-_cost(5, LOWER[1]))
    await desk.until(order["signal_id"], lambda order: order["settled"] and order["filled_quantity"] == "5")
    yield Told()


async def external_order(desk: Desk) -> Steps:
    yield Told()
    await desk.stranger("buy", 3, limit_price="50.00")
    yield desk.told(Kind.EXTERNAL_ORDER)


async def external_purchase(desk: Desk) -> Steps:
    yield Told()
    await desk.ended(await desk.stranger("buy", 10))
    yield desk.told(Kind.EXTERNAL_FILL)


async def external_sale(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.ended(await desk.stranger("sell", 10))
    yield desk.told(Kind.EXTERNAL_FILL)


async def external_short(desk: Desk) -> Steps:
    yield Told()
    await desk.ended(await desk.stranger("sell", 6))
    yield desk.told(Kind.EXTERNAL_FILL)


async def external_part(desk: Desk) -> Steps:
    yield Told()
    order_id = await desk.stranger("buy", 10, limit_price="99.50")
    await desk.market(*LOWER, size=4)
    await desk.executed(order_id, 4)
    yield desk.told(Kind.EXTERNAL_FILL, Kind.EXTERNAL_ORDER)


async def position_appeared(desk: Desk) -> Steps:
    yield Told()
    await desk.adjust(7)
    yield desk.told(Kind.POSITION_ONLY_THERE)


async def short_appeared(desk: Desk) -> Steps:
    yield Told()
    await desk.adjust(-7)
    yield desk.told(Kind.POSITION_ONLY_THERE)


async def position_vanished(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(-10)
    yield desk.told(Kind.POSITION_ONLY_HERE)


async def position_grown(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(5)
    yield desk.told(Kind.POSITION_BIGGER_THERE)


async def position_shrunk(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(-3)
    yield desk.told(Kind.POSITION_SMALLER_THERE)


async def fraction_of_a_share(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust("0.000000001")
    yield desk.told(Kind.POSITION_BIGGER_THERE)


async def short_instead_of_long(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(-25)
    yield desk.told(Kind.POSITION_BIGGER_THERE)


async def split(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(10)
    yield desk.told(Kind.POSITION_BIGGER_THERE)


async def ticker_renamed(desk: Desk) -> Steps:
    await desk.buys()
    yield Told()
    await desk.adjust(-10)
    await desk.adjust(10, ticker=desk.other)
    yield Told(((Kind.POSITION_ONLY_HERE, desk.ticker), (Kind.POSITION_ONLY_THERE, desk.other)))


async def bought_off_the_books(desk: Desk) -> Steps:
    yield Told()
    await desk.adjust(5, "-500")
    yield desk.told(Kind.POSITION_ONLY_THERE, cash="-500")


async def cash_came(desk: Desk) -> Steps:
    yield Told()
    await desk.adjust(cash="56.78")
    yield Told(cash=Decimal("56.78"))


async def a_cent_went(desk: Desk) -> Steps:
    yield Told()
    await desk.adjust(cash="-0.01")
    yield Told(cash=Decimal("-0.01"))


def _listed(activity: str, cash: str) -> Story:
    async def story(desk: Desk) -> Steps:
        yield Told()
        await desk.adjust(cash=cash, activity=activity)
        yield Told(booked=1)

    return story


async def fee_listed_late(desk: Desk) -> Steps:
    """Cash goes; next time the broker says why."""
    yield Told()
    await desk.adjust(cash="-1.23")
    yield Told(cash=Decimal("-1.23"))
    # The exchange lists what moves: so it comes back unlisted and goes again.
    await desk.adjust(cash="1.23")
    await desk.adjust(cash="-1.23", activity="FEE")
    yield Told(booked=1)


async def order_cancelled_there(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    await desk.broker("DELETE", f"/v2/orders/{order['broker_order_id']}")
    await desk.ended(order["broker_order_id"])
    yield desk.told(Kind.ORDER_ENDED_THERE)


async def order_unknown_there(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    path = f"/v2/orders/{order['broker_order_id']}"
    await desk.broker("DELETE", path)
    await desk.ended(order["broker_order_id"])
    await desk.fault(path, "status_404")
    yield desk.told(Kind.ORDER_UNKNOWN_THERE)
    yield desk.told(Kind.ORDER_ENDED_THERE)


async def order_replaced_there(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    await desk.replaced(order["broker_order_id"], limit_price="99.45")
    yield desk.told(Kind.ORDER_OPEN_THERE)


async def order_resized_there(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    await desk.replaced(order["broker_order_id"], qty="4")
    yield desk.told(Kind.ORDER_OPEN_THERE)


async def order_replaced_twice(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    successor = await desk.replaced(order["broker_order_id"], limit_price="99.45")
    await desk.replaced(successor, limit_price="99.44")
    yield desk.told(Kind.ORDER_OPEN_THERE)


async def replaced_and_filled(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    successor = await desk.replaced(order["broker_order_id"], limit_price="99.45")
    await desk.market(*LOWER)
    await desk.ended(successor)
    yield desk.told(Kind.MISSED_FILL, Kind.ORDER_ENDED_THERE)


async def closed_here_alone(desk: Desk) -> Steps:
    order = await desk.rests(5)
    yield Told()
    await desk.close_here(order)
    yield desk.told(Kind.ORDER_OPEN_THERE)


async def foreign_order(desk: Desk) -> Steps:
    yield Told()
    await desk.stranger("buy", 1, limit_price="50.00", client_order_id=_foreign_id(desk))
    yield desk.told(Kind.FOREIGN_INSTALLATION, killed=True)


async def foreign_execution(desk: Desk) -> Steps:
    yield Told()
    await desk.ended(await desk.stranger("buy", 1, client_order_id=_foreign_id(desk)))
    yield desk.told(Kind.EXTERNAL_FILL, Kind.FOREIGN_INSTALLATION, killed=True)


def _foreign_id(desk: Desk) -> str:
    return f"{CLIENT_ORDER_ID_PREFIX}{desk.ticker.encode().hex():0>32}"


async def too_much(desk: Desk) -> Steps:
    """Six of a hundred dollars."""
    yield Told()
    account = await desk.broker("GET", "/v2/account")
    gone = (Decimal(account["equity"]) * 6 / 100).quantize(Decimal("0.01"))
    await desk.adjust(cash=str(-gone))
    yield Told(cash=-gone, killed=True)


STORIES: Final[Mapping[str, Story]] = {
    story.__name__: story
    for story in (
        missed_fill, missed_part, missed_in_parts, missed_sale, missed_before_cancel, bust_missed,
        correction_of_price_missed, correction_of_quantity_missed, external_order,
        external_purchase, external_sale, external_short, external_part, position_appeared, short_appeared,
        position_vanished, position_grown, position_shrunk, fraction_of_a_share, short_instead_of_long, split,
        ticker_renamed, order_cancelled_there, order_unknown_there, order_replaced_there, order_resized_there,
        order_replaced_twice, replaced_and_filled, closed_here_alone,
    )
} | {
    "fee": _listed("FEE", "-1.23"),
    "dividend": _listed("DIV", "4.56"),
    "interest": _listed("INT", "0.07"),
    "deposit": _listed("CSD", "1000"),
    "withdrawal": _listed("CSW", "-250.50"),
}  # fmt: skip
"""That leave the account's cash explained: any number of them share a pass."""

CASH_STORIES: Final[Mapping[str, Story]] = {
    story.__name__: story
    for story in (
        bought_off_the_books, cash_came, a_cent_went, fee_listed_late,
    )
}  # fmt: skip
"""That do not: one in a pass, so that the difference of cash is its own."""

ALONE: Final[Mapping[str, Story]] = {"told_after_overwrite": told_after_overwrite, "too_much": too_much}
"""What they do to the broker's answers, or to trading, is for the whole account."""

STOPPING: Final[Mapping[str, Story]] = {
    "foreign_order": foreign_order,
    "foreign_execution": foreign_execution,
}
"""After them the kill switch is released."""

KINDS: Final[Mapping[str, Story]] = {**STORIES, **CASH_STORIES, **ALONE, **STOPPING}
