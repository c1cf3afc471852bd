"""What must never leave the process in a log line, a span or an error text, and how it is taken out.

Four rules, each enough alone: a field whose *name* promises a secret loses its value; text that *looks* like
a credential is cut out; values that the program knows to be secret (``register_secret``) are cut out wherever
they stand; account numbers go where the field says account. What a program cannot know is secret by none of
the four stays: redaction is the net, not the reason to throw things into it.
"""

import base64
import json
import re
import threading
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from enum import Enum
from functools import lru_cache
from itertools import islice
from math import isfinite
from typing import Final
from urllib.parse import quote, quote_plus

REDACTED: Final = "[redacted]"

SECRET_LENGTH_MIN: Final = 8
"""Characters. A shorter text would be cut out of ordinary words."""

TEXT_LENGTH_MAX: Final = 16_384
"""Characters of one logged text; the rest is cut off."""

_CUT_MARGIN: Final = 8_192
"""Characters read beyond the cut, so that no secret is cut in two before it is recognised."""

DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 200
"""Entries of one logged container."""

FIELD_NAME_LENGTH_MAX: Final = 100
"""Characters, from the end: a name's last word says what it holds."""

FIELD_NAMES_MAX: Final = 4_096
"""Field names whose meaning is remembered."""

_CREDENTIAL_NAMES: Final = (
    "api_?key|secret(?:_key)?|(?:access_|refresh_|bearer_|session_|id_)?token|password|passwd|passphrase|"
    "authorization|credentials?|(?:set_)?cookie|key_id|access_key|private_key|signing_key|client_secret|"
    "otp|totp|mfa_code"
)
_PERSONAL_NAMES: Final = (
    "e_?mail(?:_address)?|phone(?:_number)?|ssn|tax_id|date_of_birth|postal_address|full_name"
)
_SECRET_NAME = re.compile(rf"(?:^|_)(?:{_CREDENTIAL_NAMES})$|^secret_|^(?:{_PERSONAL_NAMES})$")
_ACCOUNT_NAME = re.compile(r"(?:^|_)(?:account_?(?:number|no|id)?|acct(?:_(?:number|no|id))?|iban)$")
_ACCOUNT_ALWAYS = re.compile(r"(?:number|no|iban)$")
_ACCOUNT_SHAPE = re.compile(
    r"(?=[A-Z0-9-]*\d)[A-Z]{0,4}[0-9][A-Z0-9-]{4,33}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# What the lower-cased text must contain before the pattern is tried: logging is called on every request.
# Repetitions are bounded, so that no hostile text makes a pattern slow.
_TEXT_RULES: Final = (
    # PEM private keys, whole or with the end missing.
    ("-----begin", r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)", REDACTED),
    ("bearer", r"(?i)\b(bearer)\s+[\w.~+/=-]{6,}", rf"\1 {REDACTED}"),
    ("basic", r"(?i)\b(basic)\s+[a-z0-9+/]{12,}={0,2}", rf"\1 {REDACTED}"),
    # user:password@host in an address.
    ("://", r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@]{0,99}):[^\s/@]{1,999}@", rf"\1:{REDACTED}@"),
    # JSON web tokens.
    ("eyj", r"\beyJ[\w-]{8,2000}\.[\w-]{8,2000}\.[\w-]*", REDACTED),
    # Strategies' tokens.
    ("ti_", r"\bti_[0-9A-Za-z]{49}\b", REDACTED),
    # Alpaca key ids (PK paper, AK live, CK broker).
    ("k", r"\b[PAC]K[A-Z0-9]{16,26}\b", REDACTED),
    # Alpaca account numbers stand in error texts without a field name.
    ("pa", r"\bPA(?=[A-Z0-9]*\d)[A-Z0-9]{8,12}\b", REDACTED),
    ("@", r"(?i)\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-z]{2,24}\b", REDACTED),
)
_COMPILED_RULES: Final = tuple((needle, re.compile(rule), to) for needle, rule, to in _TEXT_RULES)

_LONG_WORD = re.compile(r"\b[A-Za-z0-9]{40,44}\b")
"""As long as Alpaca's and other generated secrets; those mix cases and digits, our hashes are lower hex."""

