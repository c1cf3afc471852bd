"""What placement and look-ups leave in an order's row, whatever the broker answers."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities import resolution
from activities.risk import RESERVATION_LAPSE
from broker.errors import DuplicateOrder, Forbidden, NotCancelable, NothingSent, UnknownOutcome
from schemas.alerts import AlertCode
from schemas.orders import BrokerOrder, CancelAnswer, OrderFlag, OrderStatus
from schemas.runs import CancelStep, EndOrder, PlaceKind, ResolveKind
from storage.alerts import list_alerts
from storage.database import PLACEMENT_SLOTS
from storage.orders import StoredOrder, read_order
from storage.risk import lapse_reservations, live_reservations, lock_account
from storage.switches import unknown_orders
from tests.postgres.desk import SIGNAL, Desk, question
from tests.postgres.scripted_broker import told


@pytest.fixture
def absence_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the waits of the proof of absence were over."""
    monkeypatch.setattr(resolution, "ABSENCE_WAIT", timedelta(seconds=-60))
    monkeypatch.setattr(resolution, "FATAL_AFTER", timedelta(0))


@pytest.mark.usefixtures("absence_counts_at_once")
async def test_an_id_that_the_broker_calls_taken_is_never_proved_absent(desk: Desk) -> None:
    """How: look-ups stay stale longer than the proof of absence takes; then the order shows."""
    desk.broker.answer = DuplicateOrder("client_order_id must be unique")
    assert (await desk.place()).kind is PlaceKind.UNKNOWN
    for _ in range(2 * resolution.ABSENCE_LOOKUPS):
        assert (await desk.resolution.resolve_order(question())).kind is ResolveKind.UNKNOWN
    assert (await desk.place()).kind is PlaceKind.UNKNOWN
    (posted,) = desk.broker.posts
    async with desk.database.connection() as connection:
        assert (await live_reservations(connection))[0] == 1
    desk.broker.orders[posted] = told(posted, "new")
    assert (await desk.resolution.resolve_order(question())).kind is ResolveKind.FOUND


@pytest.mark.usefixtures("absence_counts_at_once")
async def test_a_lost_post_is_proved_absent(desk: Desk) -> None:
    """The same look-ups do prove it where the broker never said that the id is taken."""
    desk.broker.answer = UnknownOutcome("timeout")
    await desk.place()
    answers = [
        (await desk.resolution.resolve_order(question())).kind for _ in range(resolution.ABSENCE_LOOKUPS)
    ]
    assert answers[-1] is ResolveKind.ABSENT


async def test_a_second_try_leaves_the_first_one_s_post_open(desk: Desk) -> None:
    """How: the first is held in mid-POST; the kill switch must go on waiting for it."""
    desk.broker.sent.clear()
    first = asyncio.create_task(desk.place())
    await desk.broker.sending.wait()
    (open_post,) = await desk.unanswered()
    assert (await desk.placement.place_order(question())).kind is PlaceKind.UNKNOWN
    assert await desk.unanswered() == (open_post,)
    desk.broker.sent.set()
    assert (await first).kind is PlaceKind.PLACED
    assert await desk.unanswered() == ()
    assert desk.broker.posts == [open_post]


async def test_a_post_that_never_left_leaves_nothing_unknown(desk: Desk) -> None:
    """How: a second try finds the first in mid-POST and says that nobody knows; then the line is refused."""
    desk.broker.sent.clear()
    first = asyncio.create_task(desk.place())
    await desk.broker.sending.wait()
    assert (await desk.placement.place_order(question())).kind is PlaceKind.UNKNOWN
    async with desk.database.connection() as connection:
        assert (await read_order(connection, SIGNAL)).flags == (OrderFlag.OUTCOME_UNKNOWN,)
    desk.broker.answer, desk.broker.is_reachable = NothingSent("refused"), False
    desk.broker.sent.set()
    with pytest.raises(ApplicationError):
        await first
    async with desk.database.connection() as connection:
        order = await read_order(connection, SIGNAL)
        assert await unknown_orders(connection) == ()
    assert (order.post_count, order.flags) == (0, ())


@pytest.mark.usefixtures("absence_counts_at_once")
async def test_what_was_asked_before_the_broker_showed_it_proves_nothing_later(desk: Desk) -> None:
    """How: two look-ups find nothing, then the order shows: denied again, it has none of three denials yet."""
    desk.broker.answer = UnknownOutcome("timeout")
    await desk.place()
    for _ in range(resolution.ABSENCE_LOOKUPS - 1):
        await desk.resolution.resolve_order(question())
    (posted,) = desk.broker.posts
    desk.broker.orders[posted] = told(posted, "new")
    assert (await desk.resolution.resolve_order(question())).kind is ResolveKind.FOUND
    async with desk.database.connection() as connection:
        order = await read_order(connection, SIGNAL)
    assert (order.absent_lookups, order.absent_since) == (0, None)


async def test_a_try_without_a_slot_sends_nothing_and_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as every_slot:
        for _ in range(PLACEMENT_SLOTS):
            await every_slot.enter_async_context(desk.database.fence_connection())
        monkeypatch.setattr("storage.database.FENCE_ACQUIRE_TIMEOUT_SECONDS", 0.05)
        with pytest.raises(ApplicationError) as refused:
            await desk.place()
    assert refused.value.type == "NO_SLOT"
    assert not refused.value.non_retryable
    assert desk.broker.posts == []


