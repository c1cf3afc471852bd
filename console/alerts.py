"""``trading alerts``: what is wrong and lasts, and ``trading alerts clear``: a person has seen to it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.deliveries import draw_deliveries, read_deliveries, resend
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

ALERTS_MAX: Final = 500
_LOOK: Final = "look with `trading alerts`"


async def alerts(
    *,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Those that are over too, newest first.")
    ] = False,
    deliveries: Annotated[
        bool,
        Parameter(negative="", help="What waits to be told and was given up; with --all what was told too."),
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """List the alerts that last: what is wrong, since when, and what to do."""
    async with rows(common.addresses()) as connection:
        if deliveries:
            messages = await read_deliveries(connection, everything=everything)
            emit(common, messages, lambda: draw_deliveries(messages))
            return EXIT_DONE
        found = await read_alerts(connection, everything=everything)
    emit(common, found, lambda: _draw(found))
    return EXIT_DONE


async def clear(
    alert: Annotated[str, Parameter(help="CODE:subject, both as `trading alerts` shows them.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="What was found and done about it.")],
    common: Common = NO_OPTIONS,
) -> int:
    """Clear an alert of what does not end by itself. Audited with who and why. Exit 1: it lasts."""
    from console.kill_steps import COMPONENT, REASON_MAX_CHARACTERS, operator
    from schemas.alerts import CLEARED_BY_HAND, AlertCode
    from storage.alerts import clear_alert
    from storage.commits import committing

    if not reason.strip():
        raise BadUsage("an alert is cleared for a reason", do='--reason "order looked up at the broker"')
    name, _, subject = alert.partition(":")
    if not subject or name not in set(AlertCode):
        raise BadUsage(f"{clean(alert)} names no alert: it is CODE:subject", do=_LOOK)
    code = AlertCode(name)
    if code not in CLEARED_BY_HAND:
        raise Refused(f"{name} ends by itself, with what it tells of", do="see docs/RUNBOOK.md")
    async with rows(common.addresses()) as connection:
        known = await connection.fetchval(load("alerts")["is_known"], f"{code.value}:{subject}")
        if not known:
            raise Refused(f"no alert {clean(alert)} was ever raised", do=_LOOK)
        async with committing(connection, "console.alert_cleared"):
            cleared = await clear_alert(
                connection, code, subject, component=COMPONENT, now=utc_now(), actor=operator(),
                reason=reason[:REASON_MAX_CHARACTERS],
            )  # fmt: skip
    text = "cleared" if cleared else "it was over already"
    emit(common, {"cleared": cleared, "message": text}, lambda: print(text))
    return EXIT_DONE


app: Final = App(name="alerts", help="List what is wrong and lasts; --all: what is over too.")
app.default(alerts)
app.command(resend, name="resend", help="Have a message sent again that was given up: ID of --deliveries.")
app.command(clear, name="clear", help="Clear one that does not end by itself: CODE:subject --reason.")


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
