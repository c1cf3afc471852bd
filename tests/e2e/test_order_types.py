"""Every action × type × time in force that the schema allows, from HTTP to the broker's books and back.

Judged by the exchange's own orders and positions.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from schemas import wire
from schemas.orders import Action, OrderType, TimeInForce
from storage.market import list_positions
from tests.e2e.test_kill_switch import until_swept
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, signal

LIMITS = {**WIDE_LIMITS, "short_selling_strategies": ["pairs"], "extended_hours_strategies": ["night"]}
STOP_LIFETIMES = (TimeInForce.DAY, TimeInForce.GTC)
SENT_TYPES = {
    OrderType.MARKET: "limit",
    OrderType.LIMIT: "limit",
    OrderType.STOP: "stop",
    OrderType.STOP_LIMIT: "stop_limit",
}
ENTRIES = {Action.SELL_TO_CLOSE: Action.BUY_TO_OPEN, Action.BUY_TO_CLOSE: Action.SELL_TO_OPEN}
"""What must have been opened before something can be closed."""


@dataclass(frozen=True)
class Case:
    """One combination on a ticker of its own, at a market of 99.98 × 100.02."""

    action: Action
    order_type: OrderType
    time_in_force: TimeInForce
    ticker: str
    signal_id: str

    @property
    def is_buy(self) -> bool:
        return self.action in (Action.BUY_TO_OPEN, Action.BUY_TO_CLOSE)

    @property
    def prices(self) -> dict[str, str]:
        """A limit that is within the market, a stop that is a dollar away from it."""
        found = {}
        if self.order_type.has_stop:
            found["stop_price"] = "101.00" if self.is_buy else "99.00"
        if self.order_type.has_limit:
            near, far = ("100.50", "101.50") if self.is_buy else ("99.50", "98.50")
            found["limit_price"] = far if self.order_type.has_stop else near
        return found

    @property
    def signal(self) -> dict[str, Any]:
        fields = {"action": self.action.value, "order_type": self.order_type.value, **self.prices}
        fields["time_in_force"] = self.time_in_force.value
        return signal(self.signal_id, ticker=self.ticker, strategy="pairs", **fields)

    @property
    def entry(self) -> dict[str, Any] | None:
        """What opens the position that this one closes."""
        action = ENTRIES.get(self.action)
        if action is None:
            return None
        return signal(f"{self.signal_id}-entry", ticker=self.ticker, strategy="pairs", action=action.value)

    @property
    def touch(self) -> str:
        """Where it executes: a stop once the market has moved to it."""
        if self.order_type.has_stop:
            return "101.10" if self.is_buy else "98.90"
        return "100.02" if self.is_buy else "99.98"


def allowed(prefix: str, lifetimes: Iterable[TimeInForce]) -> list[Case]:
    """Every combination with these lifetimes that the schema allows."""
    combinations = [
        (action, kind, lifetime)
        for action, kind, lifetime in product(Action, OrderType, lifetimes)
        if lifetime in STOP_LIFETIMES or not kind.has_stop
    ]
    return [
        Case(*each, ticker=f"T{number:04d}", signal_id=f"{prefix}-{number}")
        for number, each in enumerate(combinations, 1)
    ]


async def at_market(stack: Stack, tickers: Iterable[str], bid: str, ask: str, size: int = 1000) -> None:
    """Fix the quote of these tickers, so that what rests and what fills is this test's choice."""
    for ticker in tickers:
        quote = {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
        await stack.control("quotes", quote)


@pytest.mark.parametrize(
    ("topology", "lifetimes"), [("compact", tuple(TimeInForce)), ("isolated", (TimeInForce.GTC,))]
)
async def test_every_combination_is_placed_as_asked_and_filled(
    stack_factory: StackFactory, unique: Any, topology: str, lifetimes: tuple[TimeInForce, ...]
) -> None:
    cases = allowed(unique("all"), lifetimes)
    stack = await stack_factory(topology=topology, limits=LIMITS, tickers=len(cases))
    await at_market(stack, [case.ticker for case in cases], "99.98", "100.02")

    entries = [case.entry for case in cases if case.entry is not None]
    await _submit(stack, entries)
    for entry in entries:
        assert (await stack.settled(entry["signal_id"]))["status"] == "FILLED", entry

    await _submit(stack, [case.signal for case in cases])
    stops = [case for case in cases if case.order_type.has_stop]
    for case in stops:
        order = await stack.until(case.signal_id, lambda order: order["status"] != "CREATED")
        assert order["stop_price"] == case.prices["stop_price"].rstrip("0").rstrip(".")
        await stack.until(case.signal_id, lambda order: order["raw_status"] == "new")
    await at_market(stack, [case.ticker for case in stops if case.is_buy], "101.06", "101.10")
    await at_market(stack, [case.ticker for case in stops if not case.is_buy], "98.90", "98.94")

    ours = {case: await stack.settled(case.signal_id) for case in cases}
    told = {order["client_order_id"]: order for order in await _orders(stack)}
    for case, order in ours.items():
        assert (order["status"], order["filled_quantity"]) == ("FILLED", "10"), (case, order)
        assert Decimal(order["average_price"]) == Decimal(case.touch), case
        _is_as_asked(case, told[order["client_order_id"]])
    await _books_agree(stack, cases)
    ledger = await stack.ledger()
    assert ledger["posts_total"] == ledger["accepted_total"] == len(cases) + len(entries)
    assert ledger["duplicate_orders"] == 0


async def _submit(stack: Stack, signals: list[dict[str, Any]]) -> None:
    doors = asyncio.Semaphore(16)

    async def submit(each: dict[str, Any]) -> int:
        async with doors:
            return (await stack.submit(each)).status_code

    assert set(await asyncio.gather(*(submit(each) for each in signals))) == {202}


async def _orders(stack: Stack) -> list[dict[str, Any]]:
    answer = await stack.exchange_http.get("/v2/orders", params={"status": "all", "limit": 500})
    found: list[dict[str, Any]] = answer.json()
    return found


def _is_as_asked(case: Case, told: dict[str, Any]) -> None:
    """The broker's order against what the signal asked; a buy STOP has become a stop-limit of 2.5 % more."""
    assert (told["symbol"], told["side"]) == (case.ticker, "buy" if case.is_buy else "sell")
    assert told["time_in_force"] == case.time_in_force.value.lower()
    assert told["position_intent"] == case.action.value.lower()
    sent, limit = SENT_TYPES[case.order_type], case.prices.get("limit_price")
    if case.order_type is OrderType.STOP and case.is_buy:
        sent, limit = "stop_limit", "103.53"
    if case.order_type is OrderType.MARKET:
        # 2 % of the mid beyond the far side of the quote.
        limit = "102.02" if case.is_buy else "97.98"
    assert told["type"] == sent
    for name, wanted in (("limit_price", limit), ("stop_price", case.prices.get("stop_price"))):
        assert (told[name] and Decimal(told[name])) == (wanted and Decimal(wanted)), (case, name)


async def _books_agree(stack: Stack, cases: list[Case]) -> None:
    """Opens have left ten shares, closes nothing; ours and the exchange's are the same."""
    answer = await stack.exchange_http.get("/v2/positions")
    theirs = {row["symbol"]: Decimal(row["qty"]) for row in answer.json()}
    async with stack.parts.database.connection() as connection:
        ours = {row.ticker: row.quantity for row in await list_positions(connection)}
    wanted = {
        case.ticker: Decimal(10 if case.is_buy else -10) for case in cases if case.action not in ENTRIES
    }
    assert ours == theirs == wanted


async def test_every_other_combination_is_refused_by_field(stack: Stack, unique: Any) -> None:
    """Nothing of them is stored or sent."""
    kinds = [kind for kind in OrderType if kind.has_stop]
    others = product(Action, kinds, set(TimeInForce) - set(STOP_LIFETIMES))
    for number, each in enumerate(others):
        case = Case(*each, ticker="AAPL", signal_id=unique(f"no-{number}"))
        answer = await stack.submit(case.signal)
        assert answer.status_code == 422
        assert [problem["field"] for problem in answer.json()["error"]["fields"]] == ["time_in_force"]
    assert (await stack.ledger())["posts_total"] == 0


async def test_the_account_is_never_long_and_short_and_never_meets_itself(
    stack_factory: StackFactory, unique: Any
) -> None:
    """What the broker would refuse is refused before, by name, and none of it is sent."""
    stack = await stack_factory(limits=LIMITS, tickers=2)
    await at_market(stack, ["T0001", "T0002"], "99.98", "100.02")
    long, stop = unique("long"), unique("stop")
    await stack.submit(signal(long, ticker="T0001"))
    assert (await stack.settled(long))["status"] == "FILLED"
    protective = {"action": "SELL_TO_CLOSE", "order_type": "STOP", "stop_price": "95", "quantity": "5"}
    await stack.submit(signal(stop, ticker="T0001", time_in_force="GTC", **protective))
    await stack.until(stop, lambda order: order["raw_status"] == "new")

    refused = {
        "OPPOSITE_POSITION": {"action": "SELL_TO_OPEN", "strategy": "pairs"},
        "OPPOSITE_ORDER": {"order_type": "LIMIT", "limit_price": "99.00"},
        "SELL_MORE_THAN_HELD": {"action": "SELL_TO_CLOSE", "quantity": "6"},
        "COVER_MORE_THAN_SHORT,OPPOSITE_ORDER": {"action": "BUY_TO_CLOSE"},
        "SHORT_SELLING": {"action": "SELL_TO_OPEN", "ticker": "T0002"},
        "STOP_ON_WRONG_SIDE": {"order_type": "STOP", "stop_price": "100.02", "ticker": "T0002"},
    }
    ids = {reason: unique("refused") for reason in refused}
    await _submit(
        stack, [signal(ids[reason], **{"ticker": "T0001", **refused[reason]}) for reason in refused]
    )
    for reason, signal_id in ids.items():
        order = await stack.settled(signal_id)
        assert (order["status"], order["reason"]) == ("REJECTED", reason)
    assert (await stack.ledger())["posts_total"] == 2


async def test_a_triggered_stop_limit_keeps_its_partial_fill(stack: Stack, unique: Any) -> None:
    """Touched with four shares on offer, then the market runs past its limit: the rest waits for its cancel."""
    signal_id = unique("partly")
    await at_market(stack, ["AAPL"], "99.98", "100.02")
    prices = {"order_type": "STOP_LIMIT", "stop_price": "101.00", "limit_price": "101.50"}
    await stack.submit(signal(signal_id, time_in_force="GTC", **prices))
    await stack.until(signal_id, lambda order: order["raw_status"] == "new")
    await at_market(stack, ["AAPL"], "101.06", "101.10", size=4)
    await stack.until(signal_id, lambda order: order["filled_quantity"] == "4")
    await at_market(stack, ["AAPL"], "102.98", "103.02")
    await stack.workflow(signal_id).cancel()
    order = await stack.settled(signal_id)
    assert (order["status"], order["filled_quantity"]) == ("CANCELED", "4")
    assert Decimal(order["average_price"]) == Decimal("101.10")
    (position,) = (await stack.exchange_http.get("/v2/positions")).json()
    assert (position["symbol"], position["qty"]) == ("AAPL", "4")


async def test_a_kill_of_what_adds_risk_leaves_the_stop_that_closes(
    stack_factory: StackFactory, unique: Any
) -> None:
    stack = await stack_factory(limits=LIMITS, tickers=2)
    await at_market(stack, ["T0001", "T0002"], "99.98", "100.02")
    long, closing, opening = unique("long"), unique("closing"), unique("opening")
    await stack.submit(signal(long, ticker="T0001"))
    assert (await stack.settled(long))["status"] == "FILLED"
    stops = {"order_type": "STOP", "time_in_force": "GTC"}
    await stack.submit(signal(closing, ticker="T0001", action="SELL_TO_CLOSE", stop_price="95", **stops))
    await stack.submit(signal(opening, ticker="T0002", stop_price="105", **stops))
    for signal_id in (closing, opening):
        await stack.until(signal_id, lambda order: order["raw_status"] == "new")
    switch = stack.client.get_workflow_handle(wire.ID_KILL_SWITCH)
    await switch.signal(wire.SIGNAL_KILL, {"reason": "a test", "scope": "risk_adding"})
    await until_swept(stack)
    assert (await stack.settled(opening))["status"] == "CANCELED"
    (resting,) = (await stack.exchange_http.get("/v2/orders")).json()
    assert (resting["symbol"], resting["type"], resting["status"]) == ("T0001", "stop", "new")
    assert (await stack.signal(closing))["order"]["status"] == "ACKNOWLEDGED"


NIGHT = {"strategy": "night", "order_type": "LIMIT", "limit_price": "181.00", "extended_hours": True}


async def test_extended_hours(stack_factory: StackFactory, unique: Any) -> None:
    """Before the regular open only a listed strategy's whole-share LIMIT DAY trades."""
    stack = await stack_factory(limits=LIMITS, start="2026-11-24T08:00:00-05:00")
    await at_market(stack, ["AAPL"], "180.40", "180.50")
    wanted = {
        "": NIGHT,
        "MARKET_CLOSED": {**NIGHT, "extended_hours": False},
        "EXTENDED_HOURS": {**NIGHT, "strategy": "momentum"},
        "EXTENDED_HOURS ": {**NIGHT, "order_type": "MARKET", "limit_price": None},
        "EXTENDED_HOURS  ": {**NIGHT, "time_in_force": "GTC"},
        "EXTENDED_HOURS   ": {**NIGHT, "order_type": "STOP_LIMIT", "stop_price": "180.90"},
    }
    ids = {reason: unique("night") for reason in wanted}
    await _submit(stack, [signal(ids[reason], **fields) for reason, fields in wanted.items()])
    for reason, signal_id in ids.items():
        order = await stack.settled(signal_id)
        assert (order["status"], order["reason"] or "") == (
            "REJECTED" if reason else "FILLED", reason.rstrip(),
        )  # fmt: skip
    (told,) = await _orders(stack)
    assert (told["extended_hours"], told["status"], told["filled_avg_price"]) == (True, "filled", "180.5")


@pytest.mark.parametrize(
    ("start", "status", "reason"),
    [
        ("2026-11-24T19:43:00-05:00", "FILLED", None),
        ("2026-11-24T19:45:00-05:00", "REJECTED", "NEAR_CLOSE"),
        ("2026-11-27T16:45:00-05:00", "REJECTED", "NEAR_CLOSE"),
    ],
)
async def test_the_bell_of_extended_hours_is_at_20_and_on_early_closes_at_17(
    stack_factory: StackFactory, unique: Any, start: str, status: str, reason: str | None
) -> None:
    stack, signal_id = await stack_factory(limits=LIMITS, start=start), unique("bell")
    await at_market(stack, ["AAPL"], "180.40", "180.50")
    await stack.submit(signal(signal_id, **NIGHT))
    order = await stack.settled(signal_id)
    assert (order["status"], order["reason"]) == (status, reason)
