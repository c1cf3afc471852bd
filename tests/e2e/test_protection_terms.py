"""What a stop leaves as where its entry or its first try went otherwise: judged by the exchange's books."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.alpaca import errors
from schemas import wire
from schemas.alerts import AlertCode
from schemas.reconciliation import Outcome
from storage.alerts import list_alerts
from storage.switches import read_installation
from tests.e2e import books
from tests.e2e.test_kill_switch import until_swept
from tests.e2e.test_protection import alerts, at_market, filled, held, legs, until, until_stops
from tests.servers.stack import Stack, StackFactory, signal

Unique = Callable[[str], str]
ENTRY: dict[str, Any] = {"hard_stop_loss": "95.00"}
TICKERS = ("T0001", "T0002")


async def leg_id(stack: Stack, signal_id: str, generation: int) -> str:
    """The client order id of a stop."""
    async with stack.parts.database.connection() as connection:
        here = await read_installation(connection)
    assert here.account is not None
    return wire.client_order_id(here.namespace, here.account, signal_id, wire.Leg.STOP, generation)


async def test_a_stop_that_got_a_429_follows_what_is_sold_meanwhile(
    stack_factory: StackFactory, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: each POST of the first stop gets a 429; four shares are sold while it waits for its next try."""
    monkeypatch.setattr(errors, "RETRY_AFTER_MAX_SECONDS", 1.0)
    stack, signal_id = await stack_factory(tickers=1), unique("limited")
    ticker = TICKERS[0]
    await at_market(stack, "99.98", "100.02", ticker=ticker)
    first, second = [await leg_id(stack, signal_id, generation) for generation in (0, 1)]
    match = {"method": "POST", "path": "/v2/orders", "client_order_id": first}
    await stack.control("faults", {"match": match, "action": "status_429", "times": None})
    await filled(stack, signal_id, ticker, **ENTRY)
    await until(stack, lambda: posted(stack, first), True)
    await filled(stack, unique("sell"), ticker, action="SELL_TO_CLOSE", quantity="4")
    await until_stops(stack, ("95", 6), ticker=ticker)
    assert await held(stack, ticker) == 6
    await until(stack, lambda: legs(stack, signal_id), [("stop", 0, "CANCELED"), ("stop", 1, "ACKNOWLEDGED")])
    ledger = await stack.ledger()
    assert first not in ledger["accepted_orders"]
    assert (ledger["accepted_orders"][second], ledger["duplicate_orders"]) == (1, 0)


async def posted(stack: Stack, client_order_id: str) -> bool:
    return client_order_id in (await stack.ledger())["posts"]


async def test_an_entry_made_larger_at_the_broker_keeps_the_approved_stop_and_a_person_is_told_of_the_rest(
    stack_factory: StackFactory, unique: Unique
) -> None:
    stack = await stack_factory(tickers=2, ours=books.QUIET)
    ids = {ticker: unique(ticker.lower()) for ticker in TICKERS}
    for ticker, signal_id in ids.items():
        await made_larger(stack, ticker, signal_id)
    for ticker, signal_id in ids.items():
        await until_stops(stack, ("95", 10), ticker=ticker)
        assert await held(stack, ticker) == 15
        await until(stack, lambda signal_id=signal_id: told(stack, signal_id), "5 shares")
    closed, kept = TICKERS
    await filled(stack, unique("sell"), closed, action="SELL_TO_CLOSE", quantity="5")
    await until(stack, lambda: told(stack, ids[closed]), None)
    assert (await books.reconcile(stack)).outcome is Outcome.CLEAN

    # What the switch leaves standing covers ten of fifteen, and it says so.
    switch = stack.client.get_workflow_handle(wire.ID_KILL_SWITCH)
    await switch.signal(wire.SIGNAL_KILL, {"reason": "a test", "scope": "risk_adding"})
    assert (await until_swept(stack)).unprotected == (kept,)
    for ticker, signal_id in ids.items():
        await until_stops(stack, ("95", 10), ticker=ticker)
        assert await legs(stack, signal_id) == [("stop", 0, "ACKNOWLEDGED")], "never touched"
    wanted = {"kill-switch": "held without", f"{ids[kept]}/beyond": "5 shares"}
    await until(stack, lambda: beginnings(stack), wanted)
    async with stack.parts.database.connection() as connection:
        codes = [each.code for each in await list_alerts(connection, everything=True)]
    assert AlertCode.APPROVAL_FORGED not in codes
    assert AlertCode.STATE_DRIFT not in codes
    assert (await stack.ledger())["duplicate_orders"] == 0


async def made_larger(stack: Stack, ticker: str, signal_id: str) -> None:
    """Ten are approved and rest; another client of the account makes them fifteen, and all are bought."""
    await at_market(stack, "99.98", "100.02", ticker=ticker)
    await stack.submit(signal(signal_id, ticker=ticker, order_type="LIMIT", limit_price="98.00", **ENTRY))
    order = await stack.until(signal_id, lambda order: order["raw_status"] == "new")
    answer = await stack.exchange_http.patch(f"/v2/orders/{order['broker_order_id']}", json={"qty": "15"})
    assert answer.is_success, answer.text
    await stack.until(signal_id, lambda order: order["quantity"] == "15")
    await at_market(stack, "97.90", "97.94", ticker=ticker)
    assert (await stack.settled(signal_id))["filled_quantity"] == "15"
    await at_market(stack, "99.98", "100.02", ticker=ticker)


async def beginnings(stack: Stack) -> dict[str, str]:
    """How each alert begins that lasts about shares without a stop, by subject."""
    return {subject: " ".join(text.split()[:2]) for subject, text in (await alerts(stack)).items()}


async def told(stack: Stack, signal_id: str) -> str | None:
    """The same of a signal's shares beyond its approval."""
    return (await beginnings(stack)).get(f"{signal_id}/beyond")
