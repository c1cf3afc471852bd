"""``trading audit show``: the whole story of a signal or order, row by row, as the audit log has it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from audit.check.database import read_story
from console.common import NO_OPTIONS, Common, clean, console, emit, step, table
from console.errors import EXIT_DONE, Refused
from console.rows import rows
from schemas.audit import previous_checkpoint
from storage.orders import find_by_any_id

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

ROWS_MAX: Final = 10_000
ID_DIGITS_MAX: Final = 18
FIELD_CHARACTERS_MAX: Final = 160

SomeId = Annotated[
    str,
    Parameter(help="Signal, order, client order or broker order id; another story's name; or a row's id."),
]


async def show(some_id: SomeId, /, *, common: Common = NO_OPTIONS) -> int:
    """Show every row of one story in its order: who decided what, from which numbers, and where it is sealed.

    Exit 1: no row has that id.
    """
    async with rows(common.addresses()) as connection:
        found = [StoryRow(record) for record in await read_rows(connection, some_id)]
    emit(common, [row.as_json() for row in found], lambda: _draw(found))
    return EXIT_DONE


async def read_rows(connection: "Connection", some_id: str) -> "list[asyncpg.Record]":
    """The story under an id, at most ``ROWS_MAX`` rows, oldest first. A story's name comes before a row's id.

    Raises:
        Refused: no row has it.
    """
    some_id = some_id.replace("\0", "")
    order = await find_by_any_id(connection, some_id)
    story = some_id if order is None else order[0]
    found = list(await read_story(connection, story, None, ROWS_MAX))
    if not found and some_id.isascii() and some_id.isdigit() and len(some_id) <= ID_DIGITS_MAX:
        found = list(await read_story(connection, None, int(some_id), ROWS_MAX))
    if not found:
        raise Refused(f"no audit row has the id {clean(some_id)}", do="look at `trading signal list`")
    return found


class StoryRow:
    """One row as it is shown."""

    def __init__(self, record: "asyncpg.Record") -> None:
        self.record: Mapping[str, Any] = dict(record)
        self.at: datetime = record["occurred_at"]
        self.input: dict[str, Any] | None = (
            None if record["payload"] is None else json.loads(record["payload"])
        )
        self.checks: list[dict[str, Any]] = json.loads(record["checks"])
        self.references: list[Any] = json.loads(record["refs"])

    @property
    def seal(self) -> str:
        """Where it is sealed."""
        if self.record["sequence"] is None:
            return "not sealed yet"
        number = f"row {self.record['sequence']:,} of the log"
        size = self.record["sealed_by"]
        return (
            f"{number}, not under a checkpoint yet"
            if size is None
            else f"{number}, under checkpoint {size:,}"
        )

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        names = (
            "id",
            "correlation_id",
            "component",
            "actor",
            "decision",
            "input_hash",
            "sequence",
            "sealed_by",
        )
        leaf = self.record["leaf"]
        size, root = self.record["previous_size"], self.record["previous_root"]
        return {name: self.record[name] for name in names} | {
            "occurred_at": self.at.isoformat(), "input": self.input, "checks": self.checks,
            "references": self.references, "leaf": None if leaf is None else leaf.hex(),
            "previous_checkpoint": previous_checkpoint(size, root),
        }  # fmt: skip


def _draw(found: Sequence[StoryRow]) -> None:
    before: datetime | None = None
    for row in found:
        record = row.record
        at, after = row.at.isoformat(timespec="milliseconds"), step(before, row.at)
        before = row.at
        line = "  ".join(word for word in (at, after, record["component"], record["decision"]) if word)
        console().print(clean(line), style="bold", soft_wrap=True)
        print(f"  by {clean(record['actor'])}, id {record['id']}, {row.seal}")
        if row.input is None:
            print(f"  its input is in cold storage; sha256 {record['input_hash']}")
        else:
            _draw_input(row.input)
        for reference in row.references:
            print(f"  rests on {clean(reference)}")
        if row.checks:
            _draw_checks(row.checks)
    print(f"{len(found)} rows; `trading audit prove` proves them to a stranger")


def _draw_input(told: dict[str, Any]) -> None:
    detail = told.get("detail")
    if detail:
        print(f"  {clean(detail)}")
    for call in told.get("calls") or ():
        print(f"  broker call: {_pairs(call) if isinstance(call, dict) else clean(call)}")
    rest = {
        name: value
        for name, value in told.items()
        if name not in ("detail", "calls") and value not in (None, "")
    }
    if rest:
        print(f"  {_pairs(rest)}")


def _pairs(values: Mapping[str, Any]) -> str:
    told = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        short = text if len(text) <= FIELD_CHARACTERS_MAX else text[:FIELD_CHARACTERS_MAX] + "…"
        told.append(f"{name}={short}")
    return clean("  ".join(told))


def _draw_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        (
            each.get("name", ""),
            _outcome(each),
            each.get("value", ""),
            each.get("limit", ""),
            each.get("formula", ""),
        )
        for each in checks
    ]
    console().print(table(("  check", "", "value", "limit", "formula"), lines))


def _outcome(check: Mapping[str, Any]) -> str:
    if check.get("passed"):
        return "passed"
    return "failed" if check.get("computed", True) else "not computed"
