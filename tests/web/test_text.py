"""Numbers, times and other people's words as the pages show them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from console.web.lights import Kind, lights
from console.web.text import money, percent, plain, price, seen, signed_money, took
from schemas.market import Provider
from storage.blotter import Mark
from storage.market import QuoteAge


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (money(Decimal("1234.5")), "1,234.50"), (money(Decimal("-0.004")), "-0.00"), (money(None), "–"),
        (signed_money(Decimal("12.346")), "+12.35"), (signed_money(Decimal(-3)), "−3.00"),
        (signed_money(Decimal("-0.001")), "0.00"), (price(Decimal("180.5")), "180.50"),
        (price(Decimal("0.12345")), "0.1234"), (percent(Decimal("12.345")), "12.34 %"), (percent(None), "–"),
        (took(timedelta(milliseconds=12)), "12 ms"), (took(timedelta(seconds=1.2)), "1.20 s"),
        (took(timedelta(seconds=185)), "3 min 5 s"),
    ],
)  # fmt: skip
def test_numbers_are_told_like_this(shown: str, text: str) -> None:
    assert shown == text


def test_what_is_hidden_in_a_text_is_written_out() -> None:
    hidden = (
        "\u202a\u202e\u2066\u2069\u200b\u200f\ufeff\u3164\u2800\u00ad\x1b\x7f\u2028\U000e0041\ufe0f\ue000"
    )
    for character in hidden:
        name = f"U+{ord(character):04X}"
        assert plain(f"a{character}b") == f"a⟨{name}⟩b"
        assert f">{name}</span>" in seen(character)
        assert character not in str(seen(character))
    for ordinary in ("é", "日本", "a\u0301", "שלום", "one\ntwo", "€ – “”", "😀"):
        assert plain(ordinary) == ordinary
    assert plain("Z\u0301\u0302\u0303") == "Z\u0301\u0302⟨U+0303⟩", "accents that climb"
    assert str(seen('<a href="x">')) == '<bdi dir="auto">&lt;a href=&#34;x&#34;&gt;</bdi>'


def test_a_mark_of_a_page_comes_back_or_is_refused() -> None:
    mark = Mark(datetime.now(UTC), "some/key+ä")
    assert Mark.parse(mark.text) == mark
    for wrong in (
        "",
        "x",
        "!!!!",
        "bnVsbA",
        "WzEsMl0",
        "WyJ4IiwieSJd",
        "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwieSJd",
    ):
        with pytest.raises(ValueError, match=r"."):
            Mark.parse(wrong)


def test_each_light_says_what_is_wrong() -> None:
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        "read_at": now, "is_open": True, "speed": 1, "stream_seen_at": now, "stream_connected_at": now,
        "halted": False, "halt_cause": None, "halt_changed_at": None, "failures": 0, "oldest_waiting_at": None,
        "newest_position": 7, "sealed": 9, "oldest_unsealed_at": None,
    }  # fmt: skip
    quotes = [QuoteAge(provider=Provider.PRIMARY, received_at=now, tickers=3)]
    old = now - timedelta(minutes=5)

    def kinds(**changed: Any) -> dict[str, Kind]:
        of = changed.pop("quotes", quotes)
        return {each.name: each.kind for each in lights(row | changed, of, now, database_ms=3)}

    assert set(kinds().values()) == {Kind.GOOD}
    stale = [QuoteAge(provider=Provider.PRIMARY, received_at=old, tickers=3)]
    for changed, name, kind in (
        ({"halted": True}, "broker", Kind.BAD), ({"stream_seen_at": old}, "broker", Kind.BAD),
        ({"stream_connected_at": None}, "broker", Kind.BAD), ({"failures": 2}, "broker", Kind.WARN),
        ({"quotes": stale}, "data", Kind.BAD), ({"quotes": stale, "is_open": False}, "data", Kind.WARN),
        ({"quotes": []}, "data", Kind.BAD), ({"oldest_waiting_at": old}, "bus", Kind.BAD),
        ({"read_at": old}, "clock", Kind.BAD), ({"read_at": None}, "clock", Kind.BAD),
        ({"oldest_unsealed_at": old}, "audit log", Kind.BAD),
    ):  # fmt: skip
        assert kinds(**changed)[name] is kind, changed
