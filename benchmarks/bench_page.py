"""The measured part of docs/BENCHMARKS.md, from benchmarks/results.json: ``python -m benchmarks.bench_page``."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.aims import aims, bounds
from benchmarks.bench_table import MISSING, OPEN_COLUMNS, contender_rows, open_rows, start_rows
from benchmarks.breakdown import UNTIL_SENT, UNTIL_THERE
from benchmarks.names import OURS, TOPOLOGIES
from benchmarks.scale_page import markdown
from schemas import wire

RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = Path(__file__).parents[1] / "docs" / "BENCHMARKS.md"
BEGIN: Final = "<!-- measured: by `make bench`, not by hand -->"
END: Final = "<!-- end of what was measured -->"

COLUMNS: Final = (
    "", "POST p50", "p95", "p99", "acknowledged p50", "p95", "p99", "orders a second", "CPU of an order, ms",
    "history events", "bytes",
)  # fmt: skip
BEGAN: Final = f"workflow began → {wire.ACTIVITY_ASSESS_RISK} begins"
DECIDED: Final = f"{wire.ACTIVITY_ASSESS_RISK} done → {wire.ACTIVITY_CHECK_PRE_TRADE} begins"
CHECKED: Final = f"{wire.ACTIVITY_CHECK_PRE_TRADE} done → {wire.ACTIVITY_PLACE_ORDER} begins"
WHAT_FOR: Final = {
    "request sent → token known, body read": (
        "loopback HTTP, ASGI, the token looked up in its table, the body read",
        "all but the token",
    ),
    "signal checked and stored": (
        "the schema, then one transaction: signal, order, event, audit row",
        "a commit",
    ),
    "Temporal start (eager)": (
        "the start at the server, which answers with the first workflow task",
        "all of it",
    ),
    BEGAN: ("the workflow made in its sandbox, its first activation, the way to the first step", "all of it"),
    wire.ACTIVITY_ASSESS_RISK: (
        "under the account's lock: facts read, every check, then decision, reservation, signed approval, event and "
        "audit row in one transaction",
        "a commit",
    ),
    DECIDED: ("a second activation of the workflow, within the same workflow task", MISSING),
    wire.ACTIVITY_CHECK_PRE_TRADE: (
        "the order and its decision read, two providers' quotes, hours, spread, and one transaction",
        "a commit",
    ),
    CHECKED: (
        "a third activation, then the workflow task's end at the server: with both markers, the order's status for "
        "the Web UI, and the step to place it",
        "the task's end, without markers and status",
    ),
    f"{wire.ACTIVITY_PLACE_ORDER}: {UNTIL_SENT}": (
        "halts read, a token of the request budget, fence, kill switch, approval verified, the intent in one "
        "transaction",
        "two commits",
    ),
    f"{wire.ACTIVITY_PLACE_ORDER}: {UNTIL_THERE}": (
        "the adapter's guards, its thread, the request itself",
        "all of it",
    ),
}
"""By stretch: what it is spent on, and what of that the floor with our commits does too."""
BETWEEN: Final = (
    "the workflow's decision in its sandbox, and the SDK's or the server's way to the step",
    MISSING,
)


def measured(found: Mapping[str, Any]) -> str:
    """What stands between the two marks."""
    where, parts = found["machine"], found["parts"]
    texts = [
        f"Measured {found['measured_at'][:10]}: {where['system']}, {where['processors']} processors, "
        f"{where['memory_gib']:g} GiB of memory, Python {where['python']}, load before it {where['load_before']:g}."
        f" A page is on the disk after {where.get('sync_ms', MISSING)} ms. Everything ran on this one machine, the "
        "exchange and the sender too.",
        *(f"**Not measured**: {part} ({why.splitlines()[0]})" for part, why in found["not_measured"].items()),
        "## Against the aims",
        markdown(
            ("", "aim", "found", ""),
            [(each.what, each.aim, MISSING if each.found is None else f"{each.found:g}", each.word)
             for each in aims(parts)],
        ),
        *bounds(parts),
    ]  # fmt: skip
    for topology in TOPOLOGIES:
        if topology in parts:
            texts += list(_topology(topology, parts[topology]))
    if "where" in parts:
        texts += ["## Each millisecond until the POST", *_where(parts["where"])]
    if "open" in parts:
        texts += ["## Open orders", markdown(OPEN_COLUMNS, open_rows(parts["open"]))]
    if "start" in parts:
        texts += ["## Start", markdown(("", "seconds"), start_rows(parts["start"]))]
    return "\n\n".join(texts)


def _topology(topology: str, part: Mapping[str, Any]) -> Iterable[str]:
    latency, burst = part["latency"], part["throughput"]
    commits = latency["commits"]
    yield f"## {topology.capitalize()}"
    yield (
        f"{latency['rounds']} rounds of one request each, then {burst['bursts']} bursts, {burst['orders']} orders "
        f"in all; milliseconds. Ours commits {commits['before']} times until the POST, {commits['acknowledging']} "
        f"for its answer, {commits['settling']} more until the order is settled; so do "
        "the plain pipelines of our steps; our workflow with the commits alone, the floor with ours and the plain "
        "pipeline of the commits alone make as many."
    )
    yield markdown(COLUMNS, contender_rows(part))
    yield markdown(("POST p50 of ours, times", "whole run", "round by round"), list(_ratios(latency)))
    yield markdown(("CPU of an order, ms", "", "by process"), list(_cpu(burst)))
    left_out = [f"{each['contender']} {each['left_out']}" for each in latency["rows"] if each.get("left_out")]
    eager = next((each["eager_starts"] for each in latency["rows"] if "eager_starts" in each), 0)
    yield f"Left out, as quote or account had to be fetched first: {'; '.join(left_out) or 'none'}."
    yield f"Eager starts of ours: {eager}."


def _ratios(latency: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    posts = {each["contender"]: each["post_ms"]["p50"] for each in latency["rows"] if "failed" not in each}
    for name, post in posts.items():
        if name != OURS and OURS in posts:
            paired = latency["paired"].get(name)
            yield name, f"{posts[OURS] / post:.2f}", MISSING if paired is None else f"{paired:.2f}"


def _cpu(burst: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for each in burst["rows"]:
        if "failed" not in each:
            by_process = ", ".join(f"{name} {used:.0f}" for name, used in each["cpu_ms"].items() if used >= 1)
            yield each["contender"], f"{each['cpu_ms_all']:.0f}", by_process


def _where(part: Mapping[str, Any]) -> Iterable[str]:
    stretches = part["stretches"]
    total = sum(each["ms_p50"] for each in stretches)
    yield (
        f"By the product's own spans, in a run of its own in which they were written: p50 "
        f"{part['post_ms']['p50']:.1f} ms; the medians of the stretches come to {total:.1f} ms."
    )
    rows = [
        (each["name"], f"{each['ms_p50']:.1f}", *WHAT_FOR.get(each["name"], BETWEEN)) for each in stretches
    ]
    yield markdown(("stretch", "ms p50", "spent on", "in the floor too"), rows)


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
