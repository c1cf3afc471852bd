"""A stop under every share that an entry with ``hard_stop_loss`` fills, judged by the exchange's books."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from schemas import wire
from schemas.alerts import AlertCode
from storage.alerts import list_alerts
from tests.e2e.test_kill_switch import until_swept
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, signal

LIMITS = {**WIDE_LIMITS, "short_selling_strategies": ["momentum"]}
WITHIN_SECONDS = 60
POLL_SECONDS = 0.05


async def at_market(stack: Stack, bid: str, ask: str, size: int = 1000, ticker: str = "AAPL") -> None:
    await stack.control(
        "quotes", {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
    )


async def open_orders(stack: Stack, ticker: str = "AAPL") -> list[dict[str, Any]]:
    """What stands at the exchange for the ticker."""
    answer = await stack.exchange_http.get("/v2/orders", params={"status": "open", "limit": 500})
    return [order for order in answer.json() if order["symbol"] == ticker]


async def held(stack: Stack, ticker: str = "AAPL") -> Decimal:
    """Shares in the exchange's books, signed."""
    rows = (await stack.exchange_http.get("/v2/positions")).json()
    return next((Decimal(row["qty"]) for row in rows if row["symbol"] == ticker), Decimal(0))


async def stops(stack: Stack, ticker: str = "AAPL") -> list[tuple[str, Decimal]]:
    """(stop price, shares) of each stop that stands at the exchange."""
    return [
        (str(Decimal(order["stop_price"])), Decimal(order["qty"]) - Decimal(order["filled_qty"]))
        for order in await open_orders(stack, ticker)
        if order["stop_price"] is not None and order["status"] != "pending_cancel"
    ]


async def until_stops(stack: Stack, *wanted: tuple[str, int], ticker: str = "AAPL") -> None:
    """Wait until exactly these stops stand at the exchange."""
    await until(stack, lambda: stops(stack, ticker), [(price, Decimal(shares)) for price, shares in wanted])


async def until(stack: Stack, ask: Any, wanted: Any) -> None:
    found = None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while (found := await ask()) != wanted:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"wanted {wanted}, found {found}; {await open_orders(stack)}")


