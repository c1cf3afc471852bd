"""Reading query parameters, and cutting lists into the broker's pages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from simulation import errors
from simulation.book import Book, Execution
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
    keep = _cursor(book, query, timed=after is not None or until is not None)

    def shown(order: Order) -> bool:
        return (
            (status == "all" or (order.status in TERMINAL) == (status == "closed"))
            and (not symbols or order.symbol in symbols)
            and (not side or order.side == side)
            and (after is None or order.submitted_at > after)
            and (until is None or order.submitted_at < until)
            and not (nested and order.parent_id)
        )

    rows: Iterable[Order] = keep if direction == "asc" else reversed(keep)
    return _first(rows, shown, limit)


def _cursor(book: Book, query: Query, *, timed: bool) -> Sequence[Order]:
    """All orders in order of submission, cut by before_order_id and after_order_id."""
    orders = list(book.orders.values())
    before_id, after_id = query.get("before_order_id"), query.get("after_order_id")
    if (before_id or after_id) and timed:
        raise errors.invalid("before_order_id and after_order_id cannot be combined with after or until")
    for cursor in (before_id, after_id):
        if cursor and cursor not in book.orders:
            raise errors.order_not_found(cursor)
    places = {order.id: place for place, order in enumerate(orders)} if before_id or after_id else {}
    low = places[after_id] + 1 if after_id else 0
    high = places[before_id] if before_id else len(orders)
    return orders[low:high]


def list_fills(book: Book, query: Query) -> list[Execution]:
    """One page of executions; ``after`` and ``until`` exclude, ``page_token`` is the last id received."""
    direction = choice(query, "direction", ("asc", "desc"), "desc")
    size = integer(query, "page_size", ACTIVITIES_PAGE, 1, ACTIVITIES_PAGE)
    after, until, on = moment(query, "after"), moment(query, "until"), day(query, "date")
    if on is not None and (after or until):
        raise errors.invalid("date cannot be combined with after or until")
    first = at_new_york(on, datetime.min.time()) if on else None
    rows = book.executions if direction == "asc" else book.executions[::-1]
    token = query.get("page_token")
    if token:
        places = [place for place, row in enumerate(rows) if row.activity_id == token]
        if not places:
            raise errors.invalid("invalid page_token")
        rows = rows[places[0] + 1 :]

    def shown(row: Execution) -> bool:
        return (
            (after is None or row.at > after)
            and (until is None or row.at < until)
            and (first is None or first <= row.at < first + timedelta(days=1))
        )

    return _first(rows, shown, size)


def _first(rows: Iterable[Row], shown: Callable[[Row], Any], limit: int) -> list[Row]:
    page: list[Row] = []
    for row in rows:
        if len(page) == limit:
            break
        if shown(row):
            page.append(row)
    return page
