"""From the bytes a stranger sent to a signal that may be stored, or a refusal that names each bad field."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from gateway.body import NUMBER_CHARACTERS_MAX, LongNumber, parse_object
from gateway.problems import FieldProblem, invalid_signal
from schemas.base import DECIMAL_PATTERN
from schemas.risk import Proposal
from schemas.signals import RESERVED_SIGNAL_IDS, VALIDITY_MAX, SignalIn

FUTURE_MAX: Final = timedelta(seconds=5)
"""How far a strategy's clock may run ahead of ours."""

_NUMBERS: Final = ("quantity", "limit_price", "stop_price", "hard_stop_loss")
_TIMES: Final = ("created_at", "valid_until")
_TEXTS: Final = ("rationale", "references")

# What pydantic would also take: "1_000", full-width digits, and for times the number of seconds since 1970.
_DECIMAL: Final = re.compile(DECIMAL_PATTERN, re.ASCII)
_RFC_3339: Final = re.compile(
    r"20\d\d-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_NO_ZONE: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)

_TIME_EXAMPLE: Final = "e.g. 2026-11-23T15:15:00Z"
_PATTERNS: Final = {
    "signal_id": "1 to 64 characters of A-Z a-z 0-9 . _ -",
    "strategy": "1 to 64 characters of a-z 0-9 . _ -, beginning with a letter or digit",
    "ticker": "upper-case ASCII letters and digits, e.g. AAPL or BRK.B",
}
_MESSAGES: Final = {
    "missing": "required",
    "finite_number": "must be a finite number",
}


def parse_signal(body: bytes) -> SignalIn:
    """The signal in ``body``.

    Raises:
        ApiError: 422 with every problem found, each under its field.
    """
    raw = parse_object(body)
    problems = {problem.field: problem for problem in _shape_problems(raw)}
    try:
        # A field whose form is wrong is not shown to pydantic: it might be lenient, or stumble.
        signal = SignalIn.model_validate({key: value for key, value in raw.items() if key not in problems})
    except ValidationError as error:
        for problem in _told(error):
            problems.setdefault(problem.field, problem)
        raise invalid_signal(list(problems.values())) from error
    if signal.signal_id in RESERVED_SIGNAL_IDS:
        problems.setdefault("signal_id", FieldProblem(field="signal_id", message="reserved: send another"))
    if problems:
        raise invalid_signal(list(problems.values()))
    return signal


def check_times(signal: SignalIn, now: datetime) -> Proposal:
    """The signal as risk will see it, with its validity capped by our clock.

    Raises:
        ApiError: 422, ``created_at`` is more than ``FUTURE_MAX`` ahead of ``now``.
    """
    if signal.created_at > now + FUTURE_MAX:
        ahead = (signal.created_at - now).total_seconds()
        message = f"{ahead:.1f} s in the future, at most {FUTURE_MAX.seconds} s allowed: set your clock"
        raise invalid_signal([FieldProblem(field="created_at", message=message)])
    latest = min(signal.created_at, now) + VALIDITY_MAX
    valid_until = latest if signal.valid_until is None else min(signal.valid_until, latest)
    fields: dict[str, Any] = {name: getattr(signal, name) for name in Proposal.model_fields}
    return Proposal.model_validate(fields | {"valid_until": valid_until})


def _shape_problems(raw: Mapping[str, object]) -> Iterator[FieldProblem]:
    for name in raw:
        if name not in SignalIn.model_fields:
            yield FieldProblem(field=name, message="unknown field")
    checks = ((_NUMBERS, _number_problem), (_TIMES, _time_problem), (_TEXTS, _text_problem))
    for names, check in checks:
        for name in names:
            if raw.get(name) is not None and (message := check(raw[name])):
                yield FieldProblem(field=name, message=message)


def _number_problem(value: object) -> str | None:
    if isinstance(value, Decimal):
        return None if value.is_finite() else f"{value} is not a finite number"
    if isinstance(value, LongNumber):
        return f"more than {NUMBER_CHARACTERS_MAX} characters for one number"
    if not isinstance(value, str):
        return 'must be a number, best sent as a string: "180.50"'
    if not _DECIMAL.fullmatch(value):
        return 'not a decimal number in plain digits: "180.50"'
    return None


def _time_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"must be a time as text, {_TIME_EXAMPLE}"
    if _RFC_3339.fullmatch(value):
        return None
    if _NO_ZONE.fullmatch(value):
        return f"a time needs its date, time and zone, {_TIME_EXAMPLE}"
    return f"not a time in RFC 3339 form, {_TIME_EXAMPLE}"


def _text_problem(value: object) -> str | None:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, str) and "\0" in text for text in texts):
        return "a NUL character cannot be stored"
    return None


def _told(error: ValidationError) -> list[FieldProblem]:
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = _path(item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if not field:
            # A rule over several fields names the one to change: "limit_price: a LIMIT order needs one".
            field, _, message = message.partition(": ")
        if item["type"] == "string_pattern_mismatch":
            message = _PATTERNS.get(field, message)
        found.append(FieldProblem(field=field, message=_MESSAGES.get(item["type"], message)))
    return found


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location)
