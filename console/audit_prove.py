"""``trading audit prove``: that rows stand in the log, for somebody who trusts nothing of ours but the key."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from audit.check import database as db
from audit.check.checkpoints import newest_checkpoint
from audit.check.notes import Checkpoint, VerifierKey
from audit.check.outside import Outside
from audit.check.proofs import PROOF_BYTES_MAX, Entry, Proved, check_proof, write_proof
from audit.check.tree import BadProof, Tree, nodes_of_paths, path_of
from console.audit_outside import CheckpointsFolder, Key, key_for, outside_of, reachable
from console.audit_progress import STATEMENT_SECONDS
from console.audit_show import read_rows
from console.common import NO_OPTIONS, Common, console, emit, table
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows
from schemas.audit import leaf_text

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

LEAVES_READ: Final = 65_536
COLUMNS: Final = ("id", "occurred_at", "correlation_id", "component", "decision")
"""Of a row that was proved, for a person."""
_VERIFY: Final = "run `trading audit verify`: it names what was changed"

SomeId = Annotated[
    str, Parameter(help="A row's id, or any id of a signal or order: then all rows of its story.")
]
Out = Annotated[Path | None, Parameter(help="Write the proof into this file instead of standard output.")]
Check = Annotated[
    Path | None, Parameter(help="Check a proof in this file instead of making one; - reads standard input.")
]


async def prove(
    some_id: SomeId | None = None,
    /,
    *,
    check: Check = None,
    out: Out = None,
    checkpoints: CheckpointsFolder = None,
    key: Key = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Prove that rows stand in the audit log, against the newest checkpoint outside; or check such a proof.

    The proof is a text that says itself how to check it by hand: the row, its payload, and the hashes that lead
    to the root that the log's key has signed.

    Exit 0: proved. 1: not proved. 2: bad usage. 3: a dependency is down.
    """
    if (some_id is None) == (check is None):
        raise BadUsage("either an id to prove, or --check FILE", do="see --help")
    warnings: list[str] = []
    with reachable():
        outside = outside_of(checkpoints, common)
        signed_by = await key_for(outside, key, warnings)
        if check is not None:
            found = _checked(check, signed_by)
            emit(common, [_as_json(each) for each in found], lambda: _draw(found, warnings))
            return EXIT_DONE
        assert some_id is not None, "one of the two was asked for"
        text = await _made(some_id, outside, signed_by, common)
    _write(text, out)
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return EXIT_DONE


async def _made(some_id: str, outside: Outside, key: VerifierKey, common: Common) -> str:
    async with rows(common.addresses(), statement_seconds=STATEMENT_SECONDS) as connection:
        found = await read_rows(connection, some_id)
        made = await make_proof(connection, some_id, found, outside, key)
    if made.left_out:
        sys.stderr.write(f"{made.left_out} rows are not under a checkpoint yet: left out\n")
    return made.text


@dataclass(frozen=True, slots=True)
class Made:
    """A proof that was checked as a stranger will."""

    text: str
    proved: list[Proved]
    left_out: int
    """Rows of the story that are not under a checkpoint yet."""


async def make_proof(
    connection: "Connection", name: str, found: "list[asyncpg.Record]", outside: Outside, key: VerifierKey
) -> Made:
    """Prove these rows, which somebody calls ``name``, against the newest checkpoint outside.

    Raises:
        Refused: none is under a checkpoint yet, or they cannot be proved.
        OutsideUnreadable: the checkpoints cannot be read now.
    """
    checkpoint = await newest_checkpoint(outside, key)
    if checkpoint is None:
        raise Refused(
            "no checkpoint that the key has signed is outside yet", do="wait a minute; see `audit verify`"
        )
    sealed = [row for row in found if row["sequence"] is not None and row["sequence"] < checkpoint.size]
    if not sealed:
        raise Refused(
            f"{name} has rows, and none is under a checkpoint yet", do="wait a minute and try again"
        )
    text = write_proof(await _entries(connection, sealed, checkpoint), checkpoint)
    try:
        # As a stranger will: the rows themselves may have been changed.
        return Made(text, check_proof(text, key), len(found) - len(sealed))
    except BadProof as error:
        raise Refused(f"{name} cannot be proved: {error}", do=_VERIFY) from error


async def _entries(
    connection: "Connection", sealed: "list[asyncpg.Record]", checkpoint: Checkpoint
) -> list[Entry]:
    """The rows with their audit paths, from the leaves in the database: what they give is held against the root."""
    indexes = [row["sequence"] for row in sealed]
    tree = Tree(wanted=nodes_of_paths(indexes, checkpoint.size))
    for first in range(0, checkpoint.size, LEAVES_READ):
        leaves = await db.read_leaves(connection, first, min(first + LEAVES_READ, checkpoint.size))
        await asyncio.to_thread(
            tree.extend, leaves
        )  # A second for some hundred thousand: others are served meanwhile.
    if tree.size != checkpoint.size or tree.root() != checkpoint.root:
        raise Refused(
            "the leaves in the database do not give the signed root: nothing can be proved", do=_VERIFY
        )
    return [
        Entry(
            row["sequence"],
            leaf_text(db.row_of(tuple(row)[: db.COLUMNS])),
            row["payload"],
            path_of(row["sequence"], checkpoint.size, tree.kept),
        )
        for row in sealed
    ]


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise BadUsage(
            f"{out} cannot be written: {error.strerror}", do="name another file with --out"
        ) from error


def _checked(file: Path, key: VerifierKey) -> list[Proved]:
    try:
        if str(file) == "-":
            text = sys.stdin.buffer.read(PROOF_BYTES_MAX).decode()
        else:
            with file.open("rb") as opened:
                text = opened.read(PROOF_BYTES_MAX).decode()
    except OSError as error:
        raise BadUsage(f"{file} cannot be read: {error.strerror}", do="name a proof's file") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is not proved: it is no text") from error
    try:
        return check_proof(text, key)
    except BadProof as error:
        raise Refused(f"not proved: {error}", do="ask for the proof again where it comes from") from error


def _as_json(each: Proved) -> dict[str, Any]:
    return {
        "sequence": each.index, "row": each.fields, "payload": each.payload, "size": each.checkpoint.size,
        "root": each.checkpoint.root.hex(), "origin": each.checkpoint.origin,
    }  # fmt: skip


def _draw(found: list[Proved], warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}")
    shown = [
        (each.index, *(str(each.fields.get(name, "")) for name in COLUMNS), each.checkpoint.size)
        for each in found
    ]
    columns = ("row", "id", "time", "signal", "component", "decision", "of rows")
    console().print(table(columns, shown, right=("row", "id", "of rows")))
    print(f"proved: {len(found)} of {found[0].checkpoint.origin}")
