"""Every crash point there is, read from the source: the name of each commit, and of each call outside.

A commit is named where its transaction is opened, a broker call by its ``Operation``, any other by ``calling``.
Names are literals, so that what is listed here is what `observability.crash_points` can be ordered to kill at.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from observability.crash_points import Act, point

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "activities", "audit", "broker", "console", "gateway", "market", "security", "storage", "workers",
)  # fmt: skip
"""Those that commit or call. Workflows only decide; the exchange's own ledger is the judge's, not the product's."""
NOT_THE_PRODUCT: Final = "workers/chaos/"
HANDED_ON: Final = ("storage/commits.py", "storage/database.py", "broker/alpaca/calls.py")
"""Where a name arrives as an argument and is passed by."""
MOMENTS: Final = ("before", "after")


@dataclass(frozen=True, order=True)
class Place:
    """Where a name stands in the source."""

    act: Act
    name: str
    file: str
    line: int


class DynamicName(Exception):
    """A commit or call whose name is not a literal; the message says where."""


@cache
def places() -> tuple[Place, ...]:
    """Every named commit and call of the product, in order.

    Raises:
        DynamicName: a name is computed.
    """
    return tuple(
        sorted(
            place
            for package in PACKAGES
            for file in (ROOT / package).rglob("*.py")
            if NOT_THE_PRODUCT not in file.as_posix()
            for place in places_in(file.read_text("utf-8"), file.relative_to(ROOT).as_posix())
        )
    )


def names() -> tuple[str, ...]:
    """``commit NAME`` and ``call NAME`` of each, once."""
    return tuple(dict.fromkeys(f"{place.act} {place.name}" for place in places()))


def points() -> tuple[str, ...]:
    """Both moments of each name."""
    return tuple(dict.fromkeys(point(each.act, each.name, moment) for each in places() for moment in MOMENTS))


def places_in(source: str, file: str) -> Iterator[Place]:
    """The named commits and calls of one module.

    Raises:
        DynamicName: a name is computed.
    """
    for node in ast.walk(ast.parse(source)):
        found = _named(node)
        if found is None:
            continue
        act, argument = found
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield Place(act, argument.value, file, argument.lineno)
        elif file not in HANDED_ON:
            raise DynamicName(f"{file}:{argument.lineno}: the name of a commit or call is a literal")


def _named(node: ast.AST) -> tuple[Act, ast.expr] | None:
    """What is named here, and the expression that names it."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    first = node.args[0]
    match _dotted(node.func):
        case [*_, "committing"] if len(node.args) > 1:
            return "commit", node.args[1]
        case [*_, "transaction"]:
            return "commit", first
        case [*_, ("database" | "_database"), "run"]:
            return "commit", first
        case [*_, ("Operation" | "calling")]:
            return "call", first
        case _:
            return None


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return []
