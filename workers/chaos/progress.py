"""How far a fault run has come: a bar on a terminal, a line now and then elsewhere, nothing with ``--json``."""

import sys
import time
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY_SECONDS: Final = 10.0


class Meter:
    """Shows a count, on standard error; use it as a context manager."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._lines = not quiet and not sys.stderr.isatty()
        self._told_at = 0.0
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> "Meter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *ended: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, count: int, what: str) -> None:
        """``count`` of the total, and what is going on."""
        if self._bar is not None:
            self._bar.update(self._task, completed=count, description=what)
        elif self._lines and time.monotonic() - self._told_at > LINE_EVERY_SECONDS:
            self._told_at = time.monotonic()
            print(f"{count} of {self._total}: {what}", file=sys.stderr, flush=True)
