"""``trading audit rebuild``: orders, executions and positions from the audit log alone, beside our own books."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, clean, console, emit, table
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage, DependencyDown
from console.rows import rows
from console.views import money, shares

if TYPE_CHECKING:
    from audit.rebuild import Line, Order, Rebuilt

NAMED_MAX: Final = 20
"""Differences of one kind that are printed for people; ``--json`` has them all."""


@dataclass
class Compared:
    """Where the audit log and our books differ, a line each; nothing where there was no database to ask."""

    orders: list[str] = field(default_factory=list)
    fills: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)


async def rebuild(
    *,
    export: Annotated[
        tuple[Path, ...],
        Parameter(
            consume_multiple=True, negative="", help="Files of an export, or of cold storage, in any order."
        ),
    ] = (),
    whole: Annotated[
        bool, Parameter(negative="", help="With --json: every order, with its request, executions and story.")
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """Rebuild orders, executions and positions from the audit log alone, and compare them with our own books.

    Rows are read from the files that are named, then those that they lack from the database. Without a database the
    files alone are rebuilt, and nothing is compared.

    Exit 0: both tell the same. Exit 1: they differ, or rows contradict one another or lack their payload.
    """
    from audit.rebuild import BadLine, in_order
    from audit.rebuild import rebuild as read_all

    try:
        exported = in_order([list(_read(path)) for path in export])
    except BadLine as error:
        raise BadUsage(str(error), do="name files that `trading audit export` has written") from error
    try:
        told, compared = await _beside_books(common.addresses(), exported)
    except DependencyDown:
        if not exported:
            raise
        told, compared = read_all(exported), None
    emit(common, _data(told, compared, whole=whole), lambda: _draw(told, compared))
    return EXIT_REFUSED if _is_wrong(told, compared) else EXIT_DONE


def _is_wrong(told: "Rebuilt", compared: Compared | None) -> bool:
    found = [] if compared is None else [*compared.orders, *compared.fills, *compared.positions]
    return bool(found or told.doubts or told.without_payload)


async def _beside_books(addresses: Addresses, exported: "Sequence[Line]") -> "tuple[Rebuilt, Compared]":
    """Log and books of one moment."""
    from audit import compare
    from audit.rebuild import in_order
    from audit.rebuild import rebuild as read_all
    from audit.rows import read_lines, read_orders, read_positions

    async with (
        rows(addresses) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        kept = [line async for line in read_lines(connection)]
        orders, positions = await read_orders(connection), await read_positions(connection)
    # What a file has, the database need not: the payload may be in cold storage, the row dropped after its years.
    told = read_all(in_order([kept, exported]))
    return told, Compared(
        compare.orders_off(told, orders),
        compare.fills_off(told, orders),
        compare.positions_off(told, positions),
    )


def _read(path: Path) -> "Iterator[Line]":
    """Raises:
    BadLine: it is no export.
    """
    from audit.check.exports import BadExport, DamagedExport, opened
    from audit.rebuild import BadLine, parse_lines

    try:
        with opened(path) as file:
            yield from parse_lines((line.decode() for line in file), name=str(path))
    except (BadExport, DamagedExport, UnicodeDecodeError) as error:
        raise BadLine(f"{path}: {error}") from error


def _data(told: "Rebuilt", compared: Compared | None, *, whole: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "rows": told.rows,
        "orders": len(told.orders),
        "fills": sum(len(order.fills) for order in told.orders.values()),
        "positions": [
            {
                "ticker": ticker,
                "strategy": strategy,
                "quantity": f"{each.quantity:f}",
                "cash": f"{each.cash:f}",
            }
            for (ticker, strategy), each in told.positions().items()
        ],
        "compared": compared is not None,
        "orders_off": [] if compared is None else compared.orders,
        "fills_off": [] if compared is None else compared.fills,
        "positions_off": [] if compared is None else compared.positions,
        "doubts": told.doubts,
        "without_payload": told.without_payload,
    }
    if whole:
        data["whole"] = [_order(order) for _, order in sorted(told.orders.items())]
    return data


def _order(order: "Order") -> dict[str, Any]:
    return {
        "signal_id": order.key.signal_id,
        "leg": order.key.leg.value,
        "generation": order.key.generation,
        "terms": order.terms,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "broker_order_id": order.broker_order_id,
        "status": order.status.value,
        "settled": order.settled,
        "filled_quantity": f"{order.filled_quantity:f}",
        "request": order.request,
        "fills": [fill.model_dump(mode="json") for _, fill in sorted(order.fills.items())],
        "history": [
            {
                "audit_id": each.audit_id,
                "at": each.at.isoformat(),
                "decision": each.decision,
                "status": each.status.value,
            }
            for each in order.history
        ],
    }


def _draw(told: "Rebuilt", compared: Compared | None) -> None:
    lines = [
        (clean(ticker), clean(strategy), shares(each.quantity) if each.quantity else "", money(each.cash))
        for (ticker, strategy), each in told.positions().items()
    ]
    columns = ("ticker", "strategy", "quantity", "cash")
    console().print(table(columns, lines, right=columns[2:]))
    executions = sum(len(order.fills) for order in told.orders.values())
    print(f"{told.rows} audit rows tell of orders: {len(told.orders)}, executions: {executions}")
    _name("the audit log contradicts itself", told.doubts)
    if told.without_payload:
        first = told.without_payload[0]
        print(
            f"WRONG: {len(told.without_payload)} rows lack their payload, row {first} first: name with --export"
        )
        print("  the files of cold storage that hold them")
    if compared is None:
        print("no database was asked: nothing is compared with the books")
        return
    _name("orders are not what the books say", compared.orders)
    _name("executions are not what the books say", compared.fills)
    _name("positions are not what the books say", compared.positions)
    if not _is_wrong(told, compared):
        print("the books say the same")


def _name(what: str, found: Iterable[str]) -> None:
    named = list(found)
    if named:
        print(f"WRONG: {what}, {len(named)} times")
    for each in named[:NAMED_MAX]:
        print(f"  {clean(each)}")
