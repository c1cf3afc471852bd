"""Secrets of strategies' tokens: ``ti_``, 43 letters and digits of 256 random bits, and 6 of their CRC-32.

So a scanner of repositories finds one by ``ti_[0-9A-Za-z]{49}`` and is sure by its checksum, and a mistyped one is
known without asking anybody.
"""

import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "ti_"
SECRET_BITS: Final = 256
RANDOM_CHARACTERS: Final = 43
CHECK_CHARACTERS: Final = 6
SHOWN_CHARACTERS: Final = 9
"""Of the beginning, prefix among them: 36 of 256 bits, enough to know a token by and too few to use it."""

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE: Final = re.compile(rf"ti_([0-9A-Za-z]{{{RANDOM_CHARACTERS}}})([0-9A-Za-z]{{{CHECK_CHARACTERS}}})")


def make_secret() -> str:
    """A new token."""
    body = _base62(secrets.randbits(SECRET_BITS), RANDOM_CHARACTERS)
    return f"{PREFIX}{body}{_check(body)}"


def shown_part(secret: str) -> str:
    """What of a token lists may show."""
    return secret[:SHOWN_CHARACTERS]


def is_mistyped(secret: str) -> bool:
    """Whether it looks like a token of ours and cannot be one. Those of before had no shape, and are never."""
    if not secret.startswith(PREFIX):
        return False
    found = _SHAPE.fullmatch(secret)
    return found is None or _check(found[1]) != found[2]


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_CHARACTERS)


def _base62(number: int, characters: int) -> str:
    text = ""
    for _ in range(characters):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text
