"""Random secrets that are shown once: sessions, links, recovery codes."""

import secrets
from typing import Final

SECRET_BYTES: Final = 32
CODES: Final = 10
CODE_CHARACTERS: Final = 16
"""Of 31 letters and digits: 79 bits."""
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""None that is taken for another, read aloud or written by hand."""
_GROUP: Final = 4


def new_secret() -> str:
    """256 random bits, fit for a cookie or an address."""
    return secrets.token_urlsafe(SECRET_BYTES)


def recovery_codes() -> list[str]:
    """Codes as they are shown: ``abcd-efgh-jkmn-pqrs``."""
    return [_code() for _ in range(CODES)]


def _code() -> str:
    letters = [secrets.choice(_LETTERS) for _ in range(CODE_CHARACTERS)]
    return "-".join("".join(letters[at : at + _GROUP]) for at in range(0, CODE_CHARACTERS, _GROUP))


def typed_code(text: str) -> str:
    """A code as it was made, from what somebody typed."""
    letters = "".join(each for each in text.lower() if each in _LETTERS)
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))
