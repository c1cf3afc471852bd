"""How long from the commit of an alert until Slack and PagerDuty have it, in the whole product while it trades."""

import asyncio
import statistics
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import raise_alert
from tests.servers.stack import StackFactory, signal
from workers.chaos.receivers import PAGERDUTY_PATH, ROUTING_KEY, SLACK_PATH, Receiver

ALERTS = 100
PAUSE_SECONDS = 0.37
"""No multiple of the sender's own pause, so that alerts come at every moment of it."""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_from_raised_to_received(stack_factory: StackFactory, unique: Any) -> None:
    """Printed, not asserted: a machine has other load. How: an alert each 0.37 s, an order with every tenth."""
    receiver = Receiver()
    raised: dict[str, float] = {}
    async with receiver.up():
        ours = {
            "alert_slack_url": receiver.url + SLACK_PATH,
            "alert_pagerduty_routing_key": ROUTING_KEY,
            "alert_pagerduty_url": receiver.url + PAGERDUTY_PATH,
        }
        stack = await stack_factory(ours=ours)
        for number in range(ALERTS):
            subject = f"ti-{number:04d}"
            told = Alert(
                code=AlertCode.LATE_TRUTH, severity=Severity.HIGH, subject=subject, text="a measurement",
                correlation_id=subject,
            )  # fmt: skip
            async with stack.parts.database.transaction("test") as connection:
                await raise_alert(connection, told, component="test", now=datetime.now(UTC))
            raised[subject] = time.monotonic()
            if number % 10 == 0:
                await stack.submit(signal(unique("load"), quantity="1"))
            await asyncio.sleep(PAUSE_SECONDS)
        await receiver.until(lambda: len(receiver.told) >= 2 * ALERTS)
    for path, name in ((SLACK_PATH, "slack"), (PAGERDUTY_PATH, "pagerduty")):
        times = sorted(
            each.at - next(at for subject, at in raised.items() if subject in str(each.body))
            for each in receiver.told
            if each.path == path
        )
        assert len(times) == ALERTS, "each once"
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"\n{name}: {ALERTS} alerts, median {statistics.median(times):.3f} s, p99 {p99:.3f} s, "
              f"max {times[-1]:.3f} s")  # fmt: skip
