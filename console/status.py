"""``trading status``: one look at the installation.

Reads rows as they are, without models: building those would cost more time than everything else here.
"""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from console.alerts import read_alerts
from console.build_lines import build_lines, read_builds
from console.common import NO_OPTIONS, Common, ago, clean, emit, use_colours, utc_now
from console.deliveries import post_line, read_post
from console.errors import EXIT_DONE
from console.live_lines import live_lines, read_live_line
from console.rows import rows
from risk.readiness import Readiness, waits_for
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

ORDERS_MAX: Final = 500
DISABLED_MAX: Final = 500
STREAM_SEEN_MAX: Final = timedelta(seconds=15)
CLOCK_READ_MAX: Final = timedelta(seconds=60)
"""Older than that, placement trusts no trading hours."""
CLOCKS_HEARD_WITHIN: Final = timedelta(minutes=15)
"""As in `storage.clock`."""
WAITING_MAX: Final = 10_000
WAITING_FEW: Final = 500
"""One batch of the relay; more are not on their way but held up."""

ALERTS_SHOWN: Final = 5
ENDS: Final = ("cancelled", "filled")
"""Fates that need nobody's attention."""
FENCE_KEY: Final = 0x7469_6665
UNANSWERED_GRACE_SECONDS: Final = 5.0
"""Both as in `storage.placement` and `storage.fence`, which would cost this command its quick start."""

_BADGES: Final = {"paper": "\x1b[30;42m PAPER \x1b[0m", "live": "\x1b[97;41m LIVE \x1b[0m"}
_RED: Final = "\x1b[1;31m{}\x1b[0m"


async def status(*, common: Common = NO_OPTIONS) -> int:
    """Show mode, kill switch, alerts, open orders, unknown outcomes, update stream, clock, audit log and limits."""
    async with rows(common.addresses()) as connection:
        found = await _read(connection)
    emit(common, found, lambda: _draw(found))
    return EXIT_DONE


async def _read(connection: "asyncpg.Connection[Any]") -> dict[str, Any]:
    switches, market, events = load("switches"), load("market"), load("events")
    installation = await connection.fetchrow(switches["read_installation"])
    kill = await connection.fetchrow(switches["read_state"])
    stream = await connection.fetchrow(switches["read_stream"])
    halt = await connection.fetchrow(load("halt")["read_halt"])
    unknown = await connection.fetch(switches["all_unknown"])
    clock = await connection.fetchrow(market["read_clock"])
    clocks = await connection.fetch(load("clock")["read_checks"], CLOCKS_HEARD_WITHIN)
    account = await connection.fetchrow(market["read_account"])
    limits = await connection.fetchrow(load("limits")["in_force"], "account", "", utc_now())
    orders = await connection.fetch(load("orders")["list_orders"], None, None, None, True, ORDERS_MAX)
    disabled = await connection.fetch(load("conduct")["list_stops"], False, DISABLED_MAX)
    external = await connection.fetch(load("reconciliation")["external_open"])
    newest = await connection.fetchval(events["newest_position"])
    waiting = await connection.fetchval(events["count_waiting"], WAITING_MAX)
    sealed = await connection.fetchrow(load("audit_sealing")["read_state"])
    assert installation and kill and stream and account and halt and sealed, "each always has its one row"  # noqa: PT018
    return {
        "mode": installation["mode"],
        "account": installation["account"],
        "kill_switch": _kill(kill) | await _fence(connection),
        "live_grant": await read_live_line(connection, installation["mode"], utc_now()),
        "alerts": await read_alerts(connection),
        "alerts_told": await read_post(connection),
        "broker_halt": {
            "is_open": halt["is_open"], "cause": halt["cause"] if halt["is_open"] else None,
            "failures": halt["failures"], "changed_at": _time(halt["changed_at"]),
            "probed_at": _time(halt["probed_at"]),
        },
        "strategies_disabled": [
            {name: row[name] for name in ("strategy", "cause", "reason")} | {"since": _time(row["since"])}
            for row in disabled
        ],
        "open_orders": _by_status(orders),
        "external_orders": [row["broker_order_id"] for row in external],
        "unknown_outcomes": [row["client_order_id"] for row in unknown],
        "stream": {key: _time(value) for key, value in stream.items()},
        "reconciliation": await _books(connection),
        "clock": None if clock is None else {
            "read_at": _time(clock["read_at"]), "market_at": _time(clock["broker_at"]),
            "speed": clock["speed"], "is_open": clock["is_open"],
        },
        "clocks": [_own_clock(row) for row in clocks],
        "events": {"position": newest, "waiting": waiting},
        "builds": await read_builds(connection),
        "audit": {
            "sealed": sealed["size"], "checkpoint": sealed["checkpoint_size"],
            "checkpoint_at": _time(sealed["published_at"]),
        },
        "account_snapshot_at": _time(account["taken_at"]),
        "equity": None if account["equity"] is None else format(account["equity"], "f"),
        "limits": None if limits is None else {
            "version": limits["version"], "author": limits["author"], "reason": limits["reason"],
            "raised_until": _time(limits["expires_at"]),
        },
    }  # fmt: skip


