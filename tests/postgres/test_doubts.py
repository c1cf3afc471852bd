"""Orders of which nobody knows whether they stand at the broker, and strategies that the account cannot pay for."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities import doubts as steps
from activities.catch_up import CatchUp
from activities.evidence import take_in
from activities.risk import RiskActivities
from broker.budget import NoToken, Share
from broker.errors import InsufficientFunds, UnknownOutcome
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.broker import Account
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderStatus
from schemas.risk import AssessmentKind, CheckName
from schemas.runs import PlaceKind, RiskQuestion
from storage import doubts as rows
from storage import market
from storage.alerts import list_alerts
from storage.orders import read_order
from storage.risk import live_reservations
from tests.postgres.books import market_clock, propose
from tests.postgres.desk import SIGNAL, Desk
from tests.postgres.scripted_broker import ScriptedBroker, told
from tests.servers.approvals import SIGNER
from workers.worries import Worries


class Silent:
    """A notifier that nobody listens to."""

    async def notify(self, order: Any) -> None:
        """Hear it and do nothing."""


async def codes(made: Desk) -> list[AlertCode]:
    async with made.database.connection() as connection:
        return [alert.code for alert in await list_alerts(connection)]


async def stored(made: Desk) -> Any:
    async with made.database.connection() as connection:
        return await read_order(connection, SIGNAL)


@pytest.fixture
async def pursuer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[steps.Doubts]:
    """Doubts whose last wait is over at once."""
    monkeypatch.setattr(steps, "FATAL_AFTER", timedelta(0))
    broker: Any = desk.broker
    notifier: Any = Silent()
    async with market_clock() as clock:
        yield steps.Doubts(desk.database, broker, clock, notifier, now=lambda: datetime.now(UTC))


async def test_an_order_that_the_broker_denies_is_proved_gone_and_opens_again(
    desk: Desk,
    pursuer: steps.Doubts,
) -> None:
    """Placed and acknowledged, then unknown under both ids; at last the stream shows it working."""
    assert (await desk.place()).kind is PlaceKind.PLACED
    broker_order_id = (await stored(desk)).broker_order_id
    await pursuer.begin(broker_order_id)
    order = await stored(desk)
    assert (order.status, order.flags) == (OrderStatus.ACKNOWLEDGED, (OrderFlag.OUTCOME_UNKNOWN,))
    for _ in range(2):
        await pursuer.pursue()
        assert (await stored(desk)).status is OrderStatus.ACKNOWLEDGED, "never on one look-up, nor on two"
    await pursuer.pursue()
    order = await stored(desk)
    assert (order.status, order.reason, order.settled) == (OrderStatus.FATAL_ERROR, steps.REASON, True)
    assert await codes(desk) == [AlertCode.NOT_AT_BROKER]
    async with desk.database.connection() as connection:
        assert (await live_reservations(connection))[0] == 0
    shown = told(order.client_order_id, "new").model_copy(update={"broker_order_id": broker_order_id})
    await take_in(desk.database, shown, now=datetime.now(UTC), source="test")
    order = await stored(desk)
    assert (order.status, order.settled) == (OrderStatus.ACKNOWLEDGED, False)
    assert set(await codes(desk)) == {AlertCode.NOT_AT_BROKER, AlertCode.LATE_TRUTH}
    async with desk.database.connection() as connection:
        assert (await live_reservations(connection))[0] == 1


async def test_a_denied_order_that_shows_again_is_doubted_no_more(desk: Desk, pursuer: steps.Doubts) -> None:
    await desk.place()
    order = await stored(desk)
    await pursuer.begin(order.broker_order_id)
    desk.broker.orders[order.client_order_id] = told(order.client_order_id, "new")
    await pursuer.pursue()
    order = await stored(desk)
    assert (order.flags, order.absent_lookups, order.absent_since) == ((), 0, None)


async def test_a_person_is_told_of_an_outcome_unknown_for_a_minute(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk.broker.answer = UnknownOutcome("504")
    worries = Worries(desk.database)
    assert (await desk.place()).kind is PlaceKind.UNKNOWN
    await worries.tell_of_unknowns()
    assert await codes(desk) == []
    monkeypatch.setattr(rows, "TOLD_AFTER_SECONDS", 0)
    for _ in range(2):
        await worries.tell_of_unknowns()
    async with desk.database.connection() as connection:
        alerts = await list_alerts(connection)
    assert [(alert.code, alert.times) for alert in alerts] == [(AlertCode.OUTCOME_UNKNOWN, 1)]
    found = told(alerts[0].subject, "new")
    await take_in(desk.database, found, now=datetime.now(UTC), source="test")
    await worries.tell_of_unknowns()
    assert await codes(desk) == []


async def assess(made: Desk, signal_id: str, **fields: Any) -> Any:
    await propose(made.database, signal_id, **fields)
    async with market_clock() as clock:
        risk = RiskActivities(made.database, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
        return await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))


async def test_after_insufficient_funds_the_strategy_buys_nothing_until_a_later_snapshot_covers_it(
    desk: Desk,
) -> None:
    desk.broker.answer = InsufficientFunds("insufficient buying power", http_status=403)
    answer = await desk.place()
    assert (answer.kind, answer.order.reason) == (PlaceKind.ENDED, "ERR_INSUFFICIENT_FUNDS")
    assert await codes(desk) == [AlertCode.INSUFFICIENT_FUNDS]
    worries = Worries(desk.database)
    await worries.cover_funds()
    refused = await assess(desk, "again")
    assert (refused.kind, refused.reasons) == (AssessmentKind.REJECTED, (CheckName.INSUFFICIENT_FUNDS,))
    assert (await assess(desk, "others", strategy="pairs")).kind is AssessmentKind.APPROVED
    account = await desk.broker.get_account()
    async with desk.database.transaction("test") as connection:
        await market.save_account(connection, account, taken_at=datetime.now(UTC))
    await worries.cover_funds()
    assert await codes(desk) == []
    assert (await assess(desk, "covered")).kind is AssessmentKind.APPROVED


class Rationed(ScriptedBroker):
    """Has ``left`` look-ups for us, and counts the reads of the account."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.accounts = 0
        self.lists = 0

    def _take(self) -> None:
        if self.left == 0:
            raise NoToken(Share.ORDERS, 3600)
        self.left -= 1

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        self._take()
        return await super().get_order_status(broker_order_id)

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        self._take()
        return await super().get_order_by_client_id(client_order_id)

    async def get_orders(self, *, after: datetime, until: datetime) -> list[BrokerOrder]:
        self.lists += 1
        return await super().get_orders(after=after, until=until)

    async def get_fills(self, since: datetime) -> list[Fill]:
        return []

    async def get_account(self) -> Account:
        self.accounts += 1
        return await super().get_account()


