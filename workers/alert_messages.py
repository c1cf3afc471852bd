"""What Slack and PagerDuty are told of an alert, in the form that each takes.

Slack: an incoming webhook (`text` for notifications, `blocks` for the channel). PagerDuty: Events API v2.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from schemas.alerts import Change, Delivery, Severity

SLACK_SECTION_MAX: Final = 3000
"""Characters of one text in a block; a longer one is refused as a whole."""
SLACK_TEXT_MAX: Final = 2800
SUMMARY_MAX: Final = 1024
"""Characters of PagerDuty's summary."""
DEDUP_KEY_MAX: Final = 255
DETAIL_MAX: Final = 8000
"""Characters; an event may have 512 KB."""
RUNBOOK: Final = "docs/RUNBOOK.md#alerts"

_PAGERDUTY_SEVERITY: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
}
_SIGNS: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def slack_message(delivery: Delivery, *, source: str) -> dict[str, Any]:
    """The JSON for an incoming webhook. Text of ours cannot mention anybody or become a link."""
    head = f"{_word(delivery)} · {delivery.code.value}"
    what = _escaped(_cut(delivery.text, SLACK_TEXT_MAX))
    facts = (
        ("about", delivery.subject),
        ("since", delivery.raised_at.isoformat(timespec="seconds")),
        *([("over at", delivery.changed_at.isoformat(timespec="seconds"))] if _is_over(delivery) else []),
        ("correlation id", delivery.correlation_id),
        ("what to do", f"{RUNBOOK}, row {delivery.code.value}"),
        ("from", source),
    )
    told = "\n".join(f"*{name}:* {_escaped(_cut(text, DEDUP_KEY_MAX))}" for name, text in facts)
    return {
        "text": f"{head}: {what}",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{head}*\n{what}"[:SLACK_SECTION_MAX]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": told[:SLACK_SECTION_MAX]}},
        ],
    }


def pagerduty_event(
    delivery: Delivery, *, routing_key: str, source: str, installation: UUID
) -> dict[str, Any]:
    """The JSON for ``/v2/enqueue``: with the same ``dedup_key`` it opens, or closes, one incident."""
    event = {"routing_key": routing_key, "dedup_key": dedup_key(delivery.alert_id, installation)}
    if _is_over(delivery):
        return event | {"event_action": "resolve"}
    return event | {
        "event_action": "trigger",
        "payload": {
            "summary": _cut(f"{delivery.code.value} {delivery.subject}: {delivery.text}", SUMMARY_MAX),
            "source": source,
            "severity": _PAGERDUTY_SEVERITY[delivery.severity],
            "timestamp": delivery.changed_at.isoformat(),
            "component": "trading-interface",
            "class": delivery.code.value,
            "custom_details": {
                "text": _cut(delivery.text, DETAIL_MAX),
                "subject": delivery.subject,
                "since": delivery.raised_at.isoformat(),
                "correlation_id": delivery.correlation_id,
                "runbook": f"{RUNBOOK}, row {delivery.code.value}",
            },
        },
    }


def dedup_key(alert_id: str, installation: UUID) -> str:
    """One incident for one alert of one installation: another's on the same service is not closed with it."""
    key = f"{installation}/{alert_id}"
    if len(key) <= DEDUP_KEY_MAX:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: DEDUP_KEY_MAX - len(digest) - 1]}#{digest}"


def _is_over(delivery: Delivery) -> bool:
    return delivery.change is Change.CLEARED


def _word(delivery: Delivery) -> str:
    match delivery.change:
        case Change.CLEARED:
            return f"OVER (was {delivery.severity.value})"
        case Change.WORSE:
            return f"NOW {delivery.severity.value.upper()}"
        case _:
            return delivery.severity.value.upper()


def _escaped(text: str) -> str:
    """As Slack asks for: three characters, and nothing of ours is markup."""
    return "".join(_SIGNS.get(each, each) for each in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
