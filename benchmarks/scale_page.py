"""The measured part of docs/SCALING.md, written from benchmarks/scale.json: ``python -m benchmarks.scale_page``."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from storage.database import POOL_MAX
from storage.grants import SESSIONS, Role

RESULTS: Final = Path(__file__).with_name("scale.json")
PAGE: Final = Path(__file__).parents[1] / "docs" / "SCALING.md"
BEGIN: Final = "<!-- measured: by `make scale`, not by hand -->"
END: Final = "<!-- end of what was measured -->"

RATES: Final = (10, 1_000, 100_000)
"""Orders a minute."""
BUSY: Final = 0.6
"""How much of a processor, or of the placement slots, is to be used at the peak."""
SLOTS: Final = 8
"""Of an execution worker, by default."""
SESSION_HOURS: Final = 6.5
GIGABYTE: Final = 1e9
MEGABYTE: Final = 1e6
CLOUD_ACTIONS_A_SECOND: Final = 500
CLOUD_REQUESTS_A_SECOND: Final = 2_000
SELF_HOSTED_REQUESTS_A_SECOND: Final = 2_400
ALPACA_REQUESTS_A_MINUTE: Final = 200
GROUPS: Final = ("gateway", "orders", "risk", "execution", "operations", "temporal", "postgres")
"""Whose processors are to be paid for; the exchange is a broker's own."""


def measured(found: Mapping[str, Any]) -> str:
    """The tables, between the two marks."""
    cost, far = found["cost_per_order"], found["exchange_latency_ms"]
    parts = [
        f"Measured {found['measured_at'][:10]} on {found['processors']} processors (load before it: "
        f"{found['load_before']:.1f}), broker {far} ms away, Temporal's development server.",
        markdown(
            (
                "execution workers",
                "slots of each",
                "orders a second",
                "slots allow",
                "processors used",
                "bound by",
            ),
            map(_step, found["steps"]),
        ),
        markdown(("of one order, bought at market and settled", ""), _costs(cost)),
        markdown(
            ("", *(f"{rate:,} orders a minute" for rate in RATES)),
            _needs(cost, far / 1000),
        ),
        markdown(("limit", "orders a minute", "where the limit is from"), _limits(cost, found)),
    ]
    return "\n\n".join(parts)


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(step["workers"]),
        str(step["slots"]),
        f"{step['orders_a_second']:.1f}",
        f"{step['ceiling']:.1f}",
        f"{step['cpu_busy']:.0%}",
        step["bound_by"],
    )


def _costs(cost: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "history events", f"{cost['history_events']:.0f}"
    yield "history bytes", f"{cost['history_bytes']:,.0f}"
    yield "actions at Temporal", f"{cost['temporal_actions']:.0f}"
    yield "requests at Temporal", f"{cost['temporal_requests']:.0f}"
    yield "commits at our database, everything beside orders with it", f"{cost['database_commits']:.0f}"
    yield "rows in our database", f"{cost['database_rows']:.0f}"
    yield "bytes in our database, indexes with it", f"{cost['database_bytes']:,.0f}"
    yield "bytes of its write-ahead log", f"{cost['wal_bytes']:,.0f}"
    routes = ", ".join(f"{number:.1f} {route}" for route, number in cost["broker_requests"].items())
    yield "requests at the broker", f"{_requests(cost):.1f}: {routes}"
    for name in GROUPS:
        yield f"processor time of {name}", f"{cost['cpu_ms'][name]:.0f} ms"


def _needs(cost: Mapping[str, Any], latency_seconds: float) -> Iterable[tuple[str, ...]]:
    def row(name: str, need: Sequence[str]) -> tuple[str, ...]:
        return (name, *need)

    def cores(group: str, rate: int) -> float:
        return float(rate / 60 * cost["cpu_ms"][group] / 1000 / BUSY)

    for group in GROUPS:
        yield row(f"processors for {group}", [_ceil(cores(group, rate)) for rate in RATES])
    slots = [rate / 60 * latency_seconds / BUSY / SLOTS for rate in RATES]
    workers = [
        math.ceil(max(need, cores("execution", rate))) for need, rate in zip(slots, RATES, strict=True)
    ]
    yield row(f"execution workers of {SLOTS} slots", [f"{each:,}" for each in workers])
    yield row("history events a second", [_round(rate / 60 * cost["history_events"]) for rate in RATES])
    yield row(
        "requests a second at Temporal", [_round(rate / 60 * cost["temporal_requests"]) for rate in RATES]
    )
    yield row("commits a second", [_round(rate / 60 * cost["database_commits"]) for rate in RATES])
    wal = [rate / 60 * cost["wal_bytes"] / MEGABYTE for rate in RATES]
    yield row("write-ahead log, MB a second", [f"{each:,.2f}" for each in wal])
    day = [rate * 60 * SESSION_HOURS * cost["database_bytes"] / GIGABYTE for rate in RATES]
    yield row("database growth a session, GB", [f"{each:,.1f}" for each in day])
    yield row("requests a minute at the broker", [_round(rate * _requests(cost)) for rate in RATES])


def _limits(cost: Mapping[str, Any], found: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    alpaca = ALPACA_REQUESTS_A_MINUTE / _requests(cost)
    cloud = CLOUD_ACTIONS_A_SECOND * 60 / cost["temporal_actions"]
    requests = SELF_HOSTED_REQUESTS_A_SECOND * 60 / cost["temporal_requests"]
    slots = SLOTS / (found["exchange_latency_ms"] / 1000) * 60
    sessions = SESSIONS[Role.EXECUTION]
    best = max(step["orders_a_second"] for step in found["steps"]) * 60
    rows = [
        (alpaca, "Alpaca: 200 requests a minute and account",
         "[usage limit](https://alpaca.markets/support/usage-limit-api-calls/); requests of an order: measured"),
        (best, "this machine, everything on it", "measured"),
        (slots, f"one execution worker, {SLOTS} slots, broker {found['exchange_latency_ms']} ms away",
         "`TRADING_PLACEMENT_SLOTS`; latency: set"),
        (60_000 / cost["cpu_ms"]["risk"],
         "our PostgreSQL: the account's lock, one decision at a time, the flush of its commit not counted",
         "processor time of `risk`: measured; see below"),
        (sessions / (POOL_MAX + SLOTS) * slots,
         f"our PostgreSQL: {sessions} sessions of execution's role, {POOL_MAX + SLOTS} for each worker",
         "`storage/grants.py`; what a worker does: above"),
        (cloud, "Temporal Cloud: 500 actions a second and namespace, before it grows by itself",
         "[system limits](https://docs.temporal.io/cloud/limits); actions of an order: measured"),
        (requests, "Temporal, self-hosted: 2,400 requests a second and namespace of one front end",
         "`frontend.namespaceRPS`, [dynamic configuration](https://docs.temporal.io/references/dynamic-configuration);"
         " requests of an order: measured"),
    ]  # fmt: skip
    for rate, name, source in sorted(rows):
        yield name, f"{rate:,.0f}", source


def _requests(cost: Mapping[str, Any]) -> float:
    return float(sum(cost["broker_requests"].values()))


def _ceil(value: float) -> str:
    return f"{value:,.2f}" if value < 1 else f"{math.ceil(value):,}"


def _round(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def placed(page: str, found: Mapping[str, Any]) -> str:
    """The page with its measured part anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{measured(found)}\n\n{END}{after}"


def rewrite(found: Mapping[str, Any]) -> None:
    """Write it."""
    PAGE.write_text(placed(PAGE.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    rewrite(json.loads(RESULTS.read_text("utf-8")))
    sys.exit(0)