_RULE_LENGTH_MIN: Final = 6
"""Characters; no rule matches less."""

# name=value, "name": "value", ('name', 'value'), Name: value. An unquoted value ends at a blank.
_ASSIGNMENT = re.compile(
    rf"""(?P<name>{_CREDENTIAL_NAMES.replace("_", "[_-]?")}|account[_-]?(?:number|no))"""
    r"""(?P<between>\\?["']?\s*[:=]\s*|\\?["']\s*,\s*)"""
    r"""(?:b?(?P<quote>\\?["'])(?:\\.|[^\n\\])*?(?P=quote)|(?P<bare>\\?["']?[^\s"'\\,;&}\])]+))""",
    re.IGNORECASE,
)
_ASSIGNMENT_HINTS: Final = (
    "key",
    "secret",
    "token",
    "pass",
    "auth",
    "cred",
    "cookie",
    "otp",
    "mfa",
    "account",
)


class _Registry:
    """The values that this process knows to be secret, as one pattern."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._longest_first: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        with self._lock:
            # Longest first: one secret may be the beginning of another.
            texts = {*self._longest_first, *_spellings(value)}
            self._longest_first = tuple(sorted(texts, key=lambda text: (-len(text), text)))

    def cut_out(self, text: str) -> str:
        # One after the other: a process knows a few dozen, and a pattern of them all is tried at every character.
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text


_registry = _Registry()


def register_secret(value: str) -> None:
    """Cut ``value`` out of every later log line and span, in its usual encodings too (URL, base64, JSON).

    Call it wherever a secret enters the process: a key read from a secret store, a token just made.

    Raises:
        ValueError: shorter than ``SECRET_LENGTH_MIN`` characters; the message does not repeat it.
    """
    if len(value.strip()) < SECRET_LENGTH_MIN:
        raise ValueError(
            f"a secret shorter than {SECRET_LENGTH_MIN} characters cannot be redacted; use a longer one"
        )
    _registry.add(value)


def redact_text(text: str) -> str:
    """``text`` without credentials, account numbers and registered secrets, cut at ``TEXT_LENGTH_MAX``."""
    if len(text) < _RULE_LENGTH_MIN:
        return text
    window = text[: TEXT_LENGTH_MAX + _CUT_MARGIN]
    clean = _apply_rules(_registry.cut_out(window))
    if len(clean) <= TEXT_LENGTH_MAX and len(window) == len(text):
        return clean
    # The last _CUT_MARGIN characters of a cut window may hold the first half of a secret.
    known = len(clean) if len(window) == len(text) else len(clean) - _CUT_MARGIN
    kept = clean[: max(0, min(TEXT_LENGTH_MAX, known))]
    return f"{kept}… [{len(text)} characters]"


def _apply_rules(text: str) -> str:
    lowered = text.lower()
    clean = text
    if any(sign in lowered for sign in "=:,") and any(hint in lowered for hint in _ASSIGNMENT_HINTS):
        clean = _ASSIGNMENT.sub(_blank_value, clean)
    for needle, pattern, replacement in _COMPILED_RULES:
        if needle in lowered:
            clean = pattern.sub(replacement, clean)
    return _LONG_WORD.sub(_blank_if_mixed, clean) if len(clean) >= 40 else clean


def _blank_if_mixed(match: re.Match[str]) -> str:
    word = match[0]
    mixed = not word.islower() and not word.isupper() and not word.isalpha()
    return REDACTED if mixed else word


def redact(value: object, name: str = "", depth: int = 0) -> object:
    """A copy of ``value`` that JSON can carry and that holds no secret. Never raises.

    ``name`` is the field it stands under. Containers are followed ``DEPTH_MAX`` deep; models and dataclasses
    by their fields, other objects by their text.
    """
    try:
        if name and _is_secret(_field_kind(name[-FIELD_NAME_LENGTH_MAX:]), value):
            return REDACTED
        if type(value) is str:
            return redact_text(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return _redact_container(value, name, depth)
        return _redact_leaf(value, name, depth)
    except Exception:  # noqa: BLE001 - a foreign __repr__ or model_dump may do anything; a log line must not
        return f"<{type(value).__name__}: cannot be shown>"


def _redact_container(value: Mapping[object, object] | Collection[object], name: str, depth: int) -> object:
    if depth >= DEPTH_MAX:
        return f"<{type(value).__name__}: too deep to be shown>"
    if isinstance(value, Mapping):
        items = islice(value.items(), ITEMS_MAX)
        return {redact_text(str(key)): redact(entry, str(key), depth + 1) for key, entry in items}
    entries = list(islice(value, ITEMS_MAX))
    if len(entries) == 2 and isinstance(entries[0], str):
        # A pair as HTTP headers come: the first names the second.
        speaking = entries[0] if _field_kind(name[-FIELD_NAME_LENGTH_MAX:]) is _FieldKind.PLAIN else name
        return [redact(entries[0], name, depth + 1), redact(entries[1], speaking, depth + 1)]
    # The name goes on: the entries of "tokens" are judged as one token each.
    return [redact(entry, name, depth + 1) for entry in entries]


def _redact_leaf(value: object, name: str, depth: int) -> object:
    shown: object
    if isinstance(value, Enum):
        shown = redact(value.value, name, depth + 1)
    elif value is None or isinstance(value, bool | int):
        shown = value
    elif isinstance(value, float):
        shown = value if isfinite(value) else str(value)
    elif isinstance(value, datetime | date | time):
        shown = value.isoformat()
    elif isinstance(value, bytes | bytearray | memoryview):
        shown = f"<{memoryview(value).nbytes} bytes>"
    elif isinstance(value, type):
        shown = value.__qualname__
    elif callable(dump := getattr(value, "model_dump", None)):
        shown = redact(dump(), name, depth + 1)
    elif names := getattr(value, "__dataclass_fields__", None):
        shown = redact({key: getattr(value, key) for key in names}, name, depth + 1)
    else:
        shown = redact_text(str(value))
    return shown


def _is_secret(kind: "_FieldKind", value: object) -> bool:
    if kind is _FieldKind.PLAIN or value is None or isinstance(value, bool):
        return False
    if kind is _FieldKind.SECRET:
        return True
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return False
    return kind is _FieldKind.ACCOUNT_NUMBER or bool(_ACCOUNT_SHAPE.fullmatch(str(value).strip()))


class _FieldKind(Enum):
    """What a field's name says about its value."""

    PLAIN = 0
    SECRET = 1
    ACCOUNT_NUMBER = 2
    ACCOUNT = 3
    """May be a number or a name such as "paper": the value's shape decides."""