def _kill(row: "asyncpg.Record") -> dict[str, Any]:
    return {
        "engaged": row["engaged"],
        "epoch": row["epoch"],
        "scope": row["scope"],
        "reason": row["reason"],
        "triggered_by": row["triggered_by"],
        "changed_at": _time(row["changed_at"]),
        "swept_at": _time(row["swept_at"]),
        "sweep_confirmed": row["sweep_confirmed"],
        "fates": json.loads(row["sweep"] or "{}"),
        "unprotected": list(row["unprotected"]),
    }


async def _fence(connection: "asyncpg.Connection[Any]") -> dict[str, Any]:
    """Whose POST has no answer, and which sessions hold the fence: placements, or whoever blocks them."""
    waiting = await connection.fetch(load("placement")["unanswered_posts"], UNANSWERED_GRACE_SECONDS)
    holders = await connection.fetch(load("fence")["fence_holders"], FENCE_KEY)
    return {
        "waiting_for": [row["client_order_id"] for row in waiting],
        "fence_held_by": [dict(row) for row in holders],
    }


async def _books(connection: "asyncpg.Connection[Any]") -> dict[str, Any]:
    statements = load("reconciliation")
    books = await connection.fetchrow(statements["readiness"])
    last = await connection.fetch(statements["list_runs"], 1)
    assert books is not None, "it always has its one row"
    return {
        "good_at": _time(books["finished_at"]),
        "orders_wait": waits_for(Readiness(**dict(books)), utc_now()),
        "last": None if not last else {
            "outcome": last[0]["outcome"], "finished_at": _time(last[0]["finished_at"]),
            "drift": format(last[0]["drift"], "f"), "detail": last[0]["detail"],
        },
    }  # fmt: skip


def _own_clock(row: "asyncpg.Record") -> dict[str, Any]:
    offset = row["offset_us"]
    return {
        "process": row["holder"], "verdict": row["verdict"], "source": row["source"],
        "offset_seconds": None if offset is None else offset / 1_000_000,
        "age_seconds": round(row["age"].total_seconds(), 1), "halted_since": _time(row["halted_since"]),
        "halt_cause": row["halt_cause"],
    }  # fmt: skip


def _by_status(orders: "list[asyncpg.Record]") -> dict[str, int]:
    found: dict[str, int] = {}
    for row in orders:
        found[row["status"]] = found.get(row["status"], 0) + 1
    return found


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _draw(found: dict[str, Any]) -> None:
    colours = use_colours()
    mode = found["mode"] or "not bound yet"
    badge = _BADGES.get(mode, mode) if colours else mode.upper()
    print(f"{badge} account {clean(found['account'] or '-')}")
    for label, text, wrong in _lines(found, utc_now()):
        print(f"{label:<16} {_RED.format(text) if wrong and colours else text}")


