"""``trading chaos``: break everything on this machine on purpose, and let the exchange's ledger judge.

One run of one kind; its report is printed as a table or, with ``--json``, as one object. Exit 0: the verdict is
good. Exit 1: it is not, and the report says why; or something never recovered. Exit 3: the run could not be made.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import httpx2

from workers.chaos.report import Report, emit
from workers.chaos.victims import GivenUp, StageError
from workers.children import SupervisorError
from workers.postgres_programs import PostgresError

EXIT_DONE: Final = 0
EXIT_FOUND_WRONG: Final = 1
EXIT_DEPENDENCY: Final = 3
EXIT_INTERRUPTED: Final = 130

KINDS: Final = {
    "signals": "workers.chaos.storm",
    "crash_points": "workers.chaos.crash_sweep",
    "kill_switch": "workers.chaos.kill_storm",
    "end_of_day": "workers.chaos.end_of_day",
    "resting": "workers.chaos.resting",
    "joint_limits": "workers.chaos.joint_limits",
    "drift": "workers.chaos.drift",
    "delivery": "workers.chaos.delivery",
}
"""The option that asks for a kind of run, and the module whose ``run(options)`` makes it."""


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def options_parser() -> argparse.ArgumentParser:
    """What ``trading chaos`` takes, the options of each kind of run among them."""
    parser = argparse.ArgumentParser(
        prog="trading chaos",
        description="Break everything on this machine on purpose; the paper exchange's ledger judges. "
        "Exit 0: good, 1: found wrong.",
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--signals", type=_positive, metavar="N", help="so many signals while everything is killed"
    )
    kind.add_argument("--crash-points", action="store_true", help="kill at every commit and broker call")
    kind.add_argument("--kill-switch", type=_positive, metavar="N", help="so many kill-switch activations")
    kind.add_argument(
        "--end-of-day", type=_positive, metavar="N", help="so many bells with a fill racing the cancel"
    )
    kind.add_argument("--drift", type=_positive, metavar="N", help="every kind of drift so often")
    kind.add_argument(
        "--delivery", type=_positive, metavar="N", help="relays and consumers killed so often, on each bus"
    )
    kind.add_argument("--resting", type=_positive, metavar="N", help="so many resting orders")
    kind.add_argument(
        "--joint-limits", type=_positive, metavar="N", help="so many rounds of 64 approvals at once"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--seed", type=int, default=1, help="makes a run repeatable as far as timing allows")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the logs and the exchange's ledger there"
    )
    parser.add_argument(
        "--topology", choices=("isolated", "compact"), default="isolated",
        help="compact: everything of ours in one process (isolated)",
    )  # fmt: skip
    for name, module in KINDS.items():
        add = getattr(import_module(module), "add_options", None)
        if add is not None:
            add(parser.add_argument_group(name.replace("_", " ")))
    return parser


def main(arguments: Sequence[str]) -> int:
    """Make the run that was asked for."""
    options = options_parser().parse_args(arguments)
    name = next(name for name in KINDS if getattr(options, name) not in (None, False))
    try:
        report: Report = asyncio.run(import_module(KINDS[name]).run(options))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except GivenUp as error:
        report = Report(name, {}, (f"given up: {error}",))
    except (StageError, SupervisorError, PostgresError, httpx2.TransportError) as error:
        sys.stderr.write(f"trading chaos: the run could not be made: {type(error).__name__}: {error}\n")
        return EXIT_DEPENDENCY
    emit(report, as_json=options.json)
    return EXIT_DONE if report.good else EXIT_FOUND_WRONG


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
