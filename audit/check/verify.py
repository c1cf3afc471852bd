"""One check of the log: from a database, or from export files alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from audit.check import database as db
from audit.check.by_right import ByRight, moved_in
from audit.check.checkpoints import CHECKPOINTS, Checkpoints, Published, check_proofs, read_checkpoints
from audit.check.exports import DamagedExport, batches, in_order
from audit.check.findings import Finding, Report, Wrong
from audit.check.judge import Judge
from audit.check.leaves import OutsideLeaves
from audit.check.lines import digest_lines
from audit.check.tree import Tree

if TYPE_CHECKING:
    from audit.check.database import Connection
    from audit.check.notes import VerifierKey
    from audit.check.outside import Outside
    from audit.check.verified import Verified

SEALING_MAX: Final = timedelta(seconds=60)
"""How long a row may wait for its leaf."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many rows of how many are judged."""


async def verify_database(
    connection: Connection,
    outside: Outside,
    key: VerifierKey,
    *,
    now: datetime,
    former: Verified | None = None,
    goes_on: bool = False,
    since_size: int = 0,
    texts: bool = True,
    cold_elsewhere: bool = False,
    told: frozenset[str] = frozenset(),
    batch_rows: int = db.BATCH_ROWS,
    pace: Callable[[], Awaitable[None]] | None = None,
    progress: Progress | None = None,
) -> tuple[Report, Verified | None]:
    """Check the log in a database against what is outside.

    Args:
        connection: only read from.
        now: against which waiting rows are late.
        former: what an earlier check has seen: that must still be said outside.
        goes_on: rows before its end are not read again.
        since_size: the same from a checkpoint of this size, by the leaves outside.
        texts: whether this connection may read payloads; if not, the database says what they hash to.
        cold_elsewhere: cold storage is not beside the checkpoints, a person says: what the database says went there
            is not looked for.
        told: names of findings that were told before.
        batch_rows: hashed in one go, while nothing else in this process runs.
        pace: awaited after every batch.
        progress: told after every batch.

    Returns:
        What was found, and where a later check can go on unless somebody has changed the log.
    """
    report = Report(known=told)
    tree = former.tree() if former is not None and goes_on else Tree()
    # In this order: what the database says is outside is there by then, and what is outside is in its rows by then.
    published = await db.published_checkpoints(connection, tree.size)
    checkpoints = await read_checkpoints(outside, key, report, first_size=tree.size)
    head = await db.read_head(connection)
    judge = await _judge(outside, key, checkpoints, report, tree)
    _check_former(report, checkpoints, former)
    await judge.skip_to(since_size)
    report.first = judge.at
    by_right = ByRight(connection, outside, report, now, cold_elsewhere=cold_elsewhere)
    reader = db.Reader(connection, batch_rows, texts)
    async with aclosing(reader.batches(by_right, judge.at, head.size)) as digests:
        async for digest in digests:
            await judge.take(digest)
            if pace is not None:
                await pace()
            if progress is not None:
                progress(judge.at, head.size)
    await judge.finish(whole=True, head=head.size)
    report.waiting = head.waiting
    _check_head(report, judge, head)
    _check_published(report, checkpoints, published)
    await _check_unsealed(connection, report, now)
    return report, None if report.is_tampering else judge.verified(key.name)


