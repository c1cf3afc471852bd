"""Long commands over the log: what one statement may take, and how far it is for whoever looks at it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from audit.check.verify import Progress
from console.common import Common

STATEMENT_SECONDS: Final = 120.0
"""A batch of rows may come from a cold disk."""


@contextmanager
def progress_bar(common: Common) -> Iterator[Progress | None]:
    """A bar on standard error where a person looks at it."""
    if common.json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar  # The other Progress is what it is told by.

    shown = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=shown, transient=True) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
