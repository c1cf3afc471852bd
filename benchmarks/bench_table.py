"""The results for people: one table of all contenders, and what else was measured below it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.aims import aims
from benchmarks.names import TOPOLOGIES
from console.common import console, table

COLUMNS: Final = (
    "", "POST p50", "p95", "p99", "acked p50", "p95", "p99", "orders/s", "CPU ms", "events", "bytes",
)  # fmt: skip
MISSING: Final = "–"


def draw(found: Mapping[str, Any]) -> None:
    """Print it; without colours where no terminal is."""
    out, parts = console(), found["parts"]
    where = found["machine"]
    out.print(
        f"{where['processors']} processors, {where['memory_gib']:g} GiB, load before {where['load_before']:g}, "
        f"a page on disk after {where.get('sync_ms', MISSING)} ms; milliseconds; CPU: of one order, all processes"
    )
    for title, columns, rows in sections(parts):
        out.print(f"\n{title}", style="bold")
        out.print(table(columns, rows, right=[each for each in columns[1:] if each != "aim"]))
    for part, why in found["not_measured"].items():
        out.print(f"\nNOT MEASURED: {part}: {why.splitlines()[0]}", style="bold red")
    out.print("\naims", style="bold")
    rows = [(each.word, each.what, each.aim, _text(each.found)) for each in aims(parts)]
    out.print(table(("", "what", "aim", "found"), rows, right=("found",)))


def sections(parts: Mapping[str, Any]) -> Iterable[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """Title, columns and rows of each table that there is something for."""
    for topology in TOPOLOGIES:
        if topology in parts:
            commits = parts[topology]["latency"]["commits"]
            title = (
                f"{topology}: {parts[topology]['latency']['rounds']} rounds, {commits['before']} commits of ours "
                f"until the POST, {commits['acknowledging']} for the answer, {commits['settling']} until settled"
            )
            yield title, COLUMNS, contender_rows(parts[topology])
    if "where" in parts:
        yield (
            "where ours spends it until the POST (compact, medians of spans)",
            ("", "ms p50"),
            [(each["name"], f"{each['ms_p50']:.1f}") for each in parts["where"]["stretches"]],
        )
    if "open" in parts:
        yield "open orders (compact)", OPEN_COLUMNS, open_rows(parts["open"])
    if "start" in parts:
        yield "start", ("", "seconds"), start_rows(parts["start"])


def contender_rows(part: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each contender."""
    bursts = {each["contender"]: each for each in part["throughput"]["rows"]}
    rows = []
    for each in part["latency"]["rows"]:
        burst = bursts.get(each["contender"], {"failed": "not measured"})
        failed = each.get("failed") or burst.get("failed")
        if "failed" in each:
            rows.append((f"{each['contender']}: FAILED, {failed}", *([MISSING] * (len(COLUMNS) - 1))))
            continue
        name = each["contender"] if failed is None else f"{each['contender']}: FAILED, {failed}"
        times = [
            f"{each[kind][part]:.1f}" for kind in ("post_ms", "acknowledged_ms") for part in ("p50", "p95", "p99")
        ]  # fmt: skip
        rows.append((
            name, *times, _text(burst.get("orders_a_second")), _text(burst.get("cpu_ms_all")),
            f"{each['history_events']:.0f}", f"{each['history_bytes']:,}",
        ))  # fmt: skip
    return rows


OPEN_COLUMNS: Final = (
    "open orders", "all at rest after s", "KiB each: product", "Temporal", "exchange", "product MiB",
    "idle CPU ms/s: product", "Temporal", "PostgreSQL", "POST p50", "p95",
)  # fmt: skip


def open_rows(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each number of open orders."""
    found = []
    for each in rows:
        size, idle, memory = each["kib_per_open_order"], each["idle_ms_a_second"], each["memory_mib"]
        found.append((
            f"{each['open_orders']:,}", f"{each['started_seconds']:.0f}",
            *(_text(size.get(name)) for name in ("compact", "temporal", "exchange")), f"{memory['compact']:.0f}",
            *(f"{idle[name]:.1f}" for name in ("compact", "temporal", "postgres")),
            f"{each['post_ms']['p50']:.1f}", f"{each['post_ms']['p95']:.1f}",
        ))  # fmt: skip
    return found


def start_rows(start: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Installation and command line."""
    rows = []
    for name, words in (("empty_folder", "from an empty folder"), ("again", "on what is there")):
        rows += [
            (f"trading up, {words}: ready", f"{start[name]['ready_seconds']:.1f}"),
            (f"trading up, {words}: places orders", f"{start[name]['trading_seconds']:.1f}"),
        ]
    return rows + [(each["command"], f"{each['seconds_p50']:.3f}") for each in start["command_line"]]


def _text(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