@pytest.mark.parametrize("decided_since", [False, True])
async def test_an_order_whose_room_was_given_back_while_it_waited_is_refused(
    desk: Desk, decided_since: bool
) -> None:
    """How: it waits for longer than its room counts; where risk decides on another signal since, that room goes."""
    async with desk.database.transaction("test") as connection:
        await connection.execute(
            "update reservations set lapses_at = lapses_at - $1::interval", RESERVATION_LAPSE
        )
        if decided_since:
            await lock_account(connection)
            await lapse_reservations(connection, datetime.now(UTC))
    answer = await desk.place()
    if not decided_since:
        assert (answer.kind, len(desk.broker.posts)) == (PlaceKind.PLACED, 1)
        return
    assert (answer.kind, desk.broker.posts) == (PlaceKind.ENDED, [])
    assert (answer.order.status, answer.order.reason) == (OrderStatus.REJECTED, "RESERVATION_LAPSED")


async def test_a_cancel_that_the_broker_takes_later_is_asked_again(desk: Desk) -> None:
    await desk.place()

    async def not_now(_: str) -> None:
        raise NotCancelable("order is pending_replace")

    desk.broker.cancel_order = not_now  # type: ignore[attr-defined]
    with pytest.raises(ApplicationError) as refused:
        await desk.end.cancel_order(
            CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor="test", reason="")
        )
    assert (refused.value.type, refused.value.non_retryable) == ("ERR_NOT_CANCELABLE", False)
    async with desk.database.connection() as connection:
        assert (await read_order(connection, SIGNAL)).status is OrderStatus.ACKNOWLEDGED


async def test_a_cancel_of_what_is_refused_meanwhile_is_too_late(desk: Desk) -> None:
    """How: refused between the note of who asks and the end that the cancel would give it."""
    cancel = CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor="test", reason="enough")
    remember = desk.end._remember

    async def and_refused(step: CancelStep) -> StoredOrder:
        order = await remember(step)
        refused = EndOrder(
            signal_id=SIGNAL, as_of=step.as_of, status=OrderStatus.REJECTED, reason="MARKET_CLOSED"
        )
        await desk.end.refuse_order(refused)
        return order

    desk.end._remember = and_refused  # type: ignore[method-assign]
    reply = await desk.end.cancel_order(cancel)
    assert (reply.answer, reply.status) == (CancelAnswer.TOO_LATE, OrderStatus.REJECTED)


async def test_a_refused_look_up_ends_neither_a_cancel_nor_a_settlement(desk: Desk) -> None:
    """The broker's no to a question is no word on the order: failed for good, its workflow would end over it."""
    await desk.place()

    async def too_late(_: str) -> CancelAnswer:
        return CancelAnswer.TOO_LATE

    async def blocked(_: str) -> BrokerOrder:
        raise Forbidden("403: account is not authorized")

    desk.broker.cancel_order = too_late  # type: ignore[method-assign, assignment]
    desk.broker.get_order_status = blocked  # type: ignore[method-assign]
    cancel = CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor="test", reason="")
    for asking in (desk.end.cancel_order(cancel), desk.end.settle_order(question())):
        with pytest.raises(ApplicationError) as failed:
            await asking
        assert (failed.value.type, failed.value.non_retryable) == ("ERR_FORBIDDEN", False)


async def test_a_rest_after_the_bell_is_told_without_the_broker_until_the_order_has_ended(desk: Desk) -> None:
    """How: the broker answers no cancel and no question over the bell; then it says that the order has ended."""
    await desk.place()
    (posted,) = desk.broker.posts

    async def silent(_: str) -> CancelAnswer:
        raise NothingSent("connection refused")

    async def lasting() -> dict[str, str]:
        async with desk.database.connection() as connection:
            found = await list_alerts(connection)
        return {each.subject: each.text for each in found if each.code is AlertCode.END_OF_DAY_UNCONFIRMED}

    desk.broker.cancel_order = silent  # type: ignore[method-assign, assignment]
    cancel = CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor="end of day", reason="rest")
    with pytest.raises(ApplicationError):
        await desk.end.cancel_order(cancel)
    assert await lasting() == {}
    tell = cancel.model_copy(update={"unconfirmed_at_bell": True})
    for _ in range(2):
        await desk.end.tell_unconfirmed(tell)
        ((subject, text),) = (await lasting()).items()
        assert (subject, "was not confirmed at the bell" in text) == (posted, True)
    desk.broker.orders[posted] = told(posted, "canceled")
    assert (await desk.end.settle_order(question())).status is OrderStatus.CANCELED
    assert await lasting() == {}
    await desk.end.tell_unconfirmed(tell)
    assert await lasting() == {}, "it came too late"


async def test_an_order_waits_while_the_books_are_not_reconciled(desk: Desk) -> None:
    """Nothing is sent, nothing refused, and the reason is told."""
    async with desk.database.connection() as connection:
        await connection.execute(
            "update reconciliations set finished_at = finished_at - interval '16 minutes'"
        )
    with pytest.raises(ApplicationError, match="16 min old") as waits:
        await desk.place()
    assert (waits.value.type, waits.value.non_retryable) == ("NOT_RECONCILED", False)
    assert desk.broker.posts == []
    async with desk.database.connection() as connection:
        order = await read_order(connection, SIGNAL)
        await connection.execute("update reconciliations set finished_at = now()")
    assert (order.status, order.post_count) == (OrderStatus.CREATED, 0)
    assert (await desk.place()).kind is PlaceKind.PLACED