async def verify_export(
    files: Sequence[Path],
    outside: Outside,
    key: VerifierKey,
    *,
    whole: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Check export files against what is outside, with nothing else.

    Args:
        whole: all rows to the newest checkpoint should be there; else one run of rows, wherever it begins.

    Raises:
        BadExport: a file cannot be opened.
    """
    files = in_order(files)
    report = Report()
    checkpoints = await read_checkpoints(outside, key, report)
    judge = await _judge(outside, key, checkpoints, report, Tree())
    newest = checkpoints.newest
    covered_first = checkpoints.found[0].size if checkpoints.found else 0
    began, moved = whole, frozenset[int]()
    try:
        for lines in batches(files):
            digest = digest_lines(lines)
            if not began:
                began = True
                await judge.skip_to(digest.sequences[0] or 0)
                report.first = judge.at
            if judge.at < covered_first:
                moved |= moved_in(lines[: covered_first - judge.at])
            await judge.take(digest)
            if progress is not None:
                progress(judge.at, max(judge.at, newest.size if newest else 0))
    except DamagedExport as error:
        report.add(Finding(kind=Wrong.MALFORMED, sequence=judge.at, text=str(error)))
    await judge.finish(whole=whole, proved=True)
    _excuse_moved(report, moved)
    _check_proved(report)
    return report


def _check_proved(report: Report) -> None:
    """An export is right by a signed checkpoint alone: with none, or without a row, nothing was shown."""
    if report.newest is None:
        text = (
            "no checkpoint that the key has signed is in the checkpoints' folder: nothing was proved; name the "
            "log's folder with --checkpoints, and its key with --key"
        )
        report.findings.insert(0, Finding(kind=Wrong.NOT_PROVED, text=text))  # However many there are.
    elif not report.rows and report.ok:
        text = "the files hold no row: nothing was proved; name files that `trading audit export` has written"
        report.add(Finding(kind=Wrong.NOT_PROVED, text=text))


def _excuse_moved(report: Report, moved: frozenset[int]) -> None:
    """Payloads of an earlier release whose text could not be kept, as the log says under its first checkpoint."""
    excused = [
        each
        for each in report.findings
        if each.kind is Wrong.PAYLOAD_CHANGED and each.audit_id is not None and each.audit_id in moved
    ]
    if excused:
        report.findings = [each for each in report.findings if each not in excused]
        report.warnings.append(
            f"{len(excused)} rows of an earlier release came without the text that was hashed"
        )


async def _judge(
    outside: Outside, key: VerifierKey, checkpoints: Checkpoints, report: Report, tree: Tree
) -> Judge:
    newest = checkpoints.newest
    if newest is not None:
        report.newest, report.newest_root = newest.size, newest.root.hex()
        await check_proofs(outside, checkpoints, report)
    elif not await outside.names(CHECKPOINTS):
        report.warnings.append(
            "no checkpoint is outside: rows are held against the database's own leaves only"
        )
    until = max(tree.size, newest.size if newest is not None else 0)
    leaves = await OutsideLeaves.find(outside, tree.size, report, until=until, signed=checkpoints.by_size)
    return Judge(Published(outside, key, checkpoints), checkpoints, leaves, report, tree)


def _check_former(report: Report, checkpoints: Checkpoints, former: Verified | None) -> None:
    """What an earlier check has seen must still be said: that checkpoint, or a newer one."""
    if former is None or former.size == 0:
        return
    same, newest = checkpoints.by_size.get(former.size), checkpoints.newest
    if newest is None or newest.size < former.size:
        text = f"an earlier check has seen a checkpoint of {former.size} rows, and none so new is outside any more"
        report.add(Finding(kind=Wrong.ROLLED_BACK, sequence=former.size, text=text))
    elif same is not None and same.root.hex() != former.root:
        text = f"an earlier check has seen another root of {former.size} rows than is signed outside now"
        report.add(Finding(kind=Wrong.INCONSISTENT, sequence=former.size, text=text))


def _check_head(report: Report, judge: Judge, head: db.Head) -> None:
    if judge.tree.size == head.size and judge.tree.root() != head.root and report.ok:
        text = "the database's head has another root than its rows"
        report.add(Finding(kind=Wrong.HEAD_WRONG, text=text))


def _check_published(report: Report, checkpoints: Checkpoints, published: dict[int, bytes]) -> None:
    """Each checkpoint that the database says is outside is there, and the same."""
    for size, note_hash in published.items():
        there = checkpoints.by_size.get(size)
        if there is None:
            text = f"the database says that its checkpoint of {size} rows is outside, and it is not"
            report.add(Finding(kind=Wrong.CHECKPOINT_MISSING, sequence=size, text=text))
        elif there.note_hash != note_hash:
            text = f"the checkpoint of {size} rows is another one outside than in the database"
            report.add(Finding(kind=Wrong.INCONSISTENT, sequence=size, text=text))


async def _check_unsealed(connection: Connection, report: Report, now: datetime) -> None:
    after = await db.sealed_id(connection, report.first - 1)
    for row in await db.unqueued_rows(connection, after):
        text = f"a row of {row.occurred_at.isoformat()} is not sealed and does not wait for it"
        report.add(
            Finding(
                kind=Wrong.NEVER_QUEUED, audit_id=row.audit_id, correlation_id=row.correlation_id, text=text
            )
        )
    for row in await db.late_rows(connection, now - SEALING_MAX):
        text = (
            f"it waits for its leaf since {row.occurred_at.isoformat()}, longer than {SEALING_MAX.seconds} s"
        )
        report.add(
            Finding(kind=Wrong.UNSEALED, audit_id=row.audit_id, correlation_id=row.correlation_id, text=text)
        )
