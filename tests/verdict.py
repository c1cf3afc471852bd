"""`pytest --json FILE`: what ran and what was wrong, as one JSON document beside pytest's own lines.

`make fix JSON=1` and `make chaos-judge JSON=1` print it alone on standard output, pytest's lines on standard error.
"""

import json
import time
from collections import Counter
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, heard where tests/conftest.py is loaded."""
    parser.addoption(
        "--json", type=Path, metavar="FILE", help="write what ran and what was wrong to FILE, as JSON"
    )


def configure(config: pytest.Config) -> None:
    """Count only in the process that was asked: a parallel one hands its reports to it."""
    path: Path | None = config.getoption("--json")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Verdict(path), "verdict")


class Verdict:
    """Counts outcomes by test function: a function that is run for many cases shows how many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._passed: Counter[str] = Counter()
        self._skipped: list[str] = []
        self._wrong: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read is as wrong as a test that fails."""
        if report.failed:
            self._wrong.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passes by its call; it fails in its set-up and its tear-down too."""
        if report.failed and report.nodeid not in self._wrong:
            self._wrong.append(report.nodeid)
        elif report.skipped:
            self._skipped.append(report.nodeid)
        elif report.passed and report.when == "call":
            self._passed[report.nodeid.partition("[")[0]] += 1

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Good is what ended with 0: nothing wrong, and at least one test."""
        told = {
            "good": exitstatus == 0,
            "passed": sum(self._passed.values()),
            "skipped": self._skipped,
            "wrong": self._wrong,
            "tests": dict(sorted(self._passed.items())),
            "seconds": round(time.monotonic() - self._began, 1),
        }
        self._path.write_text(json.dumps(told, indent=2) + "\n")