async def outcome(stack: Stack, signal_id: str) -> Any:
    """How the protection ended, once its entry has."""
    await stack.settled(signal_id)
    handle = stack.client.get_workflow_handle(wire.protect_workflow_id(signal_id))
    async with asyncio.timeout(WITHIN_SECONDS):
        return await handle.result()


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_a_stop_stands_for_what_was_filled_and_closes_it(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    stack, signal_id = await stack_factory(topology=topology, limits=LIMITS), unique("long")
    await at_market(stack, "99.98", "100.02")
    await stack.submit(signal(signal_id, hard_stop_loss="95.00"))
    assert (await stack.settled(signal_id))["status"] == "FILLED"
    await until_stops(stack, ("95", 10))
    await at_market(stack, "94.90", "94.94")
    assert (await outcome(stack, signal_id))["exited"] == "10"
    assert await held(stack) == 0
    ledger = await stack.ledger()
    assert (ledger["posts_total"], ledger["accepted_total"], ledger["duplicate_orders"]) == (2, 2, 0)


async def alerts(stack: Stack) -> dict[str, str]:
    """Subject and text of every UNPROTECTED alert that lasts."""
    async with stack.parts.database.connection() as connection:
        found = await list_alerts(connection)
    return {each.subject: each.text for each in found if each.code is AlertCode.UNPROTECTED}


async def legs(stack: Stack, signal_id: str) -> list[tuple[str, int, str]]:
    """(leg, generation, status) of every order that protects the signal's shares."""
    return [(leg["leg"], leg["generation"], leg["status"]) for leg in (await stack.signal(signal_id))["legs"]]


async def filled(stack: Stack, signal_id: str, ticker: str, **fields: Any) -> None:
    """An entry that is filled at once."""
    assert (await stack.submit(signal(signal_id, ticker=ticker, **fields))).status_code == 202
    order = await stack.until(signal_id, lambda order: order["status"] in ("FILLED", "REJECTED"))
    assert order["status"] == "FILLED", order


async def delayed_stop(stack: Stack, ticker: str) -> None:
    """The second POST on this ticker stays on its way for a while."""
    match = {"method": "POST", "path": "/v2/orders", "symbol": ticker}
    await stack.control("faults", {"match": match, "action": "latency_ms", "latency_ms": 5000, "skip": 1})


async def external_sell(stack: Stack, ticker: str, quantity: str) -> str:
    """An order that is not ours takes the shares; its broker id."""
    order = {"symbol": ticker, "qty": quantity, "side": "sell", "type": "limit", "limit_price": "110"}
    answer = await stack.exchange_http.post("/v2/orders", json={**order, "time_in_force": "day"})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["id"]
    return found


@pytest.mark.timeout(240)
async def test_every_refusal_of_a_stop_is_answered(stack_factory: StackFactory, unique: Any) -> None:
    stack = await stack_factory(limits=LIMITS, tickers=5)
    wash, through, taken, late, other = tickers = [f"T{number:04d}" for number in range(1, 6)]
    for ticker in tickers:
        await at_market(stack, "99.98", "100.02", ticker=ticker)
    ids = {ticker: unique(ticker.lower()) for ticker in tickers}
    entry: dict[str, Any] = {"hard_stop_loss": "95.00"}

    # Wash trade: our own buy that rests on the ticker goes, then the same stop stands.
    resting = unique("resting")
    await stack.submit(signal(resting, ticker=wash, order_type="LIMIT", limit_price="98.00"))
    await stack.until(resting, lambda order: order["raw_status"] == "new")
    await filled(stack, ids[wash], wash, **entry)
    await until_stops(stack, ("95", 10), ticker=wash)
    assert (await stack.settled(resting))["status"] == "CANCELED"
    await until(stack, lambda: legs(stack, ids[wash]), [("stop", 0, "ACKNOWLEDGED")])

    # Through the stop already: an exit takes its place.
    await stack.submit(signal(ids[through], ticker=through, order_type="LIMIT", limit_price="98.00", **entry))
    await stack.until(ids[through], lambda order: order["raw_status"] == "new")
    await at_market(stack, "94.90", "94.94", ticker=through)
    assert (await outcome(stack, ids[through]))["exited"] == "10"
    assert await held(stack, through) == 0
    assert [leg[0] for leg in await legs(stack, ids[through])][-1] == "exit"

    # Held by another order: once that is gone, the same stop again.
    await delayed_stop(stack, taken)
    await filled(stack, ids[taken], taken, **entry)
    await until(stack, lambda: legs(stack, ids[taken]), [("stop", 0, "SUBMITTED")])
    stranger = await external_sell(stack, taken, "10")
    await until(stack, lambda: refused_for_now(stack, ids[taken]), True)
    await stack.exchange_http.delete(f"/v2/orders/{stranger}")
    await until_stops(stack, ("95", 10), ticker=taken)

    # Rejected after it was accepted: the next generation.
    match = {"symbol": late}
    await stack.control("faults", {"match": match, "action": "reject_order", "skip": 1})
    await filled(stack, ids[late], late, **entry)
    # The first stop stands for a moment at the venue too: only its legs tell which of the two is seen.
    await until(stack, lambda: legs(stack, ids[late]), [("stop", 0, "REJECTED"), ("stop", 1, "ACKNOWLEDGED")])
    await until_stops(stack, ("95", 10), ticker=late)

    # Anything else: a person is told at once, and it is tried on.
    await delayed_stop(stack, other)
    await filled(stack, ids[other], other, **entry)
    await until(stack, lambda: legs(stack, ids[other]), [("stop", 0, "SUBMITTED")])
    await suspended(stack, True)
    await until(stack, lambda: unprotected(stack, ids[other]), True)
    assert "new orders are rejected by user request" in (await alerts(stack))[ids[other]]
    await suspended(stack, False)
    await until_stops(stack, ("95", 10), ticker=other)
    await until(stack, lambda: unprotected(stack, ids[other]), False)
    ledger = await stack.ledger()
    assert ledger["duplicate_orders"] == 0


async def refused_for_now(stack: Stack, signal_id: str) -> bool:
    answer = await stack.http.get(f"/v1/signals/{signal_id}/timeline")
    return any(entry["decision"] == "LEG_REFUSED_FOR_NOW" for entry in answer.json()["entries"])


async def unprotected(stack: Stack, signal_id: str) -> bool:
    return signal_id in await alerts(stack)


async def suspended(stack: Stack, wanted: bool) -> None:
    answer = await stack.exchange_http.patch("/v2/account/configurations", json={"suspend_trade": wanted})
    assert answer.status_code == 200, answer.text


@pytest.mark.timeout(240)
async def test_the_stop_follows_what_is_held(stack_factory: StackFactory, unique: Any) -> None:
    stack = await stack_factory(limits=LIMITS, tickers=4)
    sold, partly, short, kept = tickers = [f"T{number:04d}" for number in range(1, 5)]
    for ticker in tickers:
        await at_market(stack, "99.98", "100.02", ticker=ticker)
    ids = {ticker: unique(ticker.lower()) for ticker in tickers}
    entry: dict[str, Any] = {"hard_stop_loss": "95.00"}
    closing: dict[str, Any] = {"ticker": sold, "action": "SELL_TO_CLOSE"}

    # A closing signal gets the shares it needs; the rest keeps its stop.
    await filled(stack, ids[sold], sold, **entry)
    await until_stops(stack, ("95", 10), ticker=sold)
    await filled(stack, unique("sell"), sold, action="SELL_TO_CLOSE", quantity="4")
    await until_stops(stack, ("95", 6), ticker=sold)
    assert await held(stack, sold) == 6
    # One that rests has its shares; when it ends unfilled, the stop has them again.
    resting = unique("resting")
    await stack.submit(signal(resting, order_type="LIMIT", limit_price="110", quantity="5", **closing))
    await stack.until(resting, lambda order: order["raw_status"] == "new")
    await until_stops(stack, ("95", 1), ticker=sold)
    await stack.workflow(resting).cancel()
    assert (await stack.settled(resting))["status"] == "CANCELED"
    await until_stops(stack, ("95", 6), ticker=sold)

    # Filled in part, the rest cancelled: a stop for the part.
    await at_market(stack, "99.98", "100.02", size=4, ticker=partly)
    terms = {"order_type": "LIMIT", "limit_price": "100.02", "time_in_force": "GTC", **entry}
    await stack.submit(signal(ids[partly], ticker=partly, **terms))
    await stack.until(ids[partly], lambda order: order["filled_quantity"] == "4")
    await at_market(stack, "100.98", "101.02", ticker=partly)
    await stack.workflow(ids[partly]).cancel()
    assert (await stack.settled(ids[partly]))["filled_quantity"] == "4"
    await until_stops(stack, ("95", 4), ticker=partly)

    # A short's stop buys. The broker makes a stop-limit of it.
    await filled(stack, ids[short], short, action="SELL_TO_OPEN", hard_stop_loss="105.00")
    await until_stops(stack, ("105", 10), ticker=short)
    await at_market(stack, "105.06", "105.10", ticker=short)
    assert (await outcome(stack, ids[short]))["exited"] == "10"
    assert await held(stack, short) == 0

    # Cancelled by hand, and no workflow to see it: the sweeper starts one, and it is placed anew.
    await filled(stack, ids[kept], kept, **entry)
    await until_stops(stack, ("95", 10), ticker=kept)
    await stack.client.get_workflow_handle(wire.protect_workflow_id(ids[kept])).terminate("a test")
    (order,) = await open_orders(stack, kept)
    await stack.exchange_http.delete(f"/v2/orders/{order['id']}")
    await until(stack, lambda: generations(stack, ids[kept]), ["CANCELED", "ACKNOWLEDGED"])
    await until_stops(stack, ("95", 10), ticker=kept)
    # The exchange takes the stop's execution back: the shares are there again, and want their stop.
    await at_market(stack, "94.90", "94.94", ticker=kept)
    await outcome(stack, ids[kept])
    await at_market(stack, "99.98", "100.02", ticker=kept)
    execution = (await executions(stack, kept))[-1]
    await stack.control("bust", {"execution_id": execution})
    await until(stack, lambda: held(stack, kept), Decimal(10))
    await until_stops(stack, ("95", 10), ticker=kept)

    # The switch: what adds risk alone leaves the stops, all of it takes them, and says whose shares are bare.
    switch = stack.client.get_workflow_handle(wire.ID_KILL_SWITCH)
    await switch.signal(wire.SIGNAL_KILL, {"reason": "a test", "scope": "risk_adding"})
    await until_swept(stack)
    await until_stops(stack, ("95", 6), ticker=sold)
    await switch.signal(wire.SIGNAL_KILL, {"reason": "a test", "scope": "all"})
    await until_stops(stack, ticker=sold)
    await until(stack, lambda: unprotected(stack, ids[sold]), True)
    assert (await stack.ledger())["duplicate_orders"] == 0


async def generations(stack: Stack, signal_id: str) -> list[str]:
    return [status for _, _, status in await legs(stack, signal_id)]


async def executions(stack: Stack, ticker: str) -> list[str]:
    """Execution ids of the ticker, oldest first."""
    async with stack.parts.database.connection() as connection:
        rows = await connection.fetch(  # tidy: sql because it names what the exchange is to take back
            "select execution_id from executions where ticker = $1 order by id", ticker
        )
    return [row["execution_id"] for row in rows]
