"""``trading chaos``: break everything on this machine on purpose, and let the exchange's ledger judge.

One run of one kind; its report is printed as a table or, with ``--json``, as one object. Exit 0: the verdict is
good. Exit 1: it is not, and the report says why.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from workers.chaos.report import Report, emit

EXIT_DONE: Final = 0
EXIT_FOUND_WRONG: Final = 1

KINDS: Final = {
    name: module
    for name, module in {
        "signals": "workers.chaos.storm",
        "crash_points": "workers.chaos.crash_sweep",
        "kill_switch": "workers.chaos.kill_storm",
        "end_of_day": "workers.chaos.end_of_day",
        "resting": "workers.chaos.resting",
    }.items()
    if find_spec(module) is not None
}
"""The option that asks for a kind of run, and the module whose ``run(options)`` makes it."""


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="trading chaos",
        description="Break everything on this machine on purpose; the paper exchange's ledger judges. "
        "Exit 0: good, 1: found wrong.",
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--signals", type=int, metavar="N", help="so many signals while everything is killed")
    kind.add_argument("--crash-points", action="store_true", help="kill at every commit and broker call")
    kind.add_argument("--kill-switch", type=int, metavar="N", help="so many kill-switch activations")
    kind.add_argument(
        "--end-of-day", type=int, metavar="N", help="so many bells with a fill racing the cancel"
    )
    kind.add_argument("--resting", type=int, metavar="N", help="so many resting orders")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--seed", type=int, default=1, help="makes a run repeatable as far as timing allows")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the logs and the exchange's ledger there"
    )
    for name, module in KINDS.items():
        add = getattr(import_module(module), "add_options", None)
        if add is not None:
            add(parser.add_argument_group(name.replace("_", " ")))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Make the run that was asked for."""
    options = _arguments(arguments)
    name = next((name for name in KINDS if getattr(options, name) not in (None, False)), None)
    if name is None:
        sys.stderr.write("trading chaos: this release cannot make that run\n")
        return 2
    report: Report = asyncio.run(import_module(KINDS[name]).run(options))
    emit(report, as_json=options.json)
    return EXIT_DONE if report.good else EXIT_FOUND_WRONG


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
