"""Messages about alerts: queued with the alert, sent once, tried again, given up, and never told twice by two."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr

from observability.logging import configure_logging, restore_logging
from observability.metrics import Metrics
from schemas.alerts import Alert, AlertCode, Channel, Delivery, DeliveryState, Severity
from storage import deliveries as rows
from storage.alerts import clear_alert, raise_alert
from storage.database import Database
from storage.grants import Role
from storage.statements import load
from storage.switches import Installation
from workers import alert_channels
from workers.alert_channels import PagerDuty, Slack, configured
from workers.alert_messages import DEDUP_KEY_MAX, SUMMARY_MAX, dedup_key
from workers.alert_post import CLAIM_LEASE, TRIES_MAX, AlertPost
from workers.chaos.receivers import PAGERDUTY_PATH, ROUTING_KEY, SLACK_PATH, Answer, Receiver
from workers.settings import AlertSettings

START = datetime(2026, 11, 26, 15, tzinfo=UTC)
INSTALLATION = UUID("5f0c0f43-6f0b-4a57-8f2e-0d8f0e2c9a11")
ALL = tuple(Severity)
PAGED = (Severity.CRITICAL, Severity.HIGH)


def alert(subject: str = "AAPL", severity: Severity = Severity.CRITICAL, text: str = "no stop") -> Alert:
    return Alert(
        code=AlertCode.UNPROTECTED, severity=severity, subject=subject, text=text, correlation_id="sig-1"
    )


@dataclass
class Desk:
    """A database, both channels at one receiver, and a clock that is moved by hand."""

    database: Database
    receiver: Receiver
    now: datetime = START
    metrics: Metrics = field(default_factory=Metrics)

    def post(self, *, slack: bool = True, pagerduty: bool = True) -> AlertPost:
        """As one process has it."""
        url = self.receiver.url
        channels: list[Slack | PagerDuty] = []
        if slack:
            channels.append(Slack(SecretStr(url + SLACK_PATH), ALL, "here"))
        if pagerduty:
            channels.append(self.pagerduty)
        return AlertPost(self.database, channels, self.metrics, now=lambda: self.now)

    @property
    def pagerduty(self) -> PagerDuty:
        key = SecretStr(ROUTING_KEY)
        return PagerDuty(self.receiver.url + PAGERDUTY_PATH, key, PAGED, "here", INSTALLATION)

    async def raised(self, told: Alert) -> None:
        async with self.database.transaction("test") as connection:
            await raise_alert(connection, told, component="Test", now=self.now)

    async def cleared(self, told: Alert) -> None:
        async with self.database.transaction("test") as connection:
            await clear_alert(connection, told.code, told.subject, component="Test", now=self.now)

    async def all(self) -> list[Delivery]:
        async with self.database.connection() as connection:
            return sorted(
                await rows.list_deliveries(connection, everything=True), key=lambda d: d.delivery_id
            )

    async def states(self) -> list[tuple[str, str, str, int]]:
        return [(d.channel.value, d.change.value, d.state.value, d.tries) for d in await self.all()]


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    opened = await Database.connect(database)
    receiver = Receiver()
    async with receiver.up():
        yield Desk(opened, receiver)
    await opened.close()


async def deliver(*posts: AlertPost) -> None:
    await asyncio.gather(*(courier.deliver() for post in posts for courier in post.couriers))


async def test_each_channel_is_told_once_of_the_beginning_what_is_worse_and_the_end(desk: Desk) -> None:
    """Of the end only who was told of the beginning; repeated raising is no news; two processes send no more."""
    one, two = desk.post(), desk.post()
    for post in (one, two):
        await post.keep()
    loud, quiet = alert(), alert("MSFT", Severity.MEDIUM, "look <!channel> & see")
    for _ in range(3):
        await desk.raised(loud)
        await desk.raised(quiet)
    await deliver(one, two, one)
    key = dedup_key("UNPROTECTED:AAPL", INSTALLATION)
    assert desk.receiver.incidents == {key: "trigger"}
    assert len(desk.receiver.slack) == 2
    for told in (quiet.model_copy(update={"severity": Severity.HIGH}), loud):
        await desk.raised(told)
    await deliver(one, two)
    assert [each["text"].partition(" ")[0] for each in desk.receiver.slack] == ["CRITICAL", "MEDIUM", "NOW"]
    for told in (quiet, loud):
        await desk.cleared(told)
        await desk.cleared(told)
    await deliver(two, one)
    assert set(desk.receiver.incidents.values()) == {"resolve"}
    assert len(desk.receiver.incidents) == 2
    assert len(desk.receiver.slack) == 5
    assert {state for *_, state, _ in await desk.states()} == {"sent"}
    await desk.raised(loud)
    await deliver(one)
    assert desk.receiver.incidents[key] == "trigger", "raised anew, told anew"


async def test_a_message_says_what_is_wrong_and_nothing_of_ours_is_markup(desk: Desk) -> None:
    post = desk.post()
    await post.keep()
    await desk.raised(alert("x" * 300, text=f"look <!channel> & see {'y' * 9000}"))
    await deliver(post)
    [slack], [event] = desk.receiver.slack, desk.receiver.pagerduty
    told = str(slack)
    assert "<" not in told
    assert "&lt;!channel&gt; &amp; see" in told
    for fact in ("CRITICAL", "UNPROTECTED", "sig-1", "RUNBOOK.md", START.isoformat(timespec="seconds")):
        assert fact in told
    assert all(len(block["text"]["text"]) <= 3000 for block in slack["blocks"])
    assert event["routing_key"] == ROUTING_KEY
    assert len(event["dedup_key"]) <= DEDUP_KEY_MAX
    payload = event["payload"]
    assert len(payload["summary"]) <= SUMMARY_MAX
    assert (payload["severity"], payload["source"], payload["timestamp"]) == (
        "critical",
        "here",
        START.isoformat(),
    )
    assert payload["custom_details"]["correlation_id"] == "sig-1"


async def test_a_receiver_that_fails_is_asked_again_later_and_later_until_it_takes_it(desk: Desk) -> None:
    """How: 500, a dropped connection's kin 503, 429 with its wish, 408; the clock is moved by hand."""
    post = desk.post(pagerduty=False)
    await post.keep()
    await desk.raised(alert())
    wish = {"Retry-After": "120"}
    desk.receiver.answers.extend([Answer(500), Answer(503), Answer(429, wish), Answer(408)])
    waited = []
    for tries in range(1, 5):
        await deliver(post)
        await deliver(post)
        [message] = await desk.all()
        assert (message.state, message.tries, desk.receiver.asked) == (DeliveryState.DUE, tries, tries)
        assert message.next_try_at is not None
        waited.append((message.next_try_at - desk.now).total_seconds())
        desk.now = message.next_try_at
    assert waited == [1, 2, 120, 8]
    assert desk.receiver.slack == []
    await deliver(post)
    assert await desk.states() == [("slack", "raised", "sent", 5)]
    assert len(desk.receiver.slack) == 1


