"""What people read: exact numbers, short times, nothing that paints on their terminal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from console.common import ago, clean, step
from console.views import money, shares

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [("180.5", "180.50"), ("0.1234", "0.1234"), ("1234567.891", "1,234,567.891"), ("100", "100.00"),
     ("1E+5", "100,000.00"), ("180.123456789", "180.1235"), ("-2.5", "-2.50"), ("0", "0.00")],
)  # fmt: skip
def test_money(value: str, text: str) -> None:
    assert money(Decimal(value)) == text


def test_no_money_is_no_text() -> None:
    assert money(None) == ""


@pytest.mark.parametrize(
    ("value", "text"), [("10", "10"), ("10.000", "10"), ("1E+3", "1,000"), ("0", "0"), ("-5", "-5")]
)
def test_shares(value: str, text: str) -> None:
    assert shares(Decimal(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
        (-5, "0 s"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_never() -> None:
    assert ago(None, NOW) == "never"


@pytest.mark.parametrize(
    "evil", ["\x1b[31mred", "a\nb", "a\rb", "\x9b31m", "\u202egnp.exe", "a\x00b", "\u2066x"]
)
def test_text_of_others_cannot_paint(evil: str) -> None:
    shown = clean(evil)
    assert shown != evil
    assert all(letter.isprintable() for letter in shown)


def test_a_step_of_a_story_has_one_sign() -> None:
    """The broker's clock and ours write one story: a line may be older than the one before it."""
    at = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
    apart = (timedelta(seconds=1, microseconds=224_000), timedelta(0), timedelta(microseconds=-400),
             timedelta(milliseconds=-1))  # fmt: skip
    assert [step(at, at + each) for each in apart] == ["+1,224 ms", "+0 ms", "+0 ms", "-1 ms"]
    assert step(None, at) == ""
