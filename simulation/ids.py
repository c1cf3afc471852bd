"""Identifiers: UUID v4 for orders and executions, ULIDs for stream events."""

from datetime import datetime
from secrets import randbits
from uuid import uuid4

from simulation.wire import NEW_YORK, to_ns

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
# Twenty-six letters of five bits, two at a time from the highest.
_SHIFTS = range(120, -1, -10)


class Ids:
    """Makes identifiers; ULIDs grow lexically even within one millisecond."""

    def __init__(self) -> None:
        self._last = 0

    def uuid(self) -> str:
        return str(uuid4())

    def ulid(self, now: datetime) -> str:
        fresh = (to_ns(now) // 1_000_000 << _RANDOM_BITS) | randbits(_RANDOM_BITS)
        same_or_later_ms = fresh >> _RANDOM_BITS > self._last >> _RANDOM_BITS
        self._last = fresh if same_or_later_ms else self._last + 1
        return "".join([_PAIRS[self._last >> shift & 1023] for shift in _SHIFTS])

    def resume_after(self, ulid: str) -> None:
        """Let every later ULID sort after this one."""
        value = 0
        for letter in ulid:
            value = value << 5 | _CROCKFORD.index(letter)
        self._last = max(self._last, value)


def activity_id(now: datetime, execution_id: str) -> str:
    """New York local time to the millisecond, then the execution's id: not a moment anyone should parse."""
    return f"{now.astimezone(NEW_YORK):%Y%m%d%H%M%S%f}"[:17] + f"::{execution_id}"
