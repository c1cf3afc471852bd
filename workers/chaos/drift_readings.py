"""Readings of the broker that cannot be trusted: they fail, come short, come empty, or come from before."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, Final

ACCOUNT: Final = "/v2/account"
POSITIONS: Final = "/v2/positions"
ORDERS: Final = "/v2/orders"
FILLS: Final = "/v2/account/activities/FILL"
ACTIVITIES: Final = "/v2/account/activities"

_ONCE: Final = (
    (POSITIONS, "empty_list"),
    (POSITIONS, "short_list"),
    (POSITIONS, "status_500"),
    (POSITIONS, "drop_after_landing"),
    (ACCOUNT, "status_502"),
    (ACCOUNT, "status_503"),
    (ORDERS, "drop_before_landing"),
    (ORDERS, "status_504_after_landing"),
    (ORDERS, "empty_list"),
    (FILLS, "status_500"),
    (FILLS, "empty_list"),
    (FILLS, "short_list"),
    (ACTIVITIES, "status_502"),
    (ACTIVITIES, "empty_list"),
    (POSITIONS, "stale_read"),
)


def transient_faults(count: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """``count`` of them, by name: one request of a reading is answered wrongly, once."""
    for path, action in islice(cycle(_ONCE), count):
        yield f"{action} {path}", [_fault(path, action, times=1)]


def persistently_empty() -> dict[str, Any]:
    """A broker that answers "no positions" for as long as it is asked."""
    return _fault(POSITIONS, "empty_list", times=None)


def _fault(path: str, action: str, *, times: int | None) -> dict[str, Any]:
    return {"match": {"method": "GET", "path": path}, "action": action, "times": times}
