"""What an entry's end, its legs and the broker's answers leave in rows, and which leg may leave at all."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.evidence import take_in
from activities.placement import PlacementActivities
from activities.protection import ProtectionActivities
from activities.risk import RiskActivities
from broker.errors import Forbidden, SharesHeld, StopThroughMarket, WashTrade
from broker.permit import LivePermit
from market.hours import TradingHours
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.market import Provider, Quote, Session
from schemas.orders import BrokerOrder, Fill, OrderStatus, OrderView, Side
from schemas.protection import Act, ProtectQuestion, ProtectView
from schemas.risk import Limits
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind, RiskQuestion
from schemas.wire import Leg
from storage import placement as rows
from storage.alerts import list_alerts
from storage.database import Database
from storage.limits import save_limits
from storage.market import save_quotes
from storage.orders import read_order
from storage.switches import bind_installation
from tests.postgres.books import LIMITS, market_clock, prepare, propose, reconciled
from tests.postgres.scripted_broker import NoLimit, ScriptedBroker
from tests.servers.approvals import KEYS, SIGNER

D = Decimal
STOP = {"hard_stop_loss": D(95)}


class OpenHours:
    """A session that is open for three hours more."""

    async def at(self, as_of: datetime, *, extended: bool = False) -> TradingHours:
        now = datetime.now(UTC)
        session: Any = Session.model_construct()
        return TradingHours(now, now, session, True, 10_800.0, 10_800.0, None, None)


class Broker(ScriptedBroker):
    """Takes stops as they are sent; ``sent_orders`` holds every request."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    async def place_order(
        self, order: Any, *, before_send: Callable[[], None], permit: LivePermit | None = None
    ) -> BrokerOrder:
        before_send()
        self.posts.append(order.client_order_id)
        self.requests.append(order)
        if self.answer is not None:
            raise self.answer
        return BrokerOrder(
            broker_order_id=f"at-{order.client_order_id}", client_order_id=order.client_order_id,
            ticker=order.ticker, side=order.side, raw_type=order.sent_type,
            raw_time_in_force=order.time_in_force.value.lower(), raw_status="new", quantity=order.quantity,
            filled_quantity=D(0), limit_price=order.limit_price, stop_price=order.stop_price,
            created_at=datetime.now(UTC),
        )  # fmt: skip


@dataclass
class Floor:
    """The steps around one database."""

    database: Database
    broker: Broker
    risk: RiskActivities
    placement: PlacementActivities
    protection: ProtectionActivities

    async def entry(self, signal_id: str, **fields: Any) -> PlaceAnswer:
        """Propose, approve and place."""
        await propose(self.database, signal_id, **fields)
        now = datetime.now(UTC)
        await self.risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=now))
        async with self.database.transaction("test") as connection:
            await rows.write_pre_trade(connection, await read_order(connection, signal_id), datetime.now(UTC))
        return await self.placement.place_order(OrderQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))

    async def filled(self, order: OrderView, quantity: int, raw: str = "filled", price: str = "100") -> None:
        """The broker executes shares of an order and tells it."""
        assert order.broker_order_id is not None
        assert order.client_order_id is not None
        fill = Fill(
            execution_id=f"x-{order.client_order_id}-{quantity}", broker_order_id=order.broker_order_id,
            ticker=order.ticker, side=order.action.side, quantity=D(quantity), price=D(price),
            cumulative_quantity=D(quantity), executed_at=datetime.now(UTC),
        )  # fmt: skip
        told = BrokerOrder(
            broker_order_id=order.broker_order_id, client_order_id=order.client_order_id, ticker=order.ticker,
            side=order.action.side, raw_type="limit", raw_time_in_force="day", raw_status=raw,
            quantity=order.quantity, filled_quantity=D(quantity), created_at=datetime.now(UTC),
        )  # fmt: skip
        await take_in(self.database, fill, now=datetime.now(UTC), source="test")
        await take_in(self.database, told, now=datetime.now(UTC), source="test")

    async def review(self, signal_id: str = "s1") -> ProtectView:
        return await self.protection.review_protection(
            ProtectQuestion(signal_id=signal_id, as_of=datetime.now(UTC))
        )

    async def place(self, view: ProtectView) -> PlaceAnswer:
        """The one thing to do, which is to place."""
        assert view.act is Act.PLACE, view
        return await self.try_leg(view.orders[0].generation)

    async def try_leg(self, generation: int) -> PlaceAnswer:
        return await self.placement.place_order(
            OrderQuestion(signal_id="s1", as_of=datetime.now(UTC), leg=Leg.STOP, generation=generation)
        )

    async def stop(self) -> OrderView:
        async with self.database.connection() as connection:
            return (await read_order(connection, "s1", Leg.STOP)).view

    async def unprotected(self) -> list[str]:
        async with self.database.connection() as connection:
            found = await list_alerts(connection)
        return [each.text for each in found if each.code is AlertCode.UNPROTECTED]

    async def quoted(self, bid: str, ask: str, provider: Provider = Provider.PRIMARY) -> None:
        """The market is here now."""
        now = datetime.now(UTC)
        quote = Quote(
            ticker="AAPL", provider=provider, bid=D(bid), ask=D(ask), quoted_at=now, received_at=now
        )  # fmt: skip
        async with self.database.transaction("test") as connection:
            await save_quotes(connection, [quote])

    async def set(self, statement: str) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement)


