"""Each act by each role: who may does it, once, in their name; who may not changes nothing."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from audit.check.outside import Folder
from console.acts.people import COMPONENT
from schemas.alerts import Alert, AlertCode, Severity
from schemas.people import Role
from storage.alerts import list_alerts, raise_alert
from storage.conduct import list_stops
from storage.limits import current_limits
from storage.locks import holding_locks
from storage.switches import read_state
from tests.postgres.books import prepare
from tests.postgres.two_people import always_two
from tests.web import trades
from tests.web.acting import Staff, staff
from tests.web.browser import Browser, Web

SEE_OTHER, FORBIDDEN, REFUSED, WRONG = 303, 403, 409, 422
CODE = "x-error-code"


@pytest.fixture
async def people(web: Web) -> Staff:
    await prepare(web.owner)
    return await staff(web)


async def state(people: Staff, read: Any, *arguments: Any, **options: Any) -> Any:
    async with people.web.owner.connection() as connection:
        return await read(connection, *arguments, **options)


async def twice(browser: Browser, path: str, data: dict[str, str]) -> None:
    """A double click."""
    for _ in range(2):
        answer = await browser.post(path, data)
        assert answer.status_code == SEE_OTHER, answer.text


async def refused_below(people: Staff, role: Role, path: str, data: dict[str, str]) -> None:
    """Everybody whose role is lower is told so."""
    for lower in Role:
        if not lower.covers(role):
            answer = await people.of(lower).post(path, data)
            assert (answer.status_code, answer.headers[CODE]) == (FORBIDDEN, "ROLE_TOO_LOW"), path


async def test_an_operator_stops_everything_at_once_without_a_fresh_factor(people: Staff) -> None:
    people.stale()
    kill = {"reason": "it runs wild", "scope": "all", "request_id": str(uuid4())}
    await refused_below(people, Role.OPERATOR, "/acts/kill", kill)
    assert not (await state(people, read_state)).engaged
    await twice(people.operator, "/acts/kill", kill)
    engaged = await state(people, read_state)
    assert (engaged.engaged, engaged.epoch, engaged.reason) == (True, 1, "it runs wild")
    assert engaged.triggered_by == "operator"
    assert await people.told("KILL_ENGAGED", "KILL_REPEATED") == [("KILL_ENGAGED", "operator")], "once"
    shown = await people.viewer.get("/acts/kill/progress")
    assert "ENGAGED" in shown.text
    assert 'hx-get="/live/acts/kill"' in shown.text, "it goes on by itself"
    assert "nothing recorded yet" in (await people.viewer.get("/live/acts/kill")).text
    assert (await people.operator.post("/acts/kill", {})).status_code == SEE_OTHER, (
        "nothing need be filled in"
    )


async def test_an_operator_locks_and_the_setter_or_risk_lifts(people: Staff) -> None:
    form = {"ticker": "AAPL", "reason": "earnings", "span": "2h", "lock_id": str(uuid4())}
    await refused_below(people, Role.OPERATOR, "/acts/locks", form)
    await twice(people.operator, "/acts/locks", form)
    other = await people.web.person("another", Role.OPERATOR)
    [lock] = await state(people, holding_locks, people.web.clock[0])
    assert (lock.ticker, lock.locked_by, lock.reason) == ("AAPL", "operator", "earnings")
    assert timedelta(hours=1) < lock.until - people.web.clock[0] <= timedelta(hours=2)
    path, why = f"/acts/locks/{lock.lock_id}/lift", {"reason": "they came"}
    await refused_below(people, Role.OPERATOR, path, why)
    answer = await other.post(path, why)
    assert (answer.status_code, answer.headers[CODE]) == (REFUSED, "REFUSED"), "another Operator's lock"
    await twice(people.operator, path, why)
    assert await state(people, holding_locks, people.web.clock[0]) == []
    again = form | {"lock_id": str(uuid4()), "span": ""}
    await other.post("/acts/locks", again)
    await twice(people.risk, f"/acts/locks/{again['lock_id']}/lift", why)
    assert await people.told("SYMBOL_LOCKED", "SYMBOL_UNLOCKED") == [
        ("SYMBOL_LOCKED", "operator"), ("SYMBOL_UNLOCKED", "operator"),
        ("SYMBOL_LOCKED", "another"), ("SYMBOL_UNLOCKED", "risk"),
    ]  # fmt: skip
    assert "earnings" in (await people.viewer.get("/acts/locks")).text


async def test_a_form_that_cannot_be_meant_changes_nothing(people: Staff) -> None:
    form = {"ticker": "AAPL", "reason": "earnings", "span": "2h", "lock_id": str(uuid4())}
    for wrong in (
        {"ticker": "aapl"}, {"ticker": "AAPL; drop"}, {"reason": " "}, {"span": "soon"}, {"span": "2020-01-01"},
        {"lock_id": "x"}, {"reason": "r" * 501},
    ):  # fmt: skip
        answer = await people.operator.post("/acts/locks", form | wrong)
        assert (answer.status_code, answer.headers[CODE]) == (WRONG, "INVALID_REQUEST"), wrong
    assert await state(people, holding_locks, people.web.clock[0]) == []


async def test_an_operator_disables_and_risk_enables_in_their_own_names(people: Staff) -> None:
    form = {"strategy": "momentum", "reason": "it repeats itself"}
    await refused_below(people, Role.OPERATOR, "/acts/strategies/disable", form)
    await twice(people.operator, "/acts/strategies/disable", form)
    await refused_below(people, Role.RISK, "/acts/strategies/enable", form)
    assert (await people.risk.post("/acts/strategies/enable", form)).status_code == SEE_OTHER
    assert (await people.risk.post("/acts/strategies/enable", form)).status_code == REFUSED, "it is enabled"
    assert await state(people, list_stops) == []
    assert await people.told("STRATEGY_DISABLED", "STRATEGY_ENABLED") == [
        ("STRATEGY_DISABLED", "operator"), ("STRATEGY_ENABLED", "risk"),
    ]  # fmt: skip
    assert "it repeats itself" in (await people.viewer.get("/acts/strategies")).text


async def raise_one(people: Staff, code: AlertCode, severity: Severity) -> str:
    alert = Alert(code=code, severity=severity, subject="x", text="look", correlation_id="test")
    async with people.web.owner.transaction("test") as connection:
        await raise_alert(connection, alert, component=COMPONENT, now=people.web.clock[0])
    return alert.alert_id


async def test_alerts_are_seen_silenced_and_cleared_by_persons(people: Staff) -> None:
    high = await raise_one(people, AlertCode.LATE_TRUTH, Severity.HIGH)
    critical = await raise_one(people, AlertCode.UNPROTECTED, Severity.CRITICAL)
    for act, more in (
        ("acknowledge", {}), ("silence", {"span": "1h", "reason": "known"}), ("hear", {}),
        ("clear", {"reason": "done"}),
    ):  # fmt: skip
        await refused_below(people, Role.OPERATOR, f"/acts/alerts/{act}", {"alert_id": high} | more)
    await twice(people.operator, "/acts/alerts/acknowledge", {"alert_id": high})
    await twice(people.operator, "/acts/alerts/silence", {"alert_id": high, "span": "1h", "reason": "known"})
    long = {"alert_id": high, "span": "25h", "reason": "known"}
    assert (await people.admin.post("/acts/alerts/silence", long)).status_code == WRONG, "24 h at most"
    quiet = {"alert_id": critical, "span": "1h", "reason": "known"}
    for browser in (people.operator, people.risk):
        assert (await browser.post("/acts/alerts/silence", quiet)).status_code == REFUSED, "critical"
    assert (await people.admin.post("/acts/alerts/silence", quiet)).status_code == SEE_OTHER
    found = {each.alert_id: each for each in await state(people, list_alerts)}
    assert (found[high].acknowledged_by, found[high].silenced_by) == ("operator", "operator")
    assert (found[critical].acknowledged_by, found[critical].silenced_by) == (None, "admin")
    await twice(people.operator, "/acts/alerts/hear", {"alert_id": high})
    by_itself = await people.operator.post("/acts/alerts/clear", {"alert_id": critical, "reason": "done"})
    assert by_itself.status_code == REFUSED
    await twice(people.operator, "/acts/alerts/clear", {"alert_id": high, "reason": "looked up"})
    for wrong in ("x", "LATE_TRUTH:", "LATE_TRUTH:nobody"):
        answer = await people.operator.post("/acts/alerts/acknowledge", {"alert_id": wrong})
        assert answer.status_code in (REFUSED, WRONG), wrong
    assert await people.told(
        "ALERT_ACKNOWLEDGED", "ALERT_SILENCED", "ALERT_SILENCE_CUT", "ALERT_CLEARED"
    ) == [
        ("ALERT_ACKNOWLEDGED", "operator"), ("ALERT_SILENCED", "operator"), ("ALERT_SILENCED", "admin"),
        ("ALERT_SILENCE_CUT", "operator"), ("ALERT_CLEARED", "operator"),
    ]  # fmt: skip
    assert "Silenced by admin" in (await people.operator.get("/acts/alerts")).text


async def limit(people: Staff) -> str:
    now = datetime.now(UTC)
    return str((await state(people, current_limits, now)).limits.max_order_notional)


async def limits_form(people: Staff, value: str, **more: str) -> dict[str, str]:
    """The form as it stands, with another greatest order."""
    page = (await people.risk.get("/acts/limits")).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)"[^>]* value="([^"]*)">', page))
    fields = dict(re.findall(r'name="(limit\.\w+)" value="([^"]*)"', page))
    return {**hidden, **fields, "limit.max_order_notional": value, "reason": "a busy day", **more}


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


async def test_nothing_is_done_for_another_site(people: Staff) -> None:
    for path, data in (
        ("/acts/kill", {}),
        ("/acts/locks", {"ticker": "AAPL", "reason": "x", "lock_id": str(uuid4())}),
        ("/acts/strategies/disable", {"strategy": "momentum", "reason": "x"}),
        ("/acts/limits", await limits_form(people, "1")),
    ):
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "", "Origin": "http://evil.test"},
        ):
            answer = await people.admin.post(path, data, headers=headers)
            assert (answer.status_code, answer.headers.get(CODE) or answer.json()["error"]["code"]) == (
                FORBIDDEN, "CROSS_SITE",
            ), path  # fmt: skip
    assert not (await state(people, read_state)).engaged
    assert await people.told("KILL_ENGAGED", "SYMBOL_LOCKED", "STRATEGY_DISABLED", "LIMITS_LOWERED") == []


async def test_every_page_of_an_act_is_shown_to_who_may(people: Staff) -> None:
    await raise_one(people, AlertCode.LATE_TRUTH, Severity.HIGH)
    for path, least in (
        ("/acts", Role.OPERATOR), ("/acts/kill", Role.OPERATOR), ("/acts/kill/progress", Role.VIEWER),
        ("/acts/release", Role.ADMIN), ("/acts/locks", Role.VIEWER), ("/acts/close", Role.RISK),
        ("/acts/limits", Role.VIEWER), ("/acts/limits?scope=strategy&name=momentum", Role.VIEWER),
        ("/acts/approvals", Role.VIEWER), ("/acts/strategies", Role.VIEWER), ("/acts/alerts", Role.OPERATOR),
        ("/acts/reconcile", Role.OPERATOR), ("/acts/tickers/AAPL/cancel", Role.OPERATOR),
    ):  # fmt: skip
        for role in Role:
            answer = await people.of(role).get(path)
            assert answer.status_code == (200 if role.covers(least) else FORBIDDEN), (path, role)


async def test_the_newest_of_the_audit_log_is_checked_now_and_a_change_is_found(
    people: Staff, tmp_path: Path
) -> None:
    assert (await people.operator.post("/acts/audit")).status_code == REFUSED, (
        "not told where checkpoints are"
    )
    deps = people.web.deps
    people.web.app.state.deps = replace(deps, outside=Folder(tmp_path))
    assert "no key lies beside" in (await people.operator.post("/acts/audit")).text
    await trades.seal(deps.dsn, tmp_path)
    assert (await people.viewer.post("/acts/audit")).headers[CODE] == "ROLE_TOO_LOW"
    assert "It is what was sealed" in (await people.operator.post("/acts/audit")).text
    async with people.web.owner.transaction("test") as connection:
        await connection.execute("alter table audit_payloads disable trigger all")
        await connection.execute(
            'update audit_payloads set payload = \'{"detail":"forged"}\''
            " where audit_id = (select min(audit_id) from audit_payloads)"
        )
    found = (await people.operator.post("/acts/audit")).text
    assert "NOT AS IT WAS SEALED" in found
    people.web.app.state.deps = deps