async def test_while_a_channel_has_too_many_nothing_else_is_sent_there(desk: Desk) -> None:
    post = desk.post()
    await post.keep()
    await desk.raised(alert("first"))
    desk.receiver.always = Answer(429, {"Retry-After": "30"})
    await deliver(post)
    desk.receiver.always = None
    await desk.raised(alert("second"))
    await deliver(post)
    assert desk.receiver.told == []
    desk.now += timedelta(seconds=30)
    await deliver(post)
    assert len(desk.receiver.told) == 4


async def test_what_nobody_takes_is_given_up_and_a_person_has_it_sent_again(desk: Desk) -> None:
    """Refused: at once. Down: after the last try. The address, a secret, stands in no row."""
    post = desk.post()
    await post.keep()
    await desk.raised(alert())
    desk.receiver.always = Answer(400, body=f"no such {ROUTING_KEY} {SLACK_PATH}".encode())
    await deliver(post)
    assert [(state, tries) for *_, state, tries in await desk.states()] == [("dead", 1), ("dead", 1)]
    for each in await desk.all():
        secret = SLACK_PATH if each.channel is Channel.SLACK else ROUTING_KEY
        assert "[redacted]" in (each.last_error or "")
        assert secret not in (each.last_error or "")
    desk.receiver.always = Answer(302, {"Location": desk.receiver.url + PAGERDUTY_PATH})
    await desk.raised(alert("MSFT"))
    await deliver(post)
    assert desk.receiver.told == []
    assert [state for *_, state, _ in await desk.states()] == ["dead"] * 4, "no redirect is followed"
    desk.receiver.always = Answer(500)
    await desk.raised(alert("IBM"))
    for _ in range(TRIES_MAX + 3):
        await deliver(post)
        desk.now += timedelta(minutes=6)
    assert [(state, tries) for *_, state, tries in (await desk.states())[-2:]] == [("dead", TRIES_MAX)] * 2
    desk.receiver.always = None
    await deliver(post)
    await post.keep()
    assert desk.receiver.told == []
    assert b"alert_deliveries_dead 6.0" in desk.metrics.render()
    async with desk.database.transaction("test") as connection:
        for each in await rows.list_deliveries(connection):
            assert await rows.resend(connection, each.delivery_id, component="T", actor="me", now=desk.now)
            assert not await rows.resend(
                connection, each.delivery_id, component="T", actor="me", now=desk.now
            )
    await deliver(post)
    assert len(desk.receiver.slack) == len(desk.receiver.incidents) == 3
    assert {state for *_, state, _ in await desk.states()} == {"sent"}


