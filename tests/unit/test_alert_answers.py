"""When a receiver wants to be asked again, in both forms of its header, and when it is."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from schemas.alerts import Alert, AlertCode, Change, Channel, Delivery, DeliveryState, Severity
from workers.alert_channels import Outcome, _retry_after
from workers.alert_post import PAUSE_MAX_SECONDS, TRIES_MAX, _next_try

NOW = datetime(2026, 11, 26, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("", 0), ("30", 30), (" 7 ", 7), ("-1", 0), ("soon", 0), ("1.5", 0), ("²", 0)],
)
def test_seconds(header: str | None, seconds: int) -> None:
    assert _retry_after(header) == seconds


def test_a_time() -> None:
    ahead = _retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert 3500 < ahead <= 3600
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def message(tries: int) -> Delivery:
    about = Alert(
        code=AlertCode.LATE_TRUTH, severity=Severity.HIGH, subject="s", text="t", correlation_id="c"
    ).model_dump()  # fmt: skip
    return Delivery(
        **about, delivery_id=1, channel=Channel.SLACK, change=Change.RAISED, raised_at=NOW, changed_at=NOW,
        state=DeliveryState.DUE, tries=tries,
    )  # fmt: skip


def test_pauses_double_up_to_five_minutes_and_last_for_about_an_hour() -> None:
    failed = Outcome(taken=False, told="500", again=True)
    pauses = []
    for tries in range(1, TRIES_MAX):
        at = _next_try(message(tries), failed, NOW)
        assert at is not None
        pauses.append((at - NOW).total_seconds())
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == PAUSE_MAX_SECONDS
    assert 45 * 60 < sum(pauses) < 75 * 60
    assert _next_try(message(TRIES_MAX), failed, NOW) is None
    assert _next_try(message(1), Outcome(taken=False, told="400"), NOW) is None
    wished = Outcome(taken=False, told="429", again=True, wait_seconds=600)
    assert _next_try(message(1), wished, NOW) == NOW + timedelta(minutes=10)
