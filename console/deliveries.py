"""Who is told of alerts, and what could not be told: `trading alerts --deliveries` and `trading alerts resend`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, Refused
from console.rows import rows
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

DELIVERIES_MAX: Final = 500
DEAD: Final = "dead"
_TIMES: Final = ("raised_at", "changed_at", "next_try_at", "sent_at")
_LOOK: Final = "look with `trading alerts --deliveries`"

Line = tuple[str, str, bool]
"""Label, text, whether it needs attention: a line of `trading status`."""


async def read_deliveries(
    connection: "asyncpg.Connection[Any]", *, everything: bool = False
) -> list[dict[str, Any]]:
    """Messages that wait or were given up; with ``everything`` those that were sent after them."""
    found = await connection.fetch(load("deliveries")["list_deliveries"], everything, DELIVERIES_MAX)
    return [{**dict(row), **{name: _text(row[name]) for name in _TIMES}} for row in found]


def draw_deliveries(found: list[dict[str, Any]]) -> None:
    """A table of messages."""
    if not found:
        print("nothing waits to be told, and nothing was given up")
        return
    now = utc_now()
    lines = [
        (
            each["delivery_id"],
            each["state"],
            each["channel"],
            each["change"],
            each["alert_id"],
            ago(datetime.fromisoformat(each["changed_at"]), now),
            each["tries"],
            clean(each["last_error"] or each["response"] or ""),
        )
        for each in found
    ]
    columns = ("id", "state", "channel", "change", "alert", "since", "tries", "what the receiver said")
    console().print(table(columns, lines, right=("id", "tries")))


async def resend(
    delivery: Annotated[int, Parameter(help="Its id, as `trading alerts --deliveries` shows it.")],
    /,
    *,
    common: Common = NO_OPTIONS,
) -> int:
    """Have a message sent again that was given up. Audited with who. Exit 1: it is not to be sent."""
    from console.acts.people import COMPONENT
    from console.kill_steps import operator
    from storage import deliveries as storage
    from storage.commits import committing

    async with rows(common.addresses()) as connection:
        found = await storage.read_delivery(connection, delivery)
        if found is None:
            raise Refused(f"there is no message {delivery}", do=_LOOK)
        async with committing(connection, "console.alert_resent"):
            again = await storage.resend(
                connection, delivery, component=COMPONENT, actor=operator(), now=utc_now()
            )
    if again is None and found.state.value != DEAD:
        raise Refused(f"message {delivery} is {found.state.value}, not dead", do=_LOOK)
    if again is None:
        raise Refused(
            f"{clean(found.alert_id)} is over: an incident would be opened that nothing closes",
            do="look with `trading alerts --all`",
        )
    text = f"it is sent again to {again.channel.value}"
    emit(common, {"resent": True, "delivery_id": delivery, "message": text}, lambda: print(text))
    return EXIT_DONE


async def read_post(connection: "Connection") -> dict[str, Any]:
    """Which channels are told of what, and how many messages are due and dead: for `trading status`."""
    statements = load("deliveries")
    channels = await connection.fetch(statements["read_channels"])
    counts = {row["state"]: row["count"] for row in await connection.fetch(statements["count_unsent"])}
    return {
        "channels": {row["channel"]: list(row["severities"]) for row in channels if row["severities"]},
        "due": counts.get("due", 0),
        "dead": counts.get(DEAD, 0),
    }


def post_line(post: dict[str, Any]) -> Line:
    """Its line of `trading status`."""
    channels = "; ".join(f"{name}: {', '.join(each)}" for name, each in post["channels"].items())
    text = channels or "in rows only: no channel is configured"
    if post["due"]:
        text += f"; {post['due']} wait"
    if post["dead"]:
        text += f"; {post['dead']} NOT TOLD, see `trading alerts --deliveries`"
    return ("  told", text, bool(post["dead"]))


def _text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