def _lines(found: dict[str, Any], now: datetime) -> list[tuple[str, str, bool]]:
    """(label, text, whether it needs attention)."""
    unknown = found["unknown_outcomes"]
    orders = found["open_orders"]
    count = sum(orders.values())
    by_status = ", ".join(f"{number} {name}" for name, number in sorted(orders.items()))
    open_orders = f"{count}{'+' if count == ORDERS_MAX else ''}" + (f" ({by_status})" if count else "")
    return [
        *live_lines(found["live_grant"]),
        *_kill_lines(found["kill_switch"], now),
        _halt_line(found["broker_halt"], now),
        *_alert_lines(found["alerts"], now),
        *_disabled_lines(found["strategies_disabled"], now),
        post_line(found["alerts_told"]),
        ("open orders", open_orders, False),
        ("external orders", ", ".join(clean(each) for each in found["external_orders"]) or "none", False),
        ("unknown outcomes", ", ".join(unknown) or "none", bool(unknown)),
        _stream_line(found["stream"], now),
        _books_line(found["reconciliation"], now),
        _clock_line(found["clock"], now),
        *_own_clock_lines(found["clocks"]),
        _events_line(found["events"]),
        _audit_line(found, now),
        ("account", _account(found, now), found["equity"] is None),
        _limits_line(found["limits"]),
        *build_lines(found["builds"]),
    ]  # fmt: skip


def _limits_line(limits: dict[str, Any] | None) -> tuple[str, str, bool]:
    if limits is None:
        return "limits", "none are set: nothing may trade", True
    until = f", raised until {limits['raised_until']}" if limits["raised_until"] else ""
    text = f"version {limits['version']} by {clean(limits['author'])}: {clean(limits['reason'])}{until}"
    return "limits", text, bool(until)


def _account(found: dict[str, Any], now: datetime) -> str:
    if found["equity"] is None:
        return "no snapshot yet"
    return (
        f"equity ${Decimal(found['equity']):,.2f}, read {ago(_parsed(found['account_snapshot_at']), now)} ago"
    )


def _kill_lines(kill: dict[str, Any], now: datetime) -> list[tuple[str, str, bool]]:
    blocked = _fence_lines(kill)
    if not kill["engaged"]:
        text = "released" + (
            f" by {clean(kill['triggered_by'])}: {clean(kill['reason'])}" if kill["reason"] else ""
        )
        return [("kill switch", text, False), *blocked]
    since = ago(_parsed(kill["changed_at"]), now)
    by = f"by {clean(kill['triggered_by'])}: {clean(kill['reason'])}"
    lines = [
        ("kill switch", f"ENGAGED ({kill['scope']}, epoch {kill['epoch']}) {since} ago {by}", True),
        *blocked,
    ]
    fates: dict[str, int] = {}
    for fate in kill["fates"].values():
        fates[fate] = fates.get(fate, 0) + 1
    told = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items())) or "no open orders"
    unsure = ", ".join(f"{clean(key)} {fate}" for key, fate in kill["fates"].items() if fate not in ENDS)
    if kill["swept_at"] is None:
        lines.append(("  sweep", f"not recorded yet{': ' if unsure else ''}{unsure}", True))
    elif kill["sweep_confirmed"]:
        lines.append(("  sweep", f"confirmed: {told}", False))
    else:
        lines.append(("  sweep", f"not all confirmed: {told}{': ' if unsure else ''}{unsure}", True))
    if kill["unprotected"]:
        lines.append(("  UNPROTECTED", f"held without a stop: {clean(', '.join(kill['unprotected']))}", True))
    return lines