@lru_cache(maxsize=FIELD_NAMES_MAX)
def _field_kind(name: str) -> _FieldKind:
    field = _field_name(name)
    if _SECRET_NAME.search(field):
        return _FieldKind.SECRET
    if not _ACCOUNT_NAME.search(field):
        return _FieldKind.PLAIN
    return _FieldKind.ACCOUNT_NUMBER if _ACCOUNT_ALWAYS.search(field) else _FieldKind.ACCOUNT


def _field_name(name: str) -> str:
    """``apiKey``, ``Api-Key`` and ``API_KEY`` are one name; a plural promises the same as its singular."""
    plain = re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name).lower()).strip("_")
    return (
        plain.removesuffix("s")
        if plain.endswith(("tokens", "secrets", "keys", "accounts", "cookies"))
        else plain
    )


def _blank_value(match: re.Match[str]) -> str:
    if match["quote"]:
        return f"{match['name']}{match['between']}{match['quote']}{REDACTED}{match['quote']}"
    if match["bare"].lower() in {"bearer", "basic"} or match["bare"].startswith("[redacted"):
        return match[0]
    return f"{match['name']}{match['between']}{REDACTED}"


def _spellings(value: str) -> set[str]:
    """``value`` as other layers write it; lines of a key file one by one, as tracebacks quote them."""
    encoded = base64.b64encode(value.encode()).decode()
    in_json = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    in_python = {repr(value)[1:-1], repr(value.encode())[2:-1]}
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * SECRET_LENGTH_MIN}
    spellings = {
        value,
        value.strip(),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        encoded.rstrip("="),
    }
    return {text for text in spellings | in_json | in_python | lines if len(text) >= SECRET_LENGTH_MIN}
