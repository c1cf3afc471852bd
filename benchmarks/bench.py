"""How fast it is, and against what: ``python -m benchmarks.bench``, or ``make bench``.

Parts, one after the other; within a part all contenders take turns on the same servers:

compact    latency and throughput of ours, of a one-activity workflow, and of the plain pipeline on two servers
isolated   the same with the product as one process for each role
where      where ours spends its time until the POST, by its own spans
open       what 100, 1,000 and 10,000 open orders cost
start      cold start to ready; the command line's own start

Each part is kept beside the results as soon as it is measured; ``--resume`` goes on with what is missing. A part
that could not be measured, or a contender that dropped out, is told, and the exit code is 1. An aim that is not
met is told and changes no exit code.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import bench_page, bench_table, latency, open_orders, startup, throughput
from benchmarks.aims import aims
from benchmarks.breakdown import read_parts
from benchmarks.contenders import Commits, Ours
from benchmarks.servers import rig
from benchmarks.usage import machine
from workers.leash import die_with_parent

RESULTS: Final = Path(__file__).with_name("results.json")
PARTS: Final = ("compact", "isolated", "where", "open", "start")
QUICK_PARTS: Final = ("compact", "where", "start")
PART_SECONDS_MAX: Final = 1_800.0
SPANS_SECONDS: Final = 1.5
"""Until the last spans are in their file."""
EXIT_DONE: Final = 0
EXIT_NOT_MEASURED: Final = 1


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    warm_up: int
    orders: int
    bursts: int
    calls: int
    open_orders: tuple[int, ...]
    open_rounds: int


WHOLE: Final = Size(
    rounds=60, warm_up=10, orders=40, bursts=2, calls=15, open_orders=(100, 1_000, 10_000), open_rounds=15
)
QUICK: Final = Size(rounds=3, warm_up=2, orders=4, bursts=1, calls=2, open_orders=(10,), open_rounds=2)


async def compact_or_isolated(topology: str, size: Size) -> dict[str, Any]:
    """Latency and throughput on one installation."""
    async with rig(topology) as found:
        by_signal = await latency.measure(found, size.rounds, warm_up=size.warm_up)
        commits = Commits(**by_signal["commits"])
        burst = await throughput.measure(found, commits, orders=size.orders, passes=size.bursts)
        return {"started_seconds": found.started_seconds, "latency": by_signal, "throughput": burst}


async def where(size: Size) -> dict[str, Any]:
    """Medians of the stretches between a signal's request and its POST."""
    with tempfile.TemporaryDirectory() as folder:
        trace_file = Path(folder) / "trace.jsonl"
        async with rig("compact", rivals=False, trace_file=trace_file) as found:
            ours = Ours(found)
            for number in range(size.warm_up):
                await latency.one(ours, f"warm-{number}")
            sent = [await latency.one(ours, f"round-{number}") for number in range(size.rounds)]
            measured = latency.steady(await latency.read(ours, sent))
            await asyncio.sleep(SPANS_SECONDS)
            between = {
                each.sent.name: (each.sent.wall_ns, each.sent.wall_ns + round(each.post * 1e6)) for each in measured
            }  # fmt: skip
            stretches = read_parts(trace_file, between)
    return {
        "post_ms": latency.percentiles([each.post for each in measured]),
        "stretches": [asdict(each) for each in stretches],
    }


async def measure(part: str, size: Size) -> Any:
    """One part."""
    if part == "where":
        return await where(size)
    if part == "open":
        return await open_orders.measure(size.open_orders, rounds=size.open_rounds)
    if part == "start":
        return await startup.measure(size.calls)
    return await compact_or_isolated(part, size)


class Run:
    """The parts that were measured, kept as they come."""

    def __init__(self, size: Size, parts: Sequence[str], kept: Path | None, *, resume: bool) -> None:
        self._size = size
        self._parts = parts
        self._kept = kept
        options = json.loads(json.dumps(asdict(size)))
        self.found: dict[str, Any] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine() | {"system": platform.system(), "python": platform.python_version()},
            "options": options,
            "parts": {},
            "not_measured": {},
        }
        if resume and kept is not None and kept.exists():
            before = json.loads(kept.read_text("utf-8"))
            if before["options"] == options:
                whole = {k: v for k, v in before["parts"].items() if k not in before["not_measured"]}
                self.found = before | {"parts": whole, "not_measured": {}}

    def measure(self) -> None:
        """Every part that is missing, each with an event loop of its own."""
        for part in self._parts:
            if part in self.found["parts"]:
                continue
            began = time.monotonic()
            print(f"{part} …", file=sys.stderr, flush=True)
            try:
                self.found["parts"][part] = found = asyncio.run(self._one(part))
                if failed := _failed(found):
                    self.found["not_measured"][part] = failed
                    print(f"{part}: {failed}", file=sys.stderr)
            except Exception as error:  # noqa: BLE001 - whatever it was: it is told, and the others are measured
                self.found["not_measured"][part] = f"{type(error).__name__}: {error}"
                print(f"{part} could not be measured: {error}", file=sys.stderr)
            print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            self.found["aims"] = [asdict(each) for each in aims(self.found["parts"])]
            if self._kept is not None:
                self._kept.write_text(json.dumps(self.found), "utf-8")

    async def _one(self, part: str) -> Any:
        async with asyncio.timeout(PART_SECONDS_MAX):
            return await measure(part, self._size)


def _failed(found: Any) -> str:
    """Contenders that dropped out, with their reasons: what the others have is kept."""
    if not isinstance(found, dict):
        return ""
    rows = [row for name in ("latency", "throughput") for row in found.get(name, {}).get("rows", ())]
    return "; ".join(f"{row['contender']}: {row['failed']}" for row in rows if "failed" in row)


def _stop_in_order() -> None:
    """End as after Ctrl-C, servers and folder included, when told to end or when whoever started this has ended."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    die_with_parent(signal.SIGTERM)


def _size(options: argparse.Namespace) -> Size:
    size = QUICK if options.quick else WHOLE
    given = {"rounds": options.rounds, "orders": options.orders, "open_orders": options.open}
    return Size(**(asdict(size) | {name: each for name, each in given.items() if each is not None}))


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="few of everything: whether it works, not how fast"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help=f"measured rounds of latency ({WHOLE.rounds})")
    parser.add_argument("--orders", type=int, help=f"orders of a burst ({WHOLE.orders})")
    parser.add_argument("--open", type=int, nargs="+", metavar="N", help="open orders (100 1000 10000)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="results as JSON")
    parser.add_argument("--page", action="store_true", help="docs/BENCHMARKS.md anew from what was written")
    parser.add_argument("--resume", action="store_true", help="go on with the parts that --write has not yet")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 2:
        parser.error("--rounds: at least 2")
    parts = options.only or (QUICK_PARTS if options.quick else PARTS)
    kept = None if options.write is None else options.write.with_suffix(".partial.json")
    _stop_in_order()
    run = Run(_size(options), parts, kept, resume=options.resume)
    run.measure()
    if options.json:
        print(json.dumps(run.found))
    else:
        bench_table.draw(run.found)
    if options.write is not None and kept is not None:
        options.write.write_text(json.dumps(run.found, indent=1) + "\n", "utf-8")
        kept.unlink(missing_ok=True)
        if options.page:
            bench_page.rewrite(run.found)
    return EXIT_NOT_MEASURED if run.found["not_measured"] else EXIT_DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