async def acknowledged(made: Desk, count: int) -> None:
    """That many orders that the broker has shown once."""
    for number in range(count):
        await propose(made.database, f"denied-{number}")
    async with made.database.transaction("test") as connection:
        await connection.execute(
            "update orders set status = 'ACKNOWLEDGED', client_order_id = 'c-' || signal_id, post_count = 1,"
            " broker_order_id = 'b-' || signal_id, first_post_at = clock_timestamp()"
            " where signal_id like 'denied-%'"
        )


async def denials(made: Desk) -> list[tuple[str, int]]:
    async with made.database.connection() as connection:
        rows = await connection.fetch(
            "select status, absent_lookups from orders where signal_id like 'denied-%' order by signal_id"
        )
    return [(row["status"], row["absent_lookups"]) for row in rows]


@pytest.mark.usefixtures("pursuer")
async def test_many_denied_orders_are_proved_gone_though_there_are_not_requests_for_all_at_once(
    desk: Desk,
) -> None:
    """A catch-up runs out of requests in its middle, later passes too: what was asked counts all the same.

    How: look-ups for three of five orders, so that a second catch-up asks for the rest alone; then two and a half
    orders a pass. The account is read once a pass, and so is the list.
    """
    await acknowledged(desk, 5)
    broker, silent = Rationed(), Silent()
    reading: Any = (desk.database, broker)
    async with market_clock() as clock:
        pass_of: Any = (*reading, clock, silent)
        catching_up = CatchUp(*pass_of, now=lambda: datetime.now(UTC))
        broker.left = 3
        with pytest.raises(NoToken):
            await catching_up.run(orders=True)
        assert await denials(desk) == [("ACKNOWLEDGED", 1)] * 3 + [("ACKNOWLEDGED", 0)] * 2
        broker.left = 2
        await catching_up.run(orders=True)
        assert await denials(desk) == [("ACKNOWLEDGED", 1)] * 5
        assert broker.accounts == 2, "one for the denials of a pass; the snapshot is young"
        passes = 0
        while any(status == "ACKNOWLEDGED" for status, _ in await denials(desk)):
            passes, broker.left, broker.accounts, broker.lists = passes + 1, 5, 0, 0
            with suppress(NoToken):
                await catching_up.pursue_doubts()
            assert (broker.accounts, broker.lists) in ((1, 0), (1, 1))
            assert passes < 10, "two orders a pass, each asked for three times"
    assert {status for status, _ in await denials(desk)} == {"FATAL_ERROR"}


@pytest.mark.usefixtures("pursuer")
async def test_one_pass_leaves_requests_for_new_orders(desk: Desk) -> None:
    await acknowledged(desk, 5)
    broker: Any = Rationed()
    broker.left = given = 100
    silent: Any = Silent()
    async with market_clock() as clock:
        pursuing = steps.Doubts(desk.database, broker, clock, silent, now=lambda: datetime.now(UTC))
        await pursuing.begin(*(f"b-denied-{number}" for number in range(5)))
        await pursuing.pursue()
    assert given - broker.left == 2 * steps.ORDERS_MAX
    assert broker.accounts == 2