@pytest.fixture
async def floor(database: str) -> AsyncIterator[Floor]:
    opened = await Database.connect(database, fences=True)
    await prepare(opened)
    await reconciled(opened)
    async with opened.transaction("test") as connection:
        installation = await bind_installation(connection, account="A1", mode="paper", now=datetime.now(UTC))
    broker: Any = Broker()
    hours: Any = OpenHours()
    async with market_clock() as clock:
        yield Floor(
            opened,
            broker,
            RiskActivities(opened, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER),
            PlacementActivities(opened, broker, clock, installation, Metrics(), NoLimit(), KEYS),
            ProtectionActivities(opened, clock, hours),
        )
    await opened.close()


async def protected(floor: Floor) -> ProtectView:
    """Ten shares bought, and what is to be done about them."""
    placed = await floor.entry("s1", **STOP)
    assert placed.kind is PlaceKind.PLACED
    assert placed.order.hard_stop_loss == D(95)
    await floor.filled(placed.order, 10)
    return await floor.review()


async def test_an_entry_that_ends_with_shares_gets_a_stop_of_its_own_approval(floor: Floor) -> None:
    view = await protected(floor)
    assert (view.protection.lot, view.target, view.covered) == (D(10), D(10), D(0))
    assert (await floor.place(view)).kind is PlaceKind.PLACED
    sent = floor.broker.requests[-1]
    assert (sent.side, sent.sent_type, sent.time_in_force.value) == (Side.SELL, "stop", "GTC")
    assert (sent.quantity, sent.stop_price, sent.limit_price) == (D(10), D(95), None)
    view = await floor.review()
    assert (view.act, view.covered) == (Act.WAIT, D(10))
    async with floor.database.connection() as connection:
        bound = await connection.fetch("select leg, generation from approval_bindings order by bound_at")
        decided = await connection.fetchval("select hard_stop_loss from decisions")
        told = await connection.fetchval(
            "select payload->>'hard_stop_loss' from events where topic = 'trading.risk.approved'"
        )
    assert [tuple(row) for row in bound] == [("entry", 0), ("stop", 0)]
    assert (decided, told) == (D(95), "95")


