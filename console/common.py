"""What every command shares: its two options, its output, its clock."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.addresses import Addresses, find

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH: Final = 200
"""Columns where no terminal says how wide it is."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    json: Annotated[bool, Parameter(negative="", help="Print JSON, for programs.")] = False
    data_dir: Annotated[
        Path | None,
        Parameter(help="Folder of the installation (default: $TRADING_DATA_DIR, or the usual place)."),
    ] = None

    def addresses(self) -> Addresses:
        """Where the installation is."""
        return find(self.data_dir)


NO_OPTIONS: Final = Common()


def utc_now() -> datetime:
    """Our wall clock."""
    return datetime.now(UTC)


def clean(value: object) -> str:
    """``value`` as text that cannot paint on the terminal or turn its direction."""
    return "" if value is None else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def use_colours() -> bool:
    """Only at a terminal, and never against https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def console() -> "Console":
    """A rich console: plain and wide where standard output is not a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, no_color=not use_colours(), highlight=False, emoji=False, markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> "Table":
    """A plain table; the columns named in ``right`` are numbers."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        found.add_row(*(cell(value) for value in row))
    return found


_STYLES: Final = {
    "FILLED": "green", "ACKNOWLEDGED": "cyan", "PARTIALLY_FILLED": "cyan", "SUBMITTED": "yellow",
    "CREATED": "dim", "REJECTED": "red", "CANCELED": "magenta", "FATAL_ERROR": "bold red",
    "ok": "green", "wrong": "bold red", "down": "bold red", "approved": "green", "passed": "green",
    "rejected": "red", "failed": "red", "refused": "red",
}  # fmt: skip


def cell(value: object) -> Any:
    """One cell; known states get their colour."""
    from rich.text import Text

    text = clean(value)
    return Text(text, style=_STYLES.get(text.partition(" ")[0], ""))


def emit(common: Common, data: object, draw: Callable[[], None]) -> None:
    """``data`` as JSON where asked for, else ``draw()``."""
    if common.json:
        print_json(data)
    else:
        draw()


def step(before: datetime | None, at: datetime) -> str:
    """How long a line of a story came after the one before: ``+12 ms``, or ``-1 ms`` where two clocks disagree."""
    return "" if before is None else f"{round((at - before).total_seconds() * 1000):+,} ms"


def ago(then: datetime | None, now: datetime) -> str:
    """How long since ``then``: ``3 s``, ``12 min``, ``5 h``, ``2 d``."""
    if then is None:
        return "never"
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
