"""Each topic has a payload, and the specification's payloads are read with every field they show."""

import json

import pytest

from schemas.events import PAYLOADS, Event
from schemas.wire import Topic

SPECIFIED = {
    Topic.RISK_APPROVED: """{
        "event_id": "evt_88192a", "timestamp": "2026-02-25T14:31:00Z", "signal_id": "sig_112",
        "ticker": "MSFT", "action": "BUY", "approved_quantity": "15", "approved_limit_price": "415.5",
        "hard_stop_loss": "395",
        "risk_metrics": {"account_exposure_pct": "5.8", "strategy": "swing_momentum"}}""",
    Topic.EXECUTION_FILL: """{
        "event_id": "evt_99211b", "timestamp": "2026-02-25T14:31:05Z", "internal_order_id": "ord_551",
        "broker_order_id": "brk_xyz123", "ticker": "MSFT", "fill_price": "415.48", "filled_quantity": "15",
        "status": "FILLED"}""",
    Topic.KILLSWITCH_ACTIVATED: """{
        "timestamp": "2026-02-25T15:00:00Z", "reason": "MAX_DAILY_DRAWDOWN_EXCEEDED",
        "triggered_by": "DriftMonitorAgent", "action_taken": "ALL_OPEN_ORDERS_CANCELED"}""",
}
"""Section E, with money as the strings that it is here."""

FIRST_SIX = (
    Topic.SIGNAL_CREATED, Topic.RISK_APPROVED, Topic.RISK_REJECTED, Topic.EXECUTION_SUBMITTED,
    Topic.EXECUTION_FILL, Topic.KILLSWITCH_ACTIVATED,
)  # fmt: skip


@pytest.mark.parametrize("topic", list(SPECIFIED))
def test_a_specified_payload_comes_back_as_it_was(topic: Topic) -> None:
    told = json.loads(PAYLOADS[topic].model_validate_json(SPECIFIED[topic]).model_dump_json())
    assert json.loads(SPECIFIED[topic]).items() <= told.items()


@pytest.mark.parametrize("topic", FIRST_SIX)
def test_a_specified_topic_says_when_and_of_what(topic: Topic) -> None:
    payload = PAYLOADS[topic]
    assert issubclass(payload, Event)
    of_what = {"signal_id", "internal_order_id", "triggered_by"}
    assert of_what & {name for name, field in payload.model_fields.items() if field.is_required()}


def test_what_is_trading_names_its_signal() -> None:
    """By it a reader's strategy is known: an event without would be shown to unbound tokens only."""
    for topic, payload in PAYLOADS.items():
        assert topic.startswith("system.") or "signal_id" in payload.model_fields, topic