@pytest.mark.parametrize(
    ("forged", "status"),
    [
        ("stop_price = 99", OrderStatus.REJECTED),
        ("action = 'SELL_TO_OPEN', ticker = 'TSLA'", OrderStatus.REJECTED),
        ("quantity = 11", OrderStatus.CREATED),
    ],
)
async def test_a_leg_that_is_not_as_approved_never_leaves(
    floor: Floor, forged: str, status: OrderStatus
) -> None:
    await protected(floor)
    await floor.set(f"update orders set {forged} where leg = 'stop'")
    await floor.try_leg(0)
    async with floor.database.connection() as connection:
        assert (await read_order(connection, "s1", Leg.STOP, 0)).status is status
    assert len(floor.broker.posts) == 1, "the entry alone"


async def test_a_leg_needs_neither_fresh_approval_nor_the_same_epoch(floor: Floor) -> None:
    view = await protected(floor)
    await floor.set("update decisions set expires_at = expires_at - interval '1 hour', kill_epoch = 7")
    await floor.set("update signals set valid_until = valid_until - interval '1 hour'")
    assert (await floor.place(view)).kind is PlaceKind.PLACED


@pytest.mark.parametrize(("scope", "kind"), [("all", PlaceKind.RECHECK), ("risk_adding", PlaceKind.PLACED)])
async def test_the_switch_holds_legs_back_only_where_it_means_everything(
    floor: Floor, scope: str, kind: PlaceKind
) -> None:
    await protected(floor)
    await floor.set(f"update kill_switch set engaged = true, epoch = 1, scope = '{scope}'")
    assert (await floor.try_leg(0)).kind is kind
    if scope == "all":
        await floor.review()
        assert "no stop at 95.00" in (await floor.unprotected())[0]


async def again(floor: Floor) -> ProtectView:
    """As if the pause before the next try were over."""
    await floor.set("update protections set retry_at = null")
    return await floor.review()


@pytest.mark.parametrize("refusal", [WashTrade("potential wash trade"), SharesHeld("insufficient qty")])
async def test_what_passes_is_sent_again_under_the_same_id_and_three_times_at_most(
    floor: Floor, refusal: Any
) -> None:
    view = await protected(floor)
    floor.broker.answer = refusal
    for _ in range(3):
        await floor.place(view)
        view = await again(floor)
    first, *_ = stops = floor.broker.posts[1:]
    assert stops == [first] * 3
    assert view.orders[0].generation == 1
    floor.broker.answer = None
    await floor.place(view)
    assert floor.broker.posts[-1] != first
    assert (await floor.stop()).status is OrderStatus.ACKNOWLEDGED


async def test_another_refusal_ends_the_order_tells_a_person_and_is_tried_on(floor: Floor) -> None:
    view = await protected(floor)
    floor.broker.answer = Forbidden("new orders are rejected by user request")
    await floor.place(view)
    ended = await floor.stop()
    assert (ended.status, ended.settled) == (OrderStatus.REJECTED, True)
    await floor.review()
    following = await floor.stop()
    assert (following.generation, following.status) == (1, OrderStatus.CREATED)
    (text,) = await floor.unprotected()
    assert "new orders are rejected by user request" in text
    floor.broker.answer = None
    await floor.place(await again(floor))
    await floor.review()
    assert await floor.unprotected() == []


async def test_a_price_through_the_stop_asks_for_an_exit_inside_the_collar(floor: Floor) -> None:
    view = await protected(floor)
    floor.broker.answer = StopThroughMarket("stop price must be less than current price")
    await floor.place(view)
    view = await again(floor)
    assert (view.protection.exiting, view.orders[0].leg) == (True, Leg.EXIT)
    assert view.orders[0].limit_price == D("97.99"), "2 % of the mid below the bid of 99.99"
    async with floor.database.connection() as connection:
        stop = await read_order(connection, "s1", Leg.STOP)
    assert stop.status.is_final, "the stop is not wanted any more"


