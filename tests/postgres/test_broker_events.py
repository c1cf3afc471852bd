"""What the broker may say of an order, brought to its row: chains, refusals, busts, and truths that come late."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.evidence import Evidence, Taken, take_in
from activities.risk import RiskActivities
from broker import lifecycle
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.broker import TradeEvent, TradeUpdate
from schemas.kill import KillCommand, OrderFate
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderStatus, Side
from schemas.runs import RiskQuestion
from storage import sweeps, switches
from storage.alerts import list_alerts
from storage.database import Database
from storage.events import timeline
from storage.orders import StoredOrder, lock_order, read_order
from storage.risk import read_exposures
from storage.transitions import Step, refuse
from storage.watch import unsettled
from tests.postgres.books import market_clock, prepare, propose
from tests.postgres.scripted_broker import told
from tests.servers.approvals import SIGNER
from workers import stream_watch
from workers.stream_watch import StreamWatch

SIGNAL, CLIENT_ID = "s1", "c1"
ID = told(CLIENT_ID, "new").broker_order_id


def now() -> datetime:
    return datetime.now(UTC)


def fill(quantity: int, cumulative: int, *, execution: str, order_id: str = ID) -> Fill:
    """One execution as the stream names it."""
    return Fill(
        execution_id=execution, broker_order_id=order_id, ticker="AAPL", side=Side.BUY,
        quantity=Decimal(quantity), price=Decimal(100), cumulative_quantity=Decimal(cumulative),
        executed_at=now(),
    )  # fmt: skip


def update(event: str, order: BrokerOrder, execution: Fill | None = None, **more: Any) -> TradeUpdate:
    """A message of the stream."""
    known = event if event in set(TradeEvent) else "other"
    return TradeUpdate.model_validate(
        {"event": known, "raw_event": event, "at": now(), "order": order, "fill": execution, **more}
    )


@dataclass
class Books:
    """An approved order that went out, and what is told of it."""

    database: Database

    async def tell(self, evidence: Evidence) -> Taken | None:
        return await take_in(self.database, evidence, now=now(), source="test")

    async def order(self) -> StoredOrder:
        async with self.database.connection() as connection:
            return await read_order(connection, SIGNAL)

    async def alerts(self) -> dict[AlertCode, str]:
        async with self.database.connection() as connection:
            return {each.code: each.subject for each in await list_alerts(connection)}

    async def story(self) -> list[str]:
        async with self.database.connection() as connection:
            return [entry.decision for entry in await timeline(connection, SIGNAL)]

    async def reserved(self) -> Decimal:
        async with self.database.connection() as connection:
            return Decimal(
                await connection.fetchval(
                    "select coalesce(sum(quantity) filter (where state = 'working'), 0) from reservations"
                )
            )

    async def is_swept(self) -> bool:
        """Whether the sweeper would start its workflow."""
        async with self.database.connection() as connection:
            page = await unsettled(
                connection, created_before=now(), after=(now() - timedelta(days=1), ""), limit=9
            )
        return SIGNAL in {signal_id for _, signal_id in page}

    async def end_here(self, fact: lifecycle.OwnFact) -> None:
        """Our own verdict, settled: the order is over for us."""
        async with self.database.transaction("test") as connection:
            locked = await lock_order(connection, SIGNAL)
            step = Step(now=now(), component="test", decision="ENDED")
            await refuse(locked, lifecycle.apply(locked.state, fact), step)


@pytest.fixture
async def books(database: str) -> AsyncIterator[Books]:
    opened = await Database.connect(database)
    await prepare(opened)
    await propose(opened, SIGNAL)
    async with market_clock() as clock:
        risk = RiskActivities(opened, clock, Metrics(), now=now, signer=SIGNER)
        await risk.assess_risk(RiskQuestion(signal_id=SIGNAL, as_of=now()))
    async with opened.transaction("test") as connection:
        await connection.execute("update orders set client_order_id = $1, post_count = 1", CLIENT_ID)
        await connection.execute("update reservations set state = 'working'")
    yield Books(opened)
    await opened.close()


class TestReplacedBySomebodyElse:
    OLD = told(CLIENT_ID, "replaced").model_copy(update={"replaced_by": "new-id"})
    NEW = told("another", "new", quantity=Decimal(20)).model_copy(
        update={"broker_order_id": "new-id", "replaces": ID}
    )

    @pytest.mark.parametrize("order", ["new first", "new alone"])
    async def test_the_order_goes_on_under_the_new_id(self, books: Books, order: str) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        messages = [update("replaced", self.OLD), update("new", self.NEW)]
        for each in messages[::-1] if order == "new first" else messages[1:]:
            await books.tell(each)
        found = await books.order()
        assert (found.broker_order_id, found.quantity, found.status) == (
            "new-id", Decimal(20), OrderStatus.ACKNOWLEDGED,
        )  # fmt: skip
        assert found.predecessors == (ID,)

    async def test_it_counts_at_its_new_size_and_at_the_worse_price(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        for price in (105, 95):
            await books.tell(update("new", self.NEW.model_copy(update={"limit_price": Decimal(price)})))
            async with books.database.connection() as connection:
                [row] = await read_exposures(connection)
            assert (row.reserved_buy, row.reserved_buy_notional) == (20, 20 * 105)

    async def test_an_execution_of_the_old_id_that_comes_late_counts(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        await books.tell(update("replaced", self.OLD))
        await books.tell(update("new", self.NEW.model_copy(update={"filled_quantity": Decimal(4)})))
        assert OrderFlag.FILLS_MISSING in (await books.order()).flags
        await books.tell(fill(4, 4, execution="e1"))
        found = await books.order()
        assert (found.filled_quantity, found.flags) == (Decimal(4), ())

    async def test_a_replacement_that_loses_to_a_fill_changes_nothing(self, books: Books) -> None:
        """The new one is pending, then rejected: the old one was ours all the time."""
        await books.tell(told(CLIENT_ID, "new"))
        for raw in ("pending_new", "rejected"):
            await books.tell(update(raw, self.NEW.model_copy(update={"raw_status": raw})))
        assert (await books.order()).broker_order_id == ID
        await books.tell(update("fill", told(CLIENT_ID, "filled", filled=10), fill(10, 10, execution="e1")))
        assert (await books.order()).status is OrderStatus.FILLED


async def test_what_may_still_execute_is_reserved_in_full_until_its_end_is_known(books: Books) -> None:
    """Ten shares at $100: what is filled is held, and every other share is reserved, whatever was asked for."""

    async def at_risk() -> tuple[Decimal, Decimal, Decimal]:
        async with books.database.connection() as connection:
            [row] = await read_exposures(connection)
        return row.held, row.reserved_buy, row.reserved_buy_notional

    await books.tell(told(CLIENT_ID, "new"))
    assert await at_risk() == (0, 10, 1000)
    part = told(CLIENT_ID, "partially_filled", filled=4)
    await books.tell(update("partial_fill", part, fill(4, 4, execution="e1")))
    assert await at_risk() == (4, 6, 600)
    await books.tell(update("pending_cancel", told(CLIENT_ID, "pending_cancel", filled=4)))
    assert await at_risk() == (4, 6, 600), "a cancel that is not confirmed gives nothing back"
    await books.tell(update("canceled", told(CLIENT_ID, "canceled", filled=7)))
    assert await at_risk() == (4, 3, 300), "executed and not told yet"
    await books.tell(fill(3, 7, execution="e2"))
    assert (await at_risk())[:2] == (7, 0)


class TestMessagesThatChangeNothing:
    async def test_is_told_once_in_the_story_and_kept_raw(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        for event in (
            "order_cancel_rejected",
            "order_replace_rejected",
            "stopped",
            "restated",
            "held",
            "split!",
        ):
            message = update(event, told(CLIENT_ID, "new"), event_id=f"ulid-{event}")
            await books.tell(message)
            await books.tell(message)
            assert (await books.story()).count(f"BROKER_{event.upper()}") == 1
            assert (await books.order()).status is OrderStatus.ACKNOWLEDGED

    async def test_ordinary_messages_again_are_no_story(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        before = await books.story()
        await books.tell(update("new", told(CLIENT_ID, "new")))
        assert await books.story() == before

    async def test_a_state_beside_the_status_is_a_flag(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        for raw, flag in (
            ("done_for_day", OrderFlag.DONE_FOR_DAY),
            ("suspended", OrderFlag.SUSPENDED),
            ("calculated", OrderFlag.DONE_FOR_DAY),
        ):
            await books.tell(update(raw, told(CLIENT_ID, raw)))
            found = await books.order()
            assert (found.flags, found.raw_status) == ((flag,), raw)
            assert found.status is OrderStatus.ACKNOWLEDGED

    async def test_rejected_after_it_was_accepted_and_expired_end_it(self, books: Books) -> None:
        await books.tell(told(CLIENT_ID, "new"))
        await books.tell(update("rejected", told(CLIENT_ID, "rejected")))
        found = await books.order()
        assert (found.status, found.reason, found.settled) == (OrderStatus.REJECTED, "rejected", False)
        assert AlertCode.LATE_TRUTH not in await books.alerts()


class TestLateTruth:
    @pytest.mark.parametrize(
        ("verdict", "shown", "way"),
        [
            (lifecycle.Refused("ERR_FORBIDDEN"), "alive", "stream"),
            (lifecycle.Refused("ERR_FORBIDDEN"), "filled", "list"),
            (lifecycle.Fatal("absent"), "alive", "list"),
            (lifecycle.Fatal("absent"), "filled", "stream"),
        ],
    )
    async def test_the_broker_s_word_outranks_ours(
        self, books: Books, verdict: lifecycle.OwnFact, shown: str, way: str
    ) -> None:
        """Reservation, alert, and a workflow for it again; when it has settled it stays settled."""
        await books.end_here(verdict)
        assert (await books.order()).settled
        assert not await books.is_swept()
        assert await books.reserved() == 0
        order = told(CLIENT_ID, "new") if shown == "alive" else told(CLIENT_ID, "filled", filled=10)
        await books.tell(order if way == "list" else update("new" if shown == "alive" else "fill", order))
        found = await books.order()
        wanted = OrderStatus.ACKNOWLEDGED if shown == "alive" else OrderStatus.FILLED
        assert (found.status, found.settled) == (wanted, False)
        assert await books.is_swept()
        assert await books.reserved() == 10
        assert await books.alerts() == {AlertCode.LATE_TRUTH: CLIENT_ID}

    async def test_an_engaged_kill_switch_sweeps_again(self, books: Books) -> None:
        """How: the sweep was confirmed, then an order that was proved absent shows itself alive."""
        await books.end_here(lifecycle.Fatal("absent"))
        fates = {CLIENT_ID: OrderFate.CANCELED, "c0": OrderFate.FILLED}
        async with books.database.transaction("test") as connection:
            command = KillCommand(reason="test")
            engaged = await switches.engage(connection, command, request_id="r", now=now(), component="test")
            swept = await sweeps.save_sweep(
                connection, engaged, fates, confirmed=True, unprotected=(), now=now()
            )
        assert swept.sweep_confirmed
        await books.tell(told(CLIENT_ID, "new"))
        async with books.database.connection() as connection:
            again = await switches.read_state(connection)
        assert (again.swept_at, again.sweep_confirmed) == (None, False)
        assert again.fates == {"c0": OrderFate.FILLED}, "what was told of its end is taken back"
        assert (again.epoch, again.scope, again.reason) == (engaged.epoch, engaged.scope, "test")

    async def test_a_released_one_stays_released(self, books: Books) -> None:
        await books.end_here(lifecycle.Fatal("absent"))
        await books.tell(told(CLIENT_ID, "new"))
        async with books.database.connection() as connection:
            assert not (await switches.read_state(connection)).engaged


class TestBusts:
    async def test_a_bust_adjusts_and_alerts_once(self, books: Books) -> None:
        first = fill(10, 10, execution="e1")
        await books.tell(update("fill", told(CLIENT_ID, "filled", filled=10), first))
        bust = update("trade_bust", told(CLIENT_ID, "filled", filled=0), first, event_id="b1")
        await books.tell(bust)
        assert await books.alerts() == {AlertCode.BUST_OR_CORRECTION: "e1"}
        assert (await books.order()).filled_quantity == 0
        async with books.database.connection() as connection:
            assert await connection.fetchval("select sum(quantity) from positions") == 0
        await books.tell(bust)
        async with books.database.connection() as connection:
            (alert,) = await list_alerts(connection)
        assert alert.times == 1


class TestFillsMissing:
    async def test_raised_after_a_minute_and_cleared_when_they_come(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await books.tell(update("partial_fill", told(CLIENT_ID, "partially_filled", filled=4)))
        watch = StreamWatch(books.database, None, Metrics())  # type: ignore[arg-type]
        await watch.watch_fills()
        assert await books.alerts() == {}
        monkeypatch.setattr(stream_watch, "utc_now", lambda: now() + timedelta(seconds=61))
        await watch.watch_fills()
        assert await books.alerts() == {AlertCode.FILLS_MISSING: CLIENT_ID}
        await books.tell(fill(4, 4, execution="e1"))
        await watch.watch_fills()
        assert await books.alerts() == {}
