"""What a request came to is an audit row, also where it changed nothing of the order."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from broker.errors import NotCancelable, UnknownOutcome
from broker.told import BrokerCall, tell
from schemas.orders import CancelAnswer
from schemas.runs import CancelStep
from storage.risk import lapse_reservations, lock_account
from tests.postgres.desk import SIGNAL, Desk
from tests.postgres.scripted_broker import told


async def story(desk: Desk) -> list[tuple[str, Any]]:
    """Decision and requests of each row of the signal."""
    async with desk.database.connection() as connection:
        rows = await connection.fetch(
            "select decision, payload::json->'calls'->0->>'outcome' as outcome from audit_log "
            "join audit_payloads on audit_id = id where correlation_id = $1 order by id",
            SIGNAL,
        )
    return [(row["decision"], row["outcome"]) for row in rows]


@pytest.mark.parametrize(
    ("answer", "outcome", "decision"),
    [
        (CancelAnswer.TOO_LATE, "ERR_NOT_CANCELABLE", "CANCEL_TOO_LATE"),
        (CancelAnswer.UNKNOWN_ORDER, "ERR_NOT_FOUND", "CANCEL_UNKNOWN_ORDER"),
        (CancelAnswer.UNKNOWN_OUTCOME, "ERR_UNKNOWN_OUTCOME", "CANCEL_UNKNOWN_OUTCOME"),
        (CancelAnswer.REQUESTED, "OK", "CANCEL_REQUESTED"),
        (NotCancelable("a replace is pending"), "ERR_NOT_CANCELABLE", "CANCEL_NOT_TAKEN"),
    ],
)
async def test_each_answer_to_a_cancel_is_told(
    desk: Desk, answer: CancelAnswer | NotCancelable, outcome: str, decision: str
) -> None:
    """Asked twice where the first has changed nothing: two requests left, and two rows tell of them."""
    placed = (await desk.place()).order
    desk.broker.orders[placed.client_order_id] = told(placed.client_order_id, "new")

    async def cancel(_: str) -> CancelAnswer:
        tell(BrokerCall("cancel_order", "DELETE", "/v2/orders/{order_id}", 422, outcome, 1.0, "req"))
        if isinstance(answer, CancelAnswer):
            return answer
        raise answer

    desk.broker.cancel_order = cancel  # type: ignore[method-assign,assignment]
    for second in range(2):
        step = CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor=f"jo {second}", reason="a test")
        with suppress(ApplicationError):  # It is to be asked again.
            await desk.end.cancel_order(step)
    assert [row for row in await story(desk) if row[0] == decision] == [(decision, outcome)] * 2


async def test_a_lost_answer_is_told_with_its_request(desk: Desk) -> None:
    desk.broker.answer = UnknownOutcome("no answer")
    place = desk.broker.place_order

    async def post(*arguments: Any, **options: Any) -> Any:
        tell(BrokerCall("place_order", "POST", "/v2/orders", None, "ERR_UNKNOWN_OUTCOME", 9.0, None))
        return await place(*arguments, **options)

    desk.broker.place_order = post  # type: ignore[method-assign]
    await desk.place()
    assert (await story(desk))[-1] == ("OUTCOME_UNKNOWN", "ERR_UNKNOWN_OUTCOME")


async def test_room_that_lapses_is_told_once_under_its_signal(desk: Desk) -> None:
    for _ in range(2):
        async with desk.database.transaction("test") as connection:
            await lock_account(connection)
            await lapse_reservations(connection, datetime.now(UTC) + timedelta(minutes=5))
    assert [row[0] for row in await story(desk)] == ["SIGNAL_ACCEPTED", "APPROVED", "RESERVATION_LAPSED"]