async def test_an_exit_goes_by_the_second_provider_while_the_first_is_stale(floor: Floor) -> None:
    await protected(floor)
    await floor.set("update protections set exiting = true")
    await floor.set("update latest_quotes set quoted_at = quoted_at - interval '1 minute'")
    assert (await floor.review()).act is Act.REFRESH
    await floor.quoted("89.98", "90.02", Provider.SECONDARY)
    view = await floor.review()
    assert (view.act, view.orders[0].limit_price) == (Act.PLACE, D("88.18"))
    answer = await floor.placement.place_order(
        OrderQuestion(signal_id="s1", as_of=datetime.now(UTC), leg=Leg.EXIT, generation=0)
    )
    assert answer.kind is PlaceKind.PLACED


async def test_a_gap_past_the_limit_of_a_stop_that_buys_asks_for_an_exit(floor: Floor) -> None:
    """The broker makes a limit at 107.63 of a buy stop at 105: it stands, and buys nothing at 110."""
    now = datetime.now(UTC)
    short = Limits.model_validate_json(json.dumps({**LIMITS, "short_selling_strategies": ["momentum"]}))
    async with floor.database.transaction("test") as connection:
        await save_limits(connection, short, author="test", reason="test", now=now)
    sold = await floor.entry("s1", action="SELL_TO_OPEN", hard_stop_loss=D(105))
    await floor.filled(sold.order, 10)
    await floor.place(await floor.review())
    view = await floor.review()
    assert (view.act, view.covered, view.protection.exiting) == (Act.WAIT, D(10), False)
    assert view.look_again_seconds <= 15
    await floor.quoted("109.98", "110.02")
    view = await floor.review()
    assert (view.act, view.covered, view.protection.exiting) == (Act.CANCEL, D(0), True)
    assert [order.leg for order in view.orders] == [Leg.STOP]


async def test_a_closing_order_waits_for_the_shares_and_the_stop_follows(floor: Floor) -> None:
    await floor.place(await protected(floor))
    closing = {"action": "SELL_TO_CLOSE", "quantity": D(4), "limit_price": D(99)}
    with pytest.raises(ApplicationError) as waits:
        await floor.entry("s2", **closing)
    assert waits.value.type == "SHARES_HELD"
    view = await floor.review()
    assert (view.act, view.target) == (Act.CANCEL, D(6))
    stop = view.orders[0]
    assert stop.broker_order_id is not None
    told = await take_in(
        floor.database,
        BrokerOrder(
            broker_order_id=stop.broker_order_id, client_order_id=stop.client_order_id or "", ticker="AAPL",
            side=Side.SELL, raw_type="stop", raw_time_in_force="gtc", raw_status="canceled", quantity=D(10),
            filled_quantity=D(0), stop_price=D(95), created_at=datetime.now(UTC),
        ),
        now=datetime.now(UTC),
        source="test",
    )  # fmt: skip
    assert told is not None
    assert told.is_told
    answer = await floor.placement.place_order(OrderQuestion(signal_id="s2", as_of=datetime.now(UTC)))
    assert answer.kind is PlaceKind.PLACED
    await floor.filled(answer.order, 4)
    view = await floor.review()
    assert (view.protection.given_up, view.protection.lot, view.target) == (D(4), D(6), D(6))


async def test_every_order_of_a_leg_that_is_made_or_fitted_is_told(floor: Floor) -> None:
    await protected(floor)
    await floor.review()
    await floor.set("update positions set quantity = 6")
    view = await floor.review()
    assert view.orders[0].quantity == D(6)
    async with floor.database.connection() as connection:
        told = await connection.fetch(
            "select decision from audit_log where decision in ('LEG_MADE', 'LEG_FITTED') order by id"
        )
        events = await connection.fetch(
            "select payload->>'row_version' as version, payload->>'status' as status from events "
            "where topic = 'trading.execution.status' and payload->>'leg' = 'stop' order by 1"
        )
    assert [row["decision"] for row in told] == ["LEG_MADE", "LEG_FITTED"]
    assert [tuple(row) for row in events] == [("1", "CREATED"), ("2", "CREATED")]
