"""``trading audit verify``: is the audit log what was sealed?"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from audit.check.exports import BadExport
from audit.check.findings import Finding, Report
from audit.check.notes import VerifierKey
from audit.check.outside import Outside
from audit.check.verified import Verified
from audit.check.verify import verify_database, verify_export
from console.audit_outside import CheckpointsFolder, Key, key_for, outside_of, reachable
from console.audit_progress import STATEMENT_SECONDS, progress_bar
from console.common import NO_OPTIONS, Common, cell, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage

STATE_FILE: Final = "audit-verified.json"
STATE_BYTES_MAX: Final = 64 * 1024
STATE_MODE: Final = 0o600

Exports = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--export",
        consume_multiple=True,
        negative="",
        help="Check these export files and no database: *.jsonl or *.jsonl.zst.",
    ),
]
Part = Annotated[
    bool, Parameter(negative="", help="With --export: the files are one run of rows, not the whole log.")
]
Incremental = Annotated[
    bool,
    Parameter(
        negative="", help="Go on from where the last good check ended (--state); all rows where none did."
    ),
]
Since = Annotated[
    int | None,
    Parameter(
        name="--since-checkpoint",
        validator=Number(gte=0),
        help="Read only rows from the checkpoint of so many rows on.",
    ),
]
ColdElsewhere = Annotated[
    bool,
    Parameter(
        negative="",
        help="Cold storage is not beside the checkpoints: believe the database about what went there.",
    ),
]
State = Annotated[
    Path | None,
    Parameter(
        help=f"File that a good check is kept in (default: {STATE_FILE} in the installation's folder)."
    ),
]


async def verify(
    *,
    export: Exports = (),
    part: Part = False,
    incremental: Incremental = False,
    since_checkpoint: Since = None,
    cold_elsewhere: ColdElsewhere = False,
    state: State = None,
    checkpoints: CheckpointsFolder = None,
    key: Key = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Compute the audit log's hashes anew from its rows, and hold them against what was sealed outside.

    Finds rows edited, missing, inserted, swapped, cut off or rolled back, and names the first one. With --export
    nothing else is needed than the files, the checkpoints' folder and the key.

    Exit 0: all is as it was sealed. 1: something is wrong. 2: bad usage. 3: a dependency is down.
    """
    if export and (incremental or since_checkpoint is not None):
        raise BadUsage(
            "an export is checked whole, or with --part", do="leave out --incremental and --since-…"
        )
    if part and not export:
        raise BadUsage("--part is about export files", do="name them with --export")
    if incremental and since_checkpoint is not None:
        raise BadUsage("--incremental and --since-checkpoint are two ways to begin", do="choose one")
    if cold_elsewhere and export:
        raise BadUsage("--cold-elsewhere is about a database", do="leave it out")
    outside = outside_of(checkpoints, common)
    warnings: list[str] = []
    with reachable():
        signed_by = await key_for(outside, key, warnings)
        if export:
            report = await _offline(export, outside, signed_by, common, whole=not part)
        else:
            file = state or common.addresses().data_dir / STATE_FILE
            former = _read_state(file, signed_by, must=incremental)
            begin = _Begin(
                former, incremental=incremental, size=since_checkpoint or 0, cold_elsewhere=cold_elsewhere
            )
            report = await _online(outside, signed_by, common, begin, file)
    report.warnings[:0] = warnings
    emit(common, report.as_json(), lambda: _draw(report))
    return EXIT_DONE if report.ok else EXIT_REFUSED


async def _offline(
    files: tuple[Path, ...], outside: Outside, key: VerifierKey, common: Common, *, whole: bool
) -> Report:
    with progress_bar(common) as progress:
        try:
            return await verify_export(files, outside, key, whole=whole, progress=progress)
        except BadExport as error:
            raise BadUsage(str(error), do="name files that `trading audit export` has written") from error


