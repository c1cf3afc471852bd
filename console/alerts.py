"""``trading alerts``: what is wrong and lasts."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE
from console.rows import rows
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

ALERTS_MAX: Final = 500


async def alerts(
    *,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Those that are over too, newest first.")
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """List the alerts that last: what is wrong, since when, and what to do."""
    async with rows(common.addresses()) as connection:
        found = await read_alerts(connection, everything=everything)
    emit(common, found, lambda: _draw(found))
    return EXIT_DONE


async def read_alerts(
    connection: "asyncpg.Connection[Any]", *, everything: bool = False
) -> list[dict[str, Any]]:
    """Rows as they are, newest first: this is read by `trading status`, which builds no models."""
    found = await connection.fetch(load("alerts")["list_alerts"], everything, ALERTS_MAX)
    return [
        {
            **dict(row),
            "raised_at": row["raised_at"].isoformat(),
            "last_raised_at": row["last_raised_at"].isoformat(),
            "cleared_at": None if row["cleared_at"] is None else row["cleared_at"].isoformat(),
        }
        for row in found
    ]


def _draw(found: list[dict[str, Any]]) -> None:
    if not found:
        print("no alerts")
        return
    now = utc_now()
    lines = [
        (
            each["severity"],
            each["code"],
            each["subject"],
            ago(datetime.fromisoformat(each["raised_at"]), now),
            each["times"],
            "over" if each["cleared_at"] else "open",
            clean(each["text"]),
        )
        for each in found
    ]
    columns = ("severity", "code", "subject", "since", "times", "state", "what, and what to do")
    console().print(table(columns, lines, right=("times",)))
