"""``trading limits``: what is in force and from whom, and the changes of it."""

import getpass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from pydantic import ValidationError

from console.acts.limits import SHOW, Change, Changed, Wanted, change_limits
from console.acts.people import REASON_MAX_CHARACTERS, Actor
from console.common import NO_OPTIONS, Common, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage, Refused
from console.kill_steps import operator
from console.limits_change import edited, from_file, until, wanted
from console.rows import rows
from risk.limit_changes import changes, in_force, states, told
from schemas.limits import (
    EffectiveLimits,
    LimitsRow,
    NewDocument,
    StrategyLimits,
    TickerLimits,
    faults,
    owner,
)
from schemas.risk import LimitScope, LimitSource
from storage.limits import LimitsMissing, effective_limits, read_history, read_names, read_standing

NOTHING: Final[dict[LimitScope, NewDocument]] = {
    LimitScope.STRATEGY: StrategyLimits(),
    LimitScope.TICKER: TickerLimits(),
}
"""What a cleared row holds."""

Strategy = Annotated[str | None, Parameter(help="Of this strategy.")]
Ticker = Annotated[str | None, Parameter(help="Of this ticker.")]
Reason = Annotated[str, Parameter(help="Why: kept for ever with the change.")]
Author = Annotated[str | None, Parameter(help="Who decided it (default: the login name).")]


async def show(*, strategy: Strategy = None, ticker: Ticker = None, common: Common = NO_OPTIONS) -> int:
    """Show the limits in force, and which row each comes from; with a strategy and a ticker as for their orders."""
    now = utc_now()
    async with rows(common.addresses()) as connection:
        try:
            found = await effective_limits(connection, now, strategy=strategy, ticker=ticker)
        except LimitsMissing as error:
            raise Refused("none are set: nothing may trade", do="`trading limits set --file FILE`") from error
        except ValidationError as error:
            raise Refused(
                f"the limits in force are not whole: {faults(error)}",
                do="`trading limits set FIELD=VALUE ...`",
            ) from error
        own = [
            (await read_standing(connection, scope, name, now)).in_force
            for scope, name in await read_names(connection)
        ]
    others = [row for row in own if row is not None and row.document.model_dump(exclude_none=True)]
    data = _effective_data(found) | {"rows": [{"of": row.owner, "version": row.version} for row in others]}
    emit(common, data, lambda: _draw_effective(found, others))
    return EXIT_DONE


