"""What is cut out of a text, a field and a structure before any of it leaves the process, and what stays."""

import json
from uuid import UUID

import pytest

from observability.redaction import (
    ITEMS_MAX,
    REDACTED,
    SECRET_LENGTH_MIN,
    TEXT_LENGTH_MAX,
    redact,
    redact_text,
    register_secret,
)

CANARY = "canary/of the redaction'\"é horse battery"
register_secret(CANARY)

ALPACA_KEY = "PKCANARY0123456789AB"
ALPACA_SECRET = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7d"


SECRET_FIELDS = [
    "api_key", "apiKey", "API-KEY", "secret", "secret_key", "client_secret", "token", "access_token",
    "tokens", "webhook_secrets",
    "authorization", "Proxy-Authorization", "password", "db_password", "key_id", "APCA-API-KEY-ID",
    "APCA_API_SECRET_KEY", "account_number", "accountNumber", "cookie", "Set-Cookie", "passphrase",
    "private_key",
    "signing_key", "approval_signing_key", "otp", "credentials", "secret_pin", "email", "phone_number", "ssn",
]  # fmt: skip

OPEN_FIELDS = {
    "client_order_id": "ti-0123456789abcdef0123456789abcdef",
    "signal_id": "sig_112",
    "broker_order_id": UUID("61e69015-8549-4bfd-b9c3-01e75843f47d"),
    "task_queue": "kill-switch",
    "idempotency_key": "sig_112",
    "input_hash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "account": "paper",
    "account_value": "100000.00",
    "account_blocked": False,
    "tokens_left": 120,
    "ticker": "PARTICIPANT",
    "formula": "180.50 × 10 = 1805.00 ≤ 2500.00",
    "reason": "SELL_MORE_THAN_HELD",
    "query": "symbols=AAPL,MSFT&limit=500",
    "commit": "b31c0be4d5e6f708192a3b4c5d6e7f8091a2b3c4",
    "at": "2026-11-23T15:15:00.000000Z",
}


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_a_field_named_for_a_secret_loses_its_value(name: str) -> None:
    assert redact({name: "in plain words"}) == {name: REDACTED}
    assert redact({"deep": [{name: 12345678}]}) == {"deep": [{name: REDACTED}]}


@pytest.mark.parametrize("name", OPEN_FIELDS)
def test_what_an_operator_needs_stays(name: str) -> None:
    value = OPEN_FIELDS[name]
    assert redact({name: value}) == {name: str(value) if isinstance(value, UUID) else value}


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("authorization: basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz"),
        ("postgresql://trading:hunter2@127.0.0.1:5432/db", "hunter2"),
        ('{"api_key": "abc123"}', "abc123"),
        ("{'secret_key': 'abc123'}", "abc123"),
        (r"{\"password\": \"abc123\"}", "abc123"),
        ("token=abc123&x=1", "abc123"),
        (f"forbidden for key {ALPACA_KEY}", ALPACA_KEY),
        (f"tried {ALPACA_SECRET} again", ALPACA_SECRET),
        ("account PA3V8Q1CANARY is blocked", "PA3V8Q1CANARY"),
        ("account_number: 926411782", "926411782"),
        (r'token="a\"b c" next', "b c"),
        ("ask jane.doe+x@example.co.uk about it", "jane.doe"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----", "MC4CAQAw"),
        ("-----BEGIN EC PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI", "MC4CAQAw"),
    ],
)
def test_text_that_looks_like_a_credential_is_cut_out(text: str, gone: str) -> None:
    clean = redact_text(text)
    assert gone not in clean
    assert REDACTED in clean


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("PA3V8Q1CANARY", REDACTED),
        ("926411782", REDACTED),
        (926411782, REDACTED),
        ("61e69015-8549-4bfd-b9c3-01e75843f47d", REDACTED),
        ("paper", "paper"),
        ("main account", "main account"),
    ],
)
def test_account_fields_lose_numbers_but_not_names(value: object, shown: object) -> None:
    assert redact({"account": value, "account_id": value}) == {"account": shown, "account_id": shown}


def test_a_long_text_is_cut_without_cutting_a_secret_in_two() -> None:
    for offset in range(-len(CANARY), 1):
        text = "x" * (TEXT_LENGTH_MAX + offset) + CANARY + "y" * 20_000
        clean = redact_text(text)
        assert len(clean) <= TEXT_LENGTH_MAX + 40
        assert CANARY[:6] not in clean
    at_the_window_end = ("z " * 12_288)[: TEXT_LENGTH_MAX + 8_192 - 7] + CANARY + "y" * 20_000
    assert CANARY[:6] not in redact_text(at_the_window_end)


def test_redacting_many_secrets_before_the_cut_pulls_no_half_secret_into_view() -> None:
    """Each replacement shortens the text, so the window's end, where a secret may be halved, moves up."""
    text = (CANARY + " ") * 2_000
    assert CANARY[:6] not in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        'token="' + "\\" * 24_000,
        "token=" + '"token:' * 4_000,
        "password" + " " * 24_000,
        "a." * 12_000 + "://",
        "a.@" * 8_000,
        "-eyJ" * 6_000,
        "Bearer " * 3_000,
        "-----BEGIN " * 2_000,
        "PK" * 12_000,
        "aB3" * 8_000,
    ],
)
def test_no_text_makes_it_slow(text: str) -> None:
    """A pattern that tries every way to split such a text would not end before the test's timeout."""
    assert len(redact_text(text)) <= TEXT_LENGTH_MAX + 40


def test_what_json_cannot_carry_becomes_text() -> None:
    shown = redact({"nan": float("nan"), "inf": float("inf"), "many": list(range(500)), "kind": UUID})
    assert shown == {"nan": "nan", "inf": "inf", "many": list(range(ITEMS_MAX)), "kind": "UUID"}
    json.dumps(shown, allow_nan=False)


def test_a_short_secret_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match=f"shorter than {SECRET_LENGTH_MIN}") as refused:
        register_secret("hunter2")
    assert "hunter2" not in str(refused.value)
