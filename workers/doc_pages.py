"""What the pages of docs/ that are made from the code have in common."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def one_line(text: str | None) -> str:
    """A docstring's words, for a cell of a table."""
    return " ".join((text or "").split()).replace("``", "`")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; a ``|`` within a cell, which would end it in code too, stays one."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in line)} |\n" for line in lines)


def write_page(arguments: Sequence[str], file: Path, document: Callable[[], str]) -> int:
    """Write it to the file that ``arguments`` name, else to its own; the exit code."""
    (Path(arguments[0]) if arguments else file).write_text(document(), encoding="utf-8")
    return 0
