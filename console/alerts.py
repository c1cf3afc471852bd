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
_TIMES: Final = ("cleared_at", "acknowledged_at", "silenced_until")
_LOOK: Final = "look with `trading alerts`"
Named = Annotated[str, Parameter(help="CODE:subject, both as `trading alerts` shows them.")]


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
    alert: Named,
    /,
    *,
    reason: Annotated[str, Parameter(help="What was found and done about it.")],
    common: Common = NO_OPTIONS,
) -> int:
    """Clear an alert of what does not end by itself. Audited with who and why. Exit 1: it lasts."""
    from console.acts import alerts as acts
    from console.acts.people import REASON_MAX_CHARACTERS, Actor
    from console.kill_steps import operator

    if not reason.strip():
        raise BadUsage("an alert is cleared for a reason", do='--reason "order looked up at the broker"')
    async with rows(common.addresses()) as connection:
        cleared = await acts.clear(
            connection, alert, Actor(operator()), reason=reason[:REASON_MAX_CHARACTERS]
        )
    text = "cleared" if cleared else "it was over already"
    emit(common, {"cleared": cleared, "message": text}, lambda: print(text))
    return EXIT_DONE


async def acknowledge(alert: Named, /, *, common: Common = NO_OPTIONS) -> int:
    """Say that you have seen an alert. Audited with who."""
    from console.acts import alerts as acts
    from console.acts.people import Actor
    from console.kill_steps import operator

    async with rows(common.addresses()) as connection:
        fresh = await acts.acknowledge(connection, alert, Actor(operator()))
    text = "acknowledged" if fresh else "somebody had acknowledged it"
    emit(common, {"acknowledged": fresh, "message": text}, lambda: print(text))
    return EXIT_DONE


async def silence(
    alert: Named,
    /,
    *,
    for_: Annotated[str, Parameter(name="--for", help="30m, 2h, or a time; 24 h at most.")],
    reason: Annotated[str, Parameter(help="Why nobody need be told.")],
    common: Common = NO_OPTIONS,
) -> int:
    """Let nobody be told of an alert for a while; one that lasts then is told again. Audited with who and why."""
    from console.acts import alerts as acts
    from console.acts.people import Actor, why
    from console.kill_steps import operator
    from console.limits_change import until

    end = until(for_, utc_now(), option="--for")
    async with rows(common.addresses()) as connection:
        found = await acts.silence(connection, alert, Actor(operator()), until=end, reason=why(reason))
    text = f"silent until {end:%Y-%m-%d %H:%M:%S} UTC"
    emit(common, found.model_dump(mode="json"), lambda: print(text))
    return EXIT_DONE


async def hear(alert: Named, /, *, common: Common = NO_OPTIONS) -> int:
    """End an alert's silence: if it lasts it is told again. Exit 1: nothing silences it."""
    from console.acts import alerts as acts
    from console.acts.people import Actor
    from console.kill_steps import operator

    async with rows(common.addresses()) as connection:
        ended = await acts.end_silence(connection, alert, Actor(operator()))
    if not ended:
        raise Refused(f"nothing silences {clean(alert)}", do=_LOOK)
    emit(common, {"ended": True}, lambda: print("its silence has ended"))
    return EXIT_DONE


app: Final = App(name="alerts", help="List what is wrong and lasts; --all: what is over too.")
app.default(alerts)
app.command(resend, name="resend", help="Have a message sent again that was given up: ID of --deliveries.")
app.command(acknowledge, name="ack", help="Say that you have seen one: CODE:subject.")
app.command(
    silence, name="silence", help="Let nobody be told of one for a while: CODE:subject --for --reason."
)
app.command(hear, name="hear", help="End a silence: CODE:subject.")
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
            **{name: None if row[name] is None else row[name].isoformat() for name in _TIMES},
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
            _state(each, now),
            clean(each["text"]),
        )
        for each in found
    ]
    columns = ("severity", "code", "subject", "since", "times", "state", "what, and what to do")
    console().print(table(columns, lines, right=("times",)))


def _state(alert: dict[str, Any], now: datetime) -> str:
    if alert["cleared_at"]:
        return "over"
    until = alert["silenced_until"]
    if until and datetime.fromisoformat(until) > now:
        return f"silenced by {clean(alert['silenced_by'])}"
    return f"seen by {clean(alert['acknowledged_by'])}" if alert["acknowledged_at"] else "open"