async def test_no_incident_is_opened_for_what_is_over(desk: Desk) -> None:
    post = desk.post(slack=False)
    await post.keep()
    await desk.raised(alert())
    desk.receiver.always = Answer(400)
    await deliver(post)
    desk.receiver.always = None
    await desk.cleared(alert())
    [first, _] = await desk.all()
    async with desk.database.transaction("test") as connection:
        assert (
            await rows.resend(connection, first.delivery_id, component="T", actor="me", now=desk.now) is None
        )
    await deliver(post)
    assert [each["event_action"] for each in desk.receiver.pagerduty] == ["resolve"]


async def test_the_end_waits_for_the_beginning(desk: Desk) -> None:
    """A receiver that was down at the raise, and through the clear, hears both and in their order."""
    post = desk.post()
    await post.keep()
    desk.receiver.always = Answer(500)
    await desk.raised(alert())
    await deliver(post)
    await desk.cleared(alert())
    desk.receiver.always = None
    await deliver(post)
    assert desk.receiver.told == []
    desk.now += timedelta(seconds=1)
    await deliver(post)
    assert [each["event_action"] for each in desk.receiver.pagerduty] == ["trigger", "resolve"]
    assert ["OVER" in each["text"] for each in desk.receiver.slack] == [False, True]


async def test_who_dies_between_claim_and_end_leaves_it_to_the_next(desk: Desk) -> None:
    """Before the receiver has it, or after: then Slack is told twice and PagerDuty has one incident."""
    victim, other = desk.post(), desk.post()
    await victim.keep()
    await desk.raised(alert())
    desk.receiver.always = Answer(200, hangs=True, taken=True)
    sending = asyncio.create_task(deliver(victim))
    await desk.receiver.until(lambda: len(desk.receiver.told) == 2)
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    desk.receiver.always = None
    await deliver(other)
    assert len(desk.receiver.told) == 2, "it is the dead one's for a while"
    desk.now += CLAIM_LEASE
    await deliver(other)
    assert len(desk.receiver.slack) == 2
    assert len(desk.receiver.pagerduty) == 2
    assert len(desk.receiver.incidents) == 1
    assert {(state, tries) for *_, state, tries in await desk.states()} == {("sent", 2)}


async def test_a_receiver_that_hangs_or_is_not_there_is_no_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_channels, "READ_SECONDS", 0.1)
    post = desk.post(pagerduty=False)
    await post.keep()
    await desk.raised(alert())
    desk.receiver.answers.append(Answer(200, hangs=True))
    await deliver(post)
    [message] = await desk.all()
    assert (message.state, message.tries) == (DeliveryState.DUE, 1)
    nowhere = Slack(SecretStr(f"http://127.0.0.1:1{SLACK_PATH}"), ALL, "here")
    gone = AlertPost(desk.database, [nowhere], desk.metrics, now=lambda: desk.now)
    desk.now += timedelta(seconds=1)
    await deliver(gone)
    [message] = await desk.all()
    assert (message.state, message.tries) == (DeliveryState.DUE, 2)
    assert "ConnectError" in (message.last_error or "")
    desk.now += timedelta(seconds=2)
    await deliver(post)
    assert len(desk.receiver.slack) == 1