@dataclass(frozen=True)
class _Begin:
    """Where a check of the database begins, and what an earlier one has seen."""

    former: Verified | None
    incremental: bool
    size: int
    cold_elsewhere: bool


async def _online(outside: Outside, key: VerifierKey, common: Common, begin: _Begin, file: Path) -> Report:
    from console.rows import rows

    async with rows(common.addresses(), statement_seconds=STATEMENT_SECONDS) as connection:
        with progress_bar(common) as progress:
            report, verified = await verify_database(
                connection, outside, key, now=utc_now(), former=begin.former,
                goes_on=begin.incremental, since_size=begin.size,
                cold_elsewhere=begin.cold_elsewhere, progress=progress,
            )  # fmt: skip
    if verified is not None and not begin.size:  # Rows before that size were not read.
        _write_state(file, verified)
    return report


# Where the last good check ended --------------------------------------------------------------------------------


def _read_state(file: Path, key: VerifierKey, *, must: bool) -> Verified | None:
    """What the last good check of this log has seen; ``must``: one that cannot be used is a mistake."""
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(STATE_BYTES_MAX))
        verified = Verified(
            str(found["origin"]), int(found["size"]), str(found["root"]), tuple(map(str, found["frontier"]))
        )
        verified.tree()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not must:
            return None
        raise BadUsage(
            f"{file} is not what a check leaves behind: {error}", do="delete it, and all rows are checked"
        ) from error
    if verified.origin != key.name:
        if not must:
            return None
        raise BadUsage(
            f"{file} is of another log, {clean(verified.origin)}", do="name another one with --state"
        )
    return verified


def _write_state(file: Path, verified: Verified) -> None:
    fresh = file.with_name(file.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, STATE_MODE)
        with os.fdopen(descriptor, "w") as opened:
            json.dump(asdict(verified), opened)
        fresh.replace(file)
    except OSError as error:
        sys.stderr.write(f"trading: the state could not be kept in {file}: {error.strerror}\n")


# What a person sees ---------------------------------------------------------------------------------------------


def _draw(report: Report) -> None:
    newest = "none" if report.newest is None else f"{report.newest} rows, root {report.newest_root}"
    print(f"rows          {report.rows:,} hashed anew, {report.first:,} to {max(report.end - 1, 0):,}")
    cold = f", {report.payloads_elsewhere:,} not here" if report.payloads_elsewhere else ""
    if report.dropped:
        print(f"dropped       {report.dropped:,} rows older than seven years: only their leaves were checked")
    print(f"payloads      {report.payloads:,} hashed anew{cold}")
    print(f"checkpoints   {report.checkpoints:,} signatures good; newest: {newest}")
    if report.beyond or report.waiting:
        print(f"not under a checkpoint yet: {report.beyond:,} sealed rows, {report.waiting:,} waiting")
    for warning in report.warnings:
        print(f"warning       {warning}")
    first = report.first_wrong
    if first is None:
        console().print(cell("ok"), "the log is what was sealed")
        return
    console().print(cell("wrong"), _told(first))
    shown = [_line(each) for each in report.findings]
    console().print(
        table(("what", "row", "id", "signal", "rows", "found"), shown, right=("row", "id", "rows"))
    )
    if report.more:
        print(f"and {report.more:,} findings more")


def _told(first: Finding) -> str:
    if first.sequence is None and first.audit_id is None:
        return f"{first.kind.value}: {clean(first.text)}"
    named = f"id {first.audit_id}, {clean(first.correlation_id)}" if first.audit_id else "no id known"
    number = "not sealed" if first.sequence is None else f"{first.sequence:,}"
    return f"first wrong row: {number} ({named}): {first.kind.value}: {clean(first.text)}"


def _line(each: Finding) -> tuple[object, ...]:
    return (
        each.kind.value, "" if each.sequence is None else each.sequence, each.audit_id or "",
        each.correlation_id or "", each.rows, each.text,
    )  # fmt: skip
