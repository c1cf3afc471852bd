"""Limits in the browser, and forms that are sent again: by whom, on what they rest, and what is the same form."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from schemas.people import Role
from storage.limits import current_limits
from storage.locks import holding_locks
from tests.postgres.books import prepare
from tests.postgres.two_people import always_two
from tests.web.acting import (
    CODE,
    FORBIDDEN,
    REFUSED,
    SEE_OTHER,
    WRONG,
    Staff,
    limit,
    limits_form,
    refused_below,
    staff,
    state,
    twice,
)  # fmt: skip
from tests.web.browser import Web


@pytest.fixture
async def people(web: Web) -> Staff:
    await prepare(web.owner)
    return await staff(web)


async def test_risk_lowers_at_once_and_raises_with_a_fresh_factor(people: Staff) -> None:
    before = await limit(people)
    raised, lowered = str(int(before) + 1), str(int(before) - 1)
    await refused_below(people, Role.RISK, "/acts/limits", await limits_form(people, lowered))
    people.stale()
    answer = await people.risk.post("/acts/limits", await limits_form(people, raised))
    assert (answer.status_code, answer.headers[CODE]) == (FORBIDDEN, "STEP_UP_REQUIRED")
    assert await limit(people) == before
    assert (await people.risk.post("/acts/limits", await limits_form(people, lowered))).status_code == 200
    assert await limit(people) == lowered, "a lowering needs none"
    await people.risk.step_up()
    form = await limits_form(people, raised, span="1h")
    for expected in (200, REFUSED):
        assert (await people.risk.post("/acts/limits", form)).status_code == expected, "sent twice, done once"
    assert await limit(people) == raised
    assert (
        await people.risk.post("/acts/limits", await limits_form(people, raised, span="25h"))
    ).status_code == REFUSED
    assert (await people.risk.post("/acts/limits", await limits_form(people, "much"))).status_code == WRONG
    unknown = (await limits_form(people, raised)) | {"limit.no_such": "1"}
    assert (await people.risk.post("/acts/limits", unknown)).status_code == WRONG
    told = await people.told("LIMITS_LOWERED", "LIMITS_RAISED")
    assert told[:2] == [("LIMITS_LOWERED", "risk"), ("LIMITS_RAISED", "risk")]
    assert "a busy day" in (await people.viewer.get("/acts/limits")).text


async def test_who_saves_one_limit_never_puts_back_another_that_was_lowered_meanwhile(people: Staff) -> None:
    before = await limit(people)
    form = await limits_form(people, str(int(before) + 5))
    other = "limit.max_orders_per_minute"
    lowered = str(int(form[other]) - 1)
    mine = await limits_form(people, before) | {other: lowered, "reason": "too fast"}
    assert (await people.admin.post("/acts/limits", mine)).status_code == 200
    answer = await people.risk.post("/acts/limits", form)
    assert (answer.status_code, answer.headers[CODE]) == (REFUSED, "REFUSED")
    now = datetime.now(UTC)
    stored = (await state(people, current_limits, now)).limits
    assert (str(stored.max_order_notional), str(stored.max_orders_per_minute)) == (before, lowered)
    # What he meant is beside what stands, and nothing that he had not touched.
    assert re.findall(r"<strong>you had typed: ([^<]+)<", answer.text) == [str(int(before) + 5)]
    assert f'name="{other}" value="{lowered}"' in answer.text
    assert 'name="reason" required maxlength="500" value="a busy day"' in answer.text
    again = await limits_form(people, str(int(before) + 5))
    assert (await people.risk.post("/acts/limits", again)).status_code == 200
    stored = (await state(people, current_limits, datetime.now(UTC))).limits
    assert (str(stored.max_order_notional), str(stored.max_orders_per_minute)) == (
        str(int(before) + 5),
        lowered,
    )
    told = await people.told("LIMITS_LOWERED", "LIMITS_RAISED")
    assert told == [("LIMITS_LOWERED", "admin"), ("LIMITS_RAISED", "risk")]


async def test_a_raise_of_two_persons_in_their_browsers(people: Staff) -> None:
    await always_two(people.web.owner)
    before = await limit(people)
    raised = str(int(before) + 1)
    form = await limits_form(people, raised)
    for _ in range(2):
        answer = await people.risk.post("/acts/limits", form)
        assert "waits for another person" in answer.text
    assert await limit(people) == before
    page = (await people.admin.get("/acts/approvals")).text
    [path] = set(re.findall(r'action="(/acts/approvals/[0-9a-f-]+/carry-out)"', page))
    [shown] = set(re.findall(r'name="content_hash" value="([0-9a-f]{64})"', page))
    sent = {"content_hash": shown}
    assert (await people.risk.post(path, sent)).status_code == REFUSED, "not one's own"
    await refused_below(people, Role.RISK, path, sent)
    people.stale()
    stale = await people.admin.post(path, sent)
    assert stale.headers[CODE] == "STEP_UP_REQUIRED"
    await people.admin.step_up()
    assert (await people.admin.post(path, {"content_hash": "0" * 64})).status_code == REFUSED
    assert await limit(people) == before
    assert (await people.admin.post(path, sent)).status_code == SEE_OTHER
    assert await limit(people) == raised
    assert (await people.admin.post(path, sent)).status_code == REFUSED, "used"
    assert await people.told("APPROVAL_ASKED", "LIMITS_RAISED", "APPROVAL_CARRIED_OUT") == [
        ("APPROVAL_ASKED", "risk"), ("LIMITS_RAISED", "admin"), ("APPROVAL_CARRIED_OUT", "admin"),
    ]  # fmt: skip


async def test_the_same_form_with_something_else_in_it_is_not_told_as_done(people: Staff) -> None:
    form = {"ticker": "AAPL", "reason": "earnings", "span": "2h", "lock_id": str(uuid4())}
    await twice(people.operator, "/acts/locks", form)
    for other in ({"ticker": "MSFT"}, {"span": ""}, {"span": "3h"}, {"reason": "something else"}):
        assert (await people.operator.post("/acts/locks", form | other)).status_code == REFUSED, other
    assert (await people.risk.post("/acts/locks", form)).status_code == REFUSED, "another's"
    assert [each.ticker for each in await state(people, holding_locks, people.web.clock[0])] == ["AAPL"]
    await always_two(people.web.owner)
    before = int(await limit(people))
    asked = await limits_form(people, str(before + 1), span="1h")
    for _ in range(2):
        assert "waits for another person" in (await people.risk.post("/acts/limits", asked)).text
        people.web.later(timedelta(seconds=5))
    for more in (
        {"limit.max_order_notional": str(before + 2)},
        {"span": "8h"},
        {"span": ""},
        {"reason": "no"},
    ):
        assert (await people.risk.post("/acts/limits", asked | more)).status_code == REFUSED, more
    assert (await people.admin.post("/acts/limits", asked)).status_code == REFUSED, "another's"
    assert len(await people.told("APPROVAL_ASKED")) == 1