async def test_a_channel_is_told_from_when_it_is_configured_until_it_is_not(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.raised(alert())
    nothing = desk.post(slack=False, pagerduty=False)
    with caplog.at_level(logging.WARNING):
        await nothing.keep()
        await nothing.keep()
    assert caplog.text.count("alerts are told in rows only") == 1
    assert await desk.states() == []
    both = desk.post()
    await both.keep()
    await both.keep()
    assert await desk.states() == [("slack", "raised", "due", 0), ("pagerduty", "raised", "due", 0)]
    await desk.post(slack=False).keep()
    assert (await desk.all())[0].last_error == rows.NOT_CONFIGURED
    await deliver(both)
    assert (len(desk.receiver.slack), len(desk.receiver.pagerduty)) == (0, 1)
    async with desk.database.connection() as connection:
        assert await rows.read_channels(connection) == {Channel.PAGERDUTY: ("critical", "high")}


async def test_whoever_may_write_an_alert_has_it_told_and_waits_for_no_other(desk: Desk) -> None:
    """How: every role that raises alerts, while another session holds the channels and every message there is."""
    post = desk.post()
    await post.keep()
    await desk.raised(alert("held"))
    async with desk.database.transaction("test") as holder:
        await holder.fetch("select from alert_channels for update")
        assert len(await holder.fetch("select from alert_deliveries for update")) == 2
        for role in (Role.RISK, Role.EXECUTION, Role.OPERATIONS, Role.CONSOLE):
            async with asyncio.timeout(5), desk.database.transaction("test") as connection:
                await connection.execute(f"set local role {role}")
                await raise_alert(connection, alert(role.short), component="Test", now=desk.now)
                held = alert("held")
                await clear_alert(connection, held.code, held.subject, component="Test", now=desk.now)
                await raise_alert(connection, held, component="Test", now=desk.now)
    await deliver(post)
    assert len(desk.receiver.slack) == len(desk.receiver.pagerduty) == 4 + 1 + 2 * 4


async def test_whatever_an_answer_holds_what_was_taken_is_not_sent_again(desk: Desk) -> None:
    post = desk.post(pagerduty=False)
    await post.keep()
    await desk.raised(alert())
    desk.receiver.answers.append(Answer(200, body=b"o\0k", taken=True))
    await deliver(post)
    desk.now += CLAIM_LEASE
    await deliver(post)
    assert await desk.states() == [("slack", "raised", "sent", 1)]
    assert len(desk.receiver.slack) == 1


async def test_counting_what_waits_reads_nothing_that_was_sent(desk: Desk) -> None:
    async with desk.database.transaction("test") as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = await connection.fetch(f"explain {load('deliveries')['count_unsent']}")
    assert "Seq Scan" not in "".join(row[0] for row in plan)


async def test_no_secret_of_a_channel_comes_into_the_log(desk: Desk) -> None:
    """How: everything that any library says while both are told, taken and refused, at the level DEBUG."""
    settings = AlertSettings(
        alert_slack_url=SecretStr(desk.receiver.url + SLACK_PATH),
        alert_pagerduty_routing_key=SecretStr(ROUTING_KEY),
        alert_pagerduty_url=desk.receiver.url + PAGERDUTY_PATH,
        alert_pagerduty_from="critical",
    )
    bound = Installation(namespace=INSTALLATION, account="PA0000000001", mode="paper")
    channels = configured(settings, bound)
    assert [each.severities for each in channels] == [ALL, (Severity.CRITICAL,)]
    log = io.StringIO()
    configure_logging("test", level="DEBUG", json=True, stream=log)
    try:
        post = AlertPost(desk.database, channels, desk.metrics, now=lambda: desk.now)
        await post.keep()
        await desk.raised(alert())
        desk.receiver.answers.extend([Answer(500), Answer(403, body=f"{SLACK_PATH} {ROUTING_KEY}".encode())])
        await deliver(post)
        desk.now += timedelta(seconds=1)
        await deliver(post)
    finally:
        restore_logging()
    text = log.getvalue()
    assert "alert told" in text
    assert "HTTP Request" in text, "the client itself tells of each request"
    for secret in (SLACK_PATH, ROUTING_KEY):
        assert secret not in text
        assert secret not in repr(channels)