def _fence_lines(kill: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Who blocks placements, and while engaged whose placement has not ended."""
    lines = []
    for holder in kill["fence_held_by"]:
        who = f"{clean(holder['process']) or 'unnamed'} as {holder['role']}, session {holder['pid']}"
        if holder["exclusive"]:
            lines.append(("  fence", f"held alone by {who}: no order can be placed", True))
        elif kill["engaged"]:
            lines.append(("  fence", f"held by {who}: it was placing", True))
    if kill["engaged"] and kill["waiting_for"]:
        lines.append(("  fence", f"POST not answered: {', '.join(kill['waiting_for'])}", True))
    return lines


def _alert_lines(alerts: list[dict[str, Any]], now: datetime) -> list[tuple[str, str, bool]]:
    if not alerts:
        return [("alerts", "none", False)]
    lines = [("alerts", f"{len(alerts)} open, see `trading alerts`", True)]
    for each in alerts[:ALERTS_SHOWN]:
        since = ago(_parsed(each["raised_at"]), now)
        lines.append((f"  {each['severity']}", f"{each['code']} since {since}: {clean(each['text'])}", True))
    return lines


def _disabled_lines(disabled: list[dict[str, Any]], now: datetime) -> list[tuple[str, str, bool]]:
    return [
        ("strategy disabled", f"{clean(each['strategy'])} since {ago(_parsed(each['since']), now)}: "
         f"{each['cause']}, {clean(each['reason'])}", True)
        for each in disabled
    ]  # fmt: skip


def _halt_line(halt: dict[str, Any], now: datetime) -> tuple[str, str, bool]:
    if not halt["is_open"]:
        failing = f", {halt['failures']} calls in a row have failed" if halt["failures"] else ""
        return ("broker", f"not halted{failing}", False)
    since, probed = ago(_parsed(halt["changed_at"]), now), ago(_parsed(halt["probed_at"]), now)
    return ("broker", f"HALTED {since} ago, asked {probed} ago, ORDERS WAIT: {clean(halt['cause'])}", True)


def _stream_line(stream: dict[str, Any], now: datetime) -> tuple[str, str, bool]:
    seen, caught_up = _parsed(stream["last_seen_at"]), _parsed(stream["last_catch_up_at"])
    alive = seen is not None and now - seen <= STREAM_SEEN_MAX
    text = "connected" if alive else f"NOT CONNECTED, last seen {ago(seen, now)}{' ago' if seen else ''}"
    return (
        "update stream",
        f"{text}; last catch-up {ago(caught_up, now)}{' ago' if caught_up else ''}",
        not alive,
    )


def _books_line(books: dict[str, Any], now: datetime) -> tuple[str, str, bool]:
    last = books["last"]
    if last is None:
        return ("reconciliation", f"ORDERS WAIT: {books['orders_wait'] or 'never run'}", True)
    text = f"{last['outcome']} {ago(_parsed(last['finished_at']), now)} ago: {clean(last['detail'])}"
    if books["orders_wait"]:
        text += f"; ORDERS WAIT: {books['orders_wait']}"
    return ("reconciliation", text, bool(books["orders_wait"]) or last["outcome"] not in ("CLEAN", "OPENED"))


def _clock_line(clock: dict[str, Any] | None, now: datetime) -> tuple[str, str, bool]:
    if clock is None:
        return ("market clock", "never read", True)
    read = _parsed(clock["read_at"])
    old = read is None or now - read > CLOCK_READ_MAX
    state = "open" if clock["is_open"] else "closed"
    speed = "" if clock["speed"] == 1 else f", {clock['speed']:g} x real time"
    at = datetime.fromisoformat(clock["market_at"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    return ("market clock", f"{state}, {at}{speed}; read {ago(read, now)} ago", old)


def _own_clock_lines(clocks: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """One for each process that is heard of; those whose exchange shares their clock say nothing."""
    lines = []
    for each in clocks:
        who = clean(each["process"])
        if each["halted_since"] is not None:
            lines.append(("clock", f"{who}: NEW ORDERS WAIT: {clean(each['halt_cause'])}", True))
        elif each["offset_seconds"] is not None:
            lines.append(("clock", f"{who}: {each['offset_seconds']:+.3f} s by {each['source']}", False))
        elif each["verdict"] == "NO_SOURCE":
            lines.append(("clock", f"{who}: nobody says whether it is right", True))
    return lines


def _events_line(events: dict[str, int]) -> tuple[str, str, bool]:
    waiting = events["waiting"]
    more = "+" if waiting == WAITING_MAX else ""
    late = waiting > WAITING_FEW
    return ("events", f"{events['position']} told, {waiting}{more} waiting for the relay", late)


def _audit_line(found: dict[str, Any], now: datetime) -> tuple[str, str, bool]:
    audit = found["audit"]
    alarmed = any(each["code"].startswith("AUDIT_") for each in found["alerts"])
    if audit["checkpoint"] is None:
        return (
            "audit log",
            f"{audit['sealed']} rows sealed, no checkpoint outside the database yet",
            alarmed,
        )
    text = (
        f"{audit['sealed']} rows sealed; newest checkpoint outside the database: {audit['checkpoint']} rows"
    )
    return ("audit log", f"{text}, {ago(_parsed(audit['checkpoint_at']), now)} ago", alarmed)


def _parsed(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