async def set_limits(
    *edits: Annotated[
        str, Parameter(help="FIELD=VALUE, LIST+=A,B or LIST-=A; FIELD=none takes it from a row.")
    ],
    file: Annotated[Path | None, Parameter(help="The whole document, as JSON.")] = None,
    strategy: Strategy = None,
    ticker: Ticker = None,
    until_: Annotated[
        str | None,
        Parameter(name="--until", help="A raise that ends then: 30m, 2h, or a time; 24 h at most."),
    ] = None,
    reason: Reason,
    author: Author = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Set limits: a new version, in force at the next decision. Fields that are not named stay as they last.

    A new version ends a raise of the same account, strategy or ticker. Where raises need two persons (in live mode,
    or as TRADING_TWO_PERSONS says) a raise is only asked for here. Exit 1: refused, or asked for.
    """
    whose = wanted(strategy, ticker)
    if (file is None) == (not edits):
        raise BadUsage("give FIELD=VALUE, or --file with the whole document", do=SHOW)
    expires_at = None if until_ is None else until(until_, utc_now())

    def edit(stored: dict[str, Any]) -> Any:
        return edited(whose.scope, stored, edits) if file is None else from_file(whose.scope, file)

    return await _change(common, whose, edit, reason=reason, author=author, expires_at=expires_at)


async def clear(
    *,
    strategy: Strategy = None,
    ticker: Ticker = None,
    reason: Reason,
    author: Author = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Take away what is set for a strategy or a ticker: the account's limits count alone. Its history stays."""
    whose = wanted(strategy, ticker)
    if whose.scope is LimitScope.ACCOUNT:
        raise BadUsage(
            "the account's limits can be changed, not cleared", do="--strategy NAME or --ticker NAME"
        )
    return await _change(
        common, whose, lambda _: NOTHING[whose.scope], reason=reason, author=author, expires_at=None
    )


async def history(
    *,
    strategy: Strategy = None,
    ticker: Ticker = None,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Of the account and every strategy and ticker.")
    ] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """Show every version, newest first: who set it, when, why, what it changed and what has become of it."""
    whose = wanted(strategy, ticker)
    if everything and whose.scope is not LimitScope.ACCOUNT:
        raise BadUsage("--all is of everything", do="leave out --strategy and --ticker")
    async with rows(common.addresses()) as connection:
        found = await read_history(connection, None if everything else whose.scope, whose.name)
    data = _history(found, utc_now())
    emit(common, data, lambda: _draw_history(data))
    return EXIT_DONE


app: Final = App(name="limits", help="Show, set and clear limits; who set which, and why.")
app.default(show)
app.command(show, name="show", help="Show the limits in force, and which row each comes from.")
app.command(set_limits, name="set", help="Set FIELD=VALUE ..., or --file; --until: a raise that ends.")
app.command(clear, name="clear", help="Take away what is set for a strategy or a ticker.")
app.command(history, name="history", help="Show every version, newest first.")


async def _change(
    common: Common, whose: Wanted, edit: Any, *, reason: str, author: str | None, expires_at: datetime | None
) -> int:
    if not reason.strip():
        raise BadUsage("limits are changed for a reason", do='--reason "why"')
    async with rows(common.addresses()) as connection:
        change = Change(
            whose, edit, author=(author or "").strip() or getpass.getuser(),
            reason=reason.strip()[:REASON_MAX_CHARACTERS], expires_at=expires_at,
        )  # fmt: skip
        found = await change_limits(connection, change, Actor(operator()))
    data = {
        "scope": whose.scope.value,
        "name": whose.name,
        "version": found.version,
        "decision": found.decision.value if found.version is not None else None,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
        "changes": [each.model_dump(mode="json") for each in found.changes],
        "asked": None if found.asked is None else str(found.asked.approval_id),
    }
    emit(common, data, lambda: _draw_changed(whose, found, expires_at))
    return EXIT_DONE if found.asked is None else EXIT_REFUSED


def _draw_changed(whose: Wanted, found: Changed, expires_at: datetime | None) -> None:
    if found.asked is not None:
        asked = found.asked
        print(f"{clean(whose.owner)}: NOT CHANGED: this raise needs two persons ({asked.approval_id})")
        print(
            f"  what to do: before {_time(asked.expires_at)} one takes it up in the console, another carries it out"
        )
        return
    if found.version is None:
        print(f"{clean(whose.owner)}: nothing to change")
        return
    end = (
        ""
        if expires_at is None
        else f", until {_time(expires_at)}, then version {found.lasting_version} again"
    )
    print(f"{clean(whose.owner)}: version {found.version}{end}")
    if found.changes:
        lines = [
            (change.field, change.before, change.after, "raised" if change.wider else "lowered")
            for change in found.changes
        ]
        console().print(table(("limit", "before", "after", ""), lines))


def _effective_data(found: EffectiveLimits) -> dict[str, Any]:
    values = found.limits.model_dump(mode="json")
    return {
        "version": found.version,
        "limits": {
            field: {"value": value, "from": [_source(each) for each in found.sources if each.field == field]}
            for field, value in values.items()
        },
    }


def _source(source: LimitSource) -> dict[str, Any]:
    return {
        "scope": source.scope.value,
        "name": source.name,
        "version": source.version,
        "expires_at": None if source.expires_at is None else source.expires_at.isoformat(),
    }


def _draw_effective(found: EffectiveLimits, others: list[LimitsRow]) -> None:
    lines = []
    for field, value in found.limits:
        sources = [each for each in found.sources if each.field == field]
        ends = sorted(_time(each.expires_at) for each in sources if each.expires_at)
        origin = ", ".join(f"{each.owner} ({each.version})" for each in sources)
        lines.append((field, told(field, value), origin, ", ".join(ends)))
    console().print(table(("limit", "value", "from (version)", "until"), lines))
    if others:
        named = ", ".join(clean(f"{row.owner} ({row.version})") for row in others)
        print(f"limits of their own: {named}; see them with --strategy NAME, --ticker NAME")


def _history(found: list[LimitsRow], now: datetime) -> list[dict[str, Any]]:
    """Newest first; each row beside the one that was in force when it came."""
    scopes: dict[tuple[LimitScope, str], list[LimitsRow]] = {}
    for row in found:
        scopes.setdefault((row.scope, row.name), []).append(row)
    lines = []
    for each in scopes.values():
        became = states(each, now)
        for index, row in enumerate(each):
            before = in_force(each[index + 1 :], row.created_at)
            lines.append(_version(row, before, became[row.version].value))
    return sorted(lines, key=lambda line: -int(line["version"]))


def _version(row: LimitsRow, before: LimitsRow | None, state: str) -> dict[str, Any]:
    changed = changes(before.document if before else None, row.document)
    return {
        "version": row.version,
        "scope": row.scope.value,
        "name": row.name,
        "state": state,
        "created_at": row.created_at.isoformat(),
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        "author": row.author,
        "reason": row.reason,
        "replaces": before.version if before else None,
        "changes": [change.model_dump(mode="json") for change in changed],
        "limits": row.document.model_dump(mode="json", exclude_none=True),
    }


def _draw_history(found: list[dict[str, Any]]) -> None:
    if not found:
        print("none were ever set")
        return
    lines = [
        (
            each["version"],
            owner(LimitScope(each["scope"]), each["name"]),
            each["state"],
            _time(datetime.fromisoformat(each["created_at"])),
            _time(datetime.fromisoformat(each["expires_at"])) if each["expires_at"] else "",
            each["author"],
            each["reason"],
            _changes_text(each),
        )
        for each in found
    ]
    columns = ("version", "of", "state", "set at", "until", "by", "reason", "what it changed")
    console().print(table(columns, lines, right=("version",)))


def _changes_text(version: dict[str, Any]) -> str:
    if version["scope"] == LimitScope.ACCOUNT.value and version["replaces"] is None:
        return "the first"
    return "; ".join(f"{each['field']} {each['before']} → {each['after']}" for each in version["changes"])


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"
