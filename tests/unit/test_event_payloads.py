"""Each topic has a payload, and the specification's payloads are read with every field they show."""

import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from schemas.event_documents import topic_schema
from schemas.events import PAYLOADS, Event, ExecutionStatus, read_payload
from schemas.wire import Topic

SPECIFIED = {
    Topic.RISK_APPROVED: """{
        "event_id": "evt_88192a", "timestamp": "2026-02-25T14:31:00Z", "signal_id": "sig_112",
        "ticker": "MSFT", "action": "BUY", "approved_quantity": 15, "approved_limit_price": 415.50,
        "hard_stop_loss": 395.00,
        "risk_metrics": {"account_exposure_pct": 5.8, "strategy": "swing_momentum"}}""",
    Topic.EXECUTION_FILL: """{
        "event_id": "evt_99211b", "timestamp": "2026-02-25T14:31:05Z", "internal_order_id": "ord_551",
        "broker_order_id": "brk_xyz123", "ticker": "MSFT", "fill_price": 415.48, "filled_quantity": 15,
        "status": "FILLED"}""",
    Topic.KILLSWITCH_ACTIVATED: """{
        "timestamp": "2026-02-25T15:00:00Z", "reason": "MAX_DAILY_DRAWDOWN_EXCEEDED",
        "triggered_by": "DriftMonitorAgent", "action_taken": "ALL_OPEN_ORDERS_CANCELED"}""",
}
"""Section E, letter by letter: its money is JSON numbers."""

FIRST_SIX = (
    Topic.SIGNAL_CREATED, Topic.RISK_APPROVED, Topic.RISK_REJECTED, Topic.EXECUTION_SUBMITTED,
    Topic.EXECUTION_FILL, Topic.KILLSWITCH_ACTIVATED,
)  # fmt: skip


def as_published(value: Any) -> Any:
    """The specification's numbers as the strings that they are here."""
    if isinstance(value, dict):
        return {name: as_published(each) for name, each in value.items()}
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value


@pytest.mark.parametrize("topic", list(SPECIFIED))
def test_a_specified_payload_is_read_as_it_was_and_published_by_its_schema(topic: Topic) -> None:
    told = json.loads(read_payload(topic, SPECIFIED[topic]).model_dump_json())
    specified = as_published(json.loads(SPECIFIED[topic], parse_float=Decimal, parse_int=Decimal))
    assert specified.items() <= told.items()
    schema = jsonschema.Draft202012Validator(topic_schema(topic))
    schema.validate(told)
    schema.validate(specified)
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(told | {"timestamp": None})


def test_a_number_is_taken_digit_by_digit() -> None:
    long = SPECIFIED[Topic.EXECUTION_FILL].replace("415.48", "100000000000000.123456789")
    fill = json.loads(read_payload(Topic.EXECUTION_FILL, long).model_dump_json())
    assert fill["fill_price"] == "100000000000000.123456789"


def test_what_we_have_computed_is_told_in_all_its_digits() -> None:
    """An average of three shares at two prices, as its division leaves it."""
    average = (Decimal("100") + 2 * Decimal("101")) / 3
    told = json.loads(
        ExecutionStatus.model_validate(
            {
                "event_id": "e", "timestamp": "2026-02-25T14:31:05Z", "signal_id": "s", "internal_order_id": "o",
                "client_order_id": None, "broker_order_id": None, "ticker": "MSFT", "status": "FILLED",
                "filled_quantity": "3", "average_price": average, "row_version": 1,
            }
        ).model_dump_json()
    )  # fmt: skip
    assert told["average_price"] == str(average)
    jsonschema.Draft202012Validator(topic_schema(Topic.EXECUTION_STATUS)).validate(told)


@pytest.mark.parametrize(("topic", "field"), [
    (Topic.RISK_APPROVED, "approved_quantity"), (Topic.EXECUTION_FILL, "fill_price"),
])  # fmt: skip
@pytest.mark.parametrize("wrong", [15, 415.5, "", "1e3", "NaN", "1,5", " 1", "1."])
def test_money_is_a_decimal_string_in_the_schema(topic: Topic, field: str, wrong: object) -> None:
    told = json.loads(read_payload(topic, SPECIFIED[topic]).model_dump_json())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(topic_schema(topic)).validate(told | {field: wrong})


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
