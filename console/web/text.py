"""Values as the pages show them: money, shares, times with their age, and other people's words made visible."""

import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, pass_context
from jinja2.runtime import Context, Undefined
from markupsafe import Markup, escape

from console.common import ago
from console.views import PRICE_DECIMALS, leg_words, prices
from schemas.base import decimal_text

NOTHING: Final = "–"
MARKS_MAX: Final = 2
"""Accents on one letter; more are written to climb over other lines."""
INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code)
    for span in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for code in range(span[0], span[1] + 1)
}
"""Drawn as nothing, and of no category that says so."""
HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
CENT: Final = Decimal("0.01")
BASIS_POINT: Final = Decimal("0.0001")
DAY: Final = timedelta(hours=20)
"""What is older is told with its date."""


def code_point(character: str) -> str:
    """``U+202E``."""
    return f"U+{ord(character):04X}"


def hidden_in(text: str) -> list[bool]:
    """For each character whether it is drawn as nothing, or changes how others are drawn. Newlines are not."""
    found, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        is_hidden = category in HIDDEN_CATEGORIES and character not in "\n\t"
        found.append(is_hidden or character in INVISIBLE or marks > MARKS_MAX)
    return found


def plain(value: object) -> object:
    """For every text of every page: what is hidden in it is written out as ``⟨U+202E⟩``.

    What was made by us as HTML passes; it was made from text that went through `seen`.
    """
    if isinstance(value, Undefined | Markup) or not isinstance(value, str):
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(
        f"⟨{code_point(each)}⟩" if hidden else each
        for each, hidden in zip(value, hidden_in(value), strict=True)
    )


def seen(value: str | None) -> Markup:
    """Somebody else's words as HTML: escaped, isolated, and what is hidden in them marked with its name."""
    parts = []
    text = value or ""
    for each, hidden in zip(text, hidden_in(text), strict=True):
        if hidden:
            name = unicodedata.name(each, "a character without a name")
            parts.append(
                Markup('<span class="code-point" title="{}">{}</span>').format(name, code_point(each))
            )
        else:
            parts.append(escape(each))
    return Markup('<bdi dir="auto">{}</bdi>').format(Markup("").join(parts))


def money(value: Decimal | None) -> str:
    """US dollars with thousands and cents: ``1,234.50``, ``-12.00``."""
    return NOTHING if value is None else f"{value.quantize(CENT, ROUND_HALF_EVEN):,f}"


def signed_money(value: Decimal | None) -> str:
    """With a sign in front, also of a gain: ``+12.00``."""
    if value is None:
        return NOTHING
    rounded = value.quantize(CENT, ROUND_HALF_EVEN)
    return f"{rounded:+,f}".replace("-", "−") if rounded else "0.00"


def price(value: Decimal | None) -> str:
    """US dollars a share: two to four decimals."""
    if value is None:
        return NOTHING
    whole, _, decimals = f"{value.quantize(PRICE_DECIMALS):,f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def shares(value: Decimal | None) -> str:
    """A quantity without trailing zeros."""
    if value is None:
        return NOTHING
    return f"{Decimal(decimal_text(value)):,f}"


def percent(value: Decimal | None, decimals: int = 2) -> str:
    """``12.34 %``."""
    return NOTHING if value is None else f"{value.quantize(Decimal(1).scaleb(-decimals)):,f} %"


def share_of(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    """100 × part ÷ whole; None where it cannot be said."""
    return None if part is None or not whole else (100 * part / whole)


def when(value: datetime | None) -> str | Markup:
    """``14:30:05.123`` with the whole time beneath the pointer; all times are UTC."""
    if value is None:
        return NOTHING
    return _time(value, value.strftime("%H:%M:%S.%f")[:-3])


def moment(value: datetime | None) -> str | Markup:
    """Date and time of day, ``2026-11-27 14:30:05``, UTC."""
    return NOTHING if value is None else _time(value, value.strftime("%Y-%m-%d %H:%M:%S"))


def _time(value: datetime, text: str) -> Markup:
    iso = value.isoformat()
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        iso, value.strftime("%Y-%m-%d %H:%M:%S.%f"), text
    )


@pass_context
def age(context: Context, value: datetime | None) -> str | Markup:
    """How long ago, counted on by the page: ``3 s``."""
    if value is None:
        return "never"
    told = Markup('<time datetime="{}" title="{} UTC" data-age>{}</time>')
    return told.format(value.isoformat(), value.strftime("%Y-%m-%d %H:%M:%S"), ago(value, context["now"]))


@pass_context
def until(context: Context, value: datetime | None) -> str | Markup:
    """How long still, counted down by the page: ``3 h``."""
    if value is None:
        return NOTHING
    now: datetime = context["now"]
    told = Markup('<time datetime="{}" title="{} UTC" data-until>{}</time>')
    return told.format(value.isoformat(), value.strftime("%Y-%m-%d %H:%M:%S"), ago(now - (value - now), now))


def took(value: timedelta | None) -> str:
    """``12 ms``, ``1.20 s``, ``3 min 5 s``."""
    if value is None:
        return NOTHING
    milliseconds = round(value / timedelta(milliseconds=1))
    if abs(milliseconds) < 1000:
        return f"{milliseconds} ms"
    if abs(milliseconds) < 60_000:
        return f"{milliseconds // 1000}.{milliseconds % 1000 // 10:02d} s"
    return f"{milliseconds // 60_000:,} min {milliseconds % 60_000 // 1000} s"


def words(code: str | None) -> str:
    """``PARTIALLY_FILLED`` as ``partially filled``."""
    return (code or "").replace("_", " ").lower()


def query(path: str, **values: Any) -> str:
    """An address with those values that are given."""
    told = urlencode({name: value for name, value in values.items() if value not in (None, "")})
    return f"{path}?{told}" if told else path


def segment(value: object) -> str:
    """A text as one part of a path."""
    return quote(str(value), safe="")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "seen": seen, "money": money, "signed_money": signed_money, "price": price, "shares": shares,
    "percent": percent, "when": when, "moment": moment, "age": age, "until": until, "took": took, "words": words,
    "segment": segment, "prices": prices, "leg_words": leg_words,
}  # fmt: skip


def install(environment: Environment) -> None:
    """Give a template environment what the pages use."""
    environment.filters.update(FILTERS)
    environment.globals.update(query=query, share_of=share_of)
    environment.finalize = plain
