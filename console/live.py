"""``trading live``: whether orders may go to the live brokerage, and a person who takes that back.

It is granted in the console alone, by two Admins.
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from console.common import NO_OPTIONS, Common, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE
from console.rows import rows

if TYPE_CHECKING:
    from datetime import datetime

    from storage.live import GrantRow, StoredConfiguration

app = App(name="live", help="Whether orders may go to the live brokerage; and no more of it.")

Person = Annotated[str | None, Parameter(help="Who says so (default: whoever sits at this terminal).")]


@app.default
async def show(*, common: Common = NO_OPTIONS) -> int:
    """Show what execution started with, why it may not trade live, and the grants that were given."""
    from storage.live import list_grants, read_configuration
    from storage.switches import read_installation

    async with rows(common.addresses()) as connection:
        installation = await read_installation(connection)
        stored = await read_configuration(connection)
        grants = await list_grants(connection)
    told: dict[str, Any] = {
        "mode": installation.mode,
        "configuration_hash": None if stored is None else stored.configuration.hash,
        "execution": None if stored is None else stored.model_dump(mode="json"),
        "grants": [each.model_dump(mode="json") for each in grants],
    }
    emit(common, told, lambda: _draw(installation.mode, stored, grants, utc_now()))
    return EXIT_DONE


@app.command
async def revoke(
    *,
    reason: Annotated[str, Parameter(help="Why no order may leave any more.")],
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Take back every grant of live trading: the next order is refused. Exit 1: there is none in force."""
    from console.acts import live as acts
    from console.acts.people import Actor
    from console.strategies import who_and_why

    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection:
        revoked = await acts.revoke(connection, Actor(who), reason=why)
    text = "live trading is granted no more; what rests at the broker stays there: `trading kill` cancels it"
    emit(common, {"revoked": [str(each) for each in revoked], "message": text}, lambda: print(text))
    return EXIT_DONE


def _draw(
    mode: str | None, stored: "StoredConfiguration | None", grants: "list[GrantRow]", now: "datetime"
) -> None:
    print(f"mode: {(mode or 'not bound yet').upper()}")
    if stored is None:
        print("execution has not started yet")
    else:
        print(f"execution started {stored.written_at:%Y-%m-%d %H:%M} UTC with {stored.configuration.hash}")
        for reason in stored.reasons:
            print(f"  not live: {clean(reason)}")
    if not grants:
        print("live trading was never granted")
        return
    lines = [(each.grant.given_at.isoformat(timespec="minutes"), _state(each, now),
              f"{clean(each.grant.asked.name)} and {clean(each.grant.agreed.name)}", clean(each.grant.reason))
             for each in grants]  # fmt: skip
    console().print(table(("granted", "state", "by", "why"), lines))


def _state(row: "GrantRow", now: "datetime") -> str:
    if row.revoked_at is not None:
        return f"revoked by {clean(row.revoked_by)}: {clean(row.revoke_reason)}"
    if row.grant.expires_at < now:
        return "ended"
    return f"until {row.grant.expires_at.isoformat(timespec='minutes')}"
