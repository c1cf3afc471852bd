"""Silences: nobody is told meanwhile, what lasts is told at the end, and what has become critical at once."""

from datetime import timedelta

from schemas.alerts import Channel, Severity
from storage.alerts import cut_silence, list_alerts, lock_alert, silence_alert
from storage.deliveries import claim
from tests.postgres.test_alert_deliveries import Desk, alert, deliver
from tests.postgres.test_alert_deliveries import desk as _desk
from workers.alert_post import AT_ONCE_MAX, CLAIM_LEASE

desk = _desk
HOUR = timedelta(hours=1)


async def silence(desk: Desk, alert_id: str, span: timedelta = HOUR) -> None:
    async with desk.database.transaction("test") as connection:
        await lock_alert(connection, alert_id)
        await silence_alert(
            connection,
            alert_id,
            until=desk.now + span,
            name="ana",
            reason="known",
            component="Test",
            now=desk.now,
        )


async def told(desk: Desk) -> list[str]:
    return [each["text"].partition(" ")[0] for each in desk.receiver.slack]


async def test_nobody_is_told_in_a_silence_and_what_lasts_is_told_when_it_is_over(desk: Desk) -> None:
    post, high = desk.post(pagerduty=False), alert(severity=Severity.HIGH)
    await post.keep()
    await desk.raised(high)
    await silence(desk, high.alert_id)
    await deliver(post)
    assert await told(desk) == [], "what waited to be told is dropped"
    await desk.cleared(high)
    desk.now += timedelta(minutes=1)
    await desk.raised(high)
    await post.keep()
    await deliver(post)
    assert await told(desk) == []
    async with desk.database.connection() as connection:
        [shown] = await list_alerts(connection)
    assert (shown.silenced_by, shown.silence_reason) == ("ana", "known"), "it is shown all the same"
    desk.now += HOUR
    for _ in range(2):
        await post.keep()
        await deliver(post)
    assert await told(desk) == ["HIGH"], "once"
    async with desk.database.connection() as connection:
        [shown] = await list_alerts(connection)
    assert shown.silenced_until is None
    await desk.cleared(high)
    await deliver(post)
    assert len(desk.receiver.slack) == 2, "and its end"


async def test_an_end_is_told_to_who_was_told_of_the_beginning_also_in_a_silence(desk: Desk) -> None:
    post, high = desk.post(), alert(severity=Severity.HIGH)
    await post.keep()
    await desk.raised(high)
    await deliver(post)
    await silence(desk, high.alert_id)
    await desk.cleared(high)
    await deliver(post)
    assert set(desk.receiver.incidents.values()) == {"resolve"}


async def test_a_silence_leaves_what_is_on_its_way_so_that_its_end_is_told(desk: Desk) -> None:
    """The receiver has taken it, and whoever sent it died before that was noted."""
    post, high = desk.post(slack=False), alert(severity=Severity.HIGH)
    await post.keep()
    await desk.raised(high)
    async with desk.database.transaction("test") as connection:
        [sent] = await claim(
            connection, Channel.PAGERDUTY, now=desk.now, until=desk.now + CLAIM_LEASE, limit=AT_ONCE_MAX
        )
    [courier] = post.couriers
    assert (await desk.pagerduty.send(sent)).taken
    await silence(desk, high.alert_id)
    await desk.cleared(high)
    await courier.deliver()
    assert set(desk.receiver.incidents.values()) == {"trigger"}, "it may still be sending"
    desk.now += CLAIM_LEASE
    await courier.deliver()
    assert set(desk.receiver.incidents.values()) == {"resolve"}
    assert [each["event_action"] for each in desk.receiver.pagerduty] == ["trigger", "trigger", "resolve"]


async def test_what_becomes_critical_is_told_whatever_was_silenced_before(desk: Desk) -> None:
    post, high = desk.post(pagerduty=False), alert(severity=Severity.HIGH)
    await post.keep()
    await desk.raised(high)
    await silence(desk, high.alert_id)
    await desk.raised(alert(severity=Severity.CRITICAL))
    await deliver(post)
    assert await told(desk) == ["NOW"]


async def test_a_person_cuts_a_silence_short_and_one_that_was_made_longer_goes_on(desk: Desk) -> None:
    post, high = desk.post(pagerduty=False), alert(severity=Severity.HIGH)
    await post.keep()
    await desk.raised(high)
    await silence(desk, high.alert_id)
    desk.now += timedelta(minutes=59)
    await silence(desk, high.alert_id)
    desk.now += timedelta(minutes=2)
    await post.keep()
    await deliver(post)
    assert await told(desk) == []
    async with desk.database.transaction("test") as connection:
        assert await cut_silence(connection, high.alert_id, name="ben", component="Test", now=desk.now)
        assert not await cut_silence(connection, high.alert_id, name="ben", component="Test", now=desk.now)
    await post.keep()
    await deliver(post)
    assert await told(desk) == ["HIGH"]
