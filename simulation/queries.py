"""Reading query parameters, and cutting lists into the broker's pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from simulation import errors
from simulation.book import Book, Execution
from simulation.events import AccountAdjusted
from simulation.orders import TERMINAL, Order
from simulation.sessions import at_new_york
from simulation.wire import parse_moment

ORDERS_LIMIT_DEFAULT, ORDERS_LIMIT_MAX = 50, 500
ACTIVITIES_PAGE = 100
Row = TypeVar("Row")
Query = Mapping[str, str]


def integer(query: Query, name: str, default: int, least: int, most: int) -> int:
    raw = query.get(name)
    if raw is None or raw == "":
        return default
    try:
        value = int(raw)
    except ValueError:
        raise errors.invalid(f"invalid {name}") from None
    if not least <= value <= most:
        raise errors.invalid(f"{name} must be between {least} and {most}")
    return value


def moment(query: Query, name: str) -> datetime | None:
    raw = query.get(name)
    if not raw:
        return None
    try:
        return parse_moment(raw)
    except ValueError:
        raise errors.invalid(f"invalid {name}") from None


def day(query: Query, name: str) -> date | None:
    raw = query.get(name)
    if not raw:
        return None
    try:
        return date.fromisoformat(raw[:10])
    except ValueError:
        raise errors.invalid(f"invalid {name}") from None


def choice(query: Query, name: str, choices: Sequence[str], default: str) -> str:
    value = query.get(name) or default
    if value not in choices:
        raise errors.invalid(f"invalid {name}")
    return value


def flag(query: Query, name: str) -> bool:
    """alpaca-py writes booleans with a capital letter."""
    return choice(query, name, ("true", "false", "True", "False", "1", "0"), "false") in ("true", "True", "1")


def csv(query: Query, name: str) -> list[str]:
    return [part.strip() for part in query.get(name, "").split(",") if part.strip()]


def list_orders(book: Book, query: Query) -> list[Order]:
    """The orders a listing shows, in its direction; without ``nested`` legs are rows of their own.

    ``after`` and ``until`` are exclusive, on the moment of submission.
    """
    status = choice(query, "status", ("open", "closed", "all"), "open")
    limit = integer(query, "limit", ORDERS_LIMIT_DEFAULT, 1, ORDERS_LIMIT_MAX)
    direction = choice(query, "direction", ("asc", "desc"), "desc")
    symbols, side, nested = set(csv(query, "symbols")), query.get("side"), flag(query, "nested")
    after, until = moment(query, "after"), moment(query, "until")
    ids = _candidates(book, query, status, after, until)
    # Looked up one by one: of tens of thousands a page takes five hundred.
    rows = map(book.orders.__getitem__, ids if direction == "asc" else reversed(ids))

    def shown(order: Order) -> bool:
        return (
            (status == "all" or (order.status in TERMINAL) == (status == "closed"))
            and (not symbols or order.symbol in symbols)
            and (not side or order.side == side)
            and not (nested and order.parent_id)
        )

    return _first(rows, shown, limit)


def _candidates(
    book: Book, query: Query, status: str, after: datetime | None, until: datetime | None
) -> Sequence[str]:
    """Ids in order of submission, cut by the time bounds or by before_order_id and after_order_id."""
    before_id, after_id = query.get("before_order_id"), query.get("after_order_id")
    only_open = status == "open" and not before_id and not after_id
    ids = list(book.open_ids if only_open else book.orders)
    if not before_id and not after_id:

        def submitted(order_id: str) -> datetime:
            return book.orders[order_id].submitted_at

        low = bisect_right(ids, after, key=submitted) if after else 0
        high = bisect_left(ids, until, key=submitted) if until else len(ids)
        return ids[low:high]
    if after or until:
        raise errors.invalid("before_order_id and after_order_id cannot be combined with after or until")
    for cursor in (before_id, after_id):
        if cursor and cursor not in book.orders:
            raise errors.order_not_found(cursor)
    places = {order_id: place for place, order_id in enumerate(ids)}
    low = places[after_id] + 1 if after_id else 0
    high = places[before_id] if before_id else len(ids)
    return ids[low:high]


def _executed(execution: Execution) -> datetime:
    return execution.at


def list_fills(book: Book, query: Query) -> list[Execution]:
    """One page of executions; ``after`` and ``until`` exclude, ``page_token`` is the last id received."""
    direction = choice(query, "direction", ("asc", "desc"), "desc")
    size = integer(query, "page_size", ACTIVITIES_PAGE, 1, ACTIVITIES_PAGE)
    after, until, on = moment(query, "after"), moment(query, "until"), day(query, "date")
    if on is not None and (after or until):
        raise errors.invalid("date cannot be combined with after or until")
    rows = book.executions
    if on is not None:
        start = at_new_york(on, datetime.min.time())
        low = bisect_left(rows, start, key=_executed)
        high = bisect_left(rows, start + timedelta(days=1), key=_executed)
    else:
        low = bisect_right(rows, after, key=_executed) if after else 0
        high = bisect_left(rows, until, key=_executed) if until else len(rows)
    token = query.get("page_token")
    if token:
        place = book.execution_places.get(token)
        if place is None:
            raise errors.invalid("invalid page_token")
        low, high = (max(low, place + 1), high) if direction == "asc" else (low, min(high, place))
    return (
        rows[low : min(high, low + size)] if direction == "asc" else rows[max(low, high - size) : high][::-1]
    )


def list_adjustments(book: Book, query: Query, types: Sequence[str]) -> list[AccountAdjusted]:
    """One page of what moved without a trade; ``after`` and ``until`` exclude, as for executions."""
    direction = choice(query, "direction", ("asc", "desc"), "desc")
    size = integer(query, "page_size", ACTIVITIES_PAGE, 1, ACTIVITIES_PAGE)
    after, until, token = moment(query, "after"), moment(query, "until"), query.get("page_token")
    rows = [
        row
        for row in book.adjustments
        if row.activity_type is not None
        and (not types or row.activity_type in types)
        and (after is None or row.at > after)
        and (until is None or row.at < until)
    ]
    if direction == "desc":
        rows.reverse()
    if token:
        place = next((place for place, row in enumerate(rows) if row.activity_id == token), None)
        if place is None:
            raise errors.invalid("invalid page_token")
        rows = rows[place + 1 :]
    return rows[:size]


def _first(rows: Iterable[Row], shown: Callable[[Row], Any], limit: int) -> list[Row]:
    page: list[Row] = []
    for row in rows:
        if len(page) == limit:
            break
        if shown(row):
            page.append(row)
    return page
