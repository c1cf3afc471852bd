"""The verifier on a real database, against what its owner may do to it with the triggers off."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest

from audit.check import database as database_module
from audit.check import exporting
from audit.check.findings import Report, Wrong
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verified import Verified
from audit.check.verify import verify_database, verify_export
from tests.audit.loading import load_log
from tests.audit.made import Log, canonical, leaf_of, make_log, tree_root

NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)
ROWS, SIZES = 60, [20, 40, 55]


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(ROWS, SIZES)


@pytest.fixture(scope="module")
def outside(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log.put_outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture
async def owner(database: str, log: Log) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection, triggers off, to a sealed log of sixty rows."""
    connection = await asyncpg.connect(database)
    await load_log(connection, log)
    await connection.execute("alter table audit_leaves drop constraint audit_leaves_sequence_check")
    yield connection
    await connection.close()


async def check(
    owner: asyncpg.Connection,
    log: Log,
    outside: Path,
    since: Verified | None = None,
    since_size: int = 0,
    now: datetime = NOW,
) -> tuple[Report, Verified | None]:
    key = VerifierKey.parse(log.signer.vkey)
    return await verify_database(
        owner, Folder(outside), key, now=now, former=since, goes_on=since is not None, since_size=since_size
    )


async def test_a_good_log_is_good_and_a_later_check_goes_on(
    owner: asyncpg.Connection, log: Log, outside: Path
) -> None:
    report, verified = await check(owner, log, outside)
    assert report.findings == []
    assert (report.rows, report.payloads, report.beyond, report.checkpoints) == (ROWS, ROWS, 5, 3)
    assert verified is not None
    assert (verified.size, verified.root) == (55, tree_root(log.leaves[:55]).hex())
    later, again = await check(owner, log, outside, since=verified)
    assert (later.findings, later.first, later.rows, again) == ([], 55, 5, verified)
    from_checkpoint, _ = await check(owner, log, outside, since_size=40)
    assert (from_checkpoint.findings, from_checkpoint.first, from_checkpoint.rows) == ([], 40, 20)


OWNERS_ACTS = (
    ("update audit_log set decision = 'APPROVED' where id = {id}", Wrong.EDITED),
    ("update audit_log set occurred_at = occurred_at + interval '1 microsecond' where id = {id}", Wrong.EDITED),
    ("update audit_log set checks = '[]', refs = '[1]' where id = {id}", Wrong.EDITED),
    ("update audit_log set occurred_at = occurred_at - interval '3 years' where id = {id}", Wrong.EDITED),
    ("update audit_payloads set payload = '{{}}' where audit_id = {id}", Wrong.PAYLOAD_CHANGED),
    ("update audit_leaves set leaf = sha256('x') where sequence = {row}", Wrong.LEAF_CHANGED),
    ("delete from audit_log where id = {id}", Wrong.MISSING),
    ("delete from audit_leaves where sequence = {row}", Wrong.MISSING),
    (
        "delete from audit_leaves where sequence = {row};"
        " update audit_leaves set sequence = -sequence where sequence > {row};"
        " update audit_leaves set sequence = -sequence - 1 where sequence < 0;"
        " delete from audit_log where id = {id}; update audit_head set size = size - 1",
        Wrong.MISSING,
    ),
    (
        "update audit_leaves set sequence = -sequence where sequence >= {row};"
        " update audit_leaves set sequence = -sequence + 1 where sequence < 0;"
        " insert into audit_log (id, occurred_at, correlation_id, component, actor, input_hash, decision, checks,"
        " refs) overriding system value select 999, occurred_at, 'x', component, actor, input_hash, decision,"
        " checks, refs from audit_log where id = {id};"
        " insert into audit_leaves select {row}, 999, occurred_at, leaf from audit_leaves where audit_id = {id};"
        " update audit_head set size = size + 1",
        Wrong.INSERTED,
    ),
    (
        "update audit_leaves set sequence = -1 where sequence = {row};"
        " update audit_leaves set sequence = {row} where sequence = {row} + 1;"
        " update audit_leaves set sequence = {row} + 1 where sequence = -1",
        Wrong.SWAPPED,
    ),
)  # fmt: skip


async def test_what_an_owner_does_is_found(owner: asyncpg.Connection, log: Log, outside: Path) -> None:
    """How: each act on the sealed log by itself, undone after it was looked for."""
    row = 33
    for act, kind in OWNERS_ACTS:
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute(act.format(row=row, id=log.fields[row]["id"]))
        report, verified = await check(owner, log, outside)
        await transaction.rollback()
        first = report.first_wrong
        assert first is not None, act
        assert (first.kind, first.sequence) == (kind, row), (act, report.findings)
        assert verified is None


async def test_rewriting_rows_and_leaves_alike_is_found_by_the_leaves_outside(
    owner: asyncpg.Connection, log: Log, outside: Path
) -> None:
    """How: a row is edited, and leaves, head and every checkpoint in the database are made to fit it."""
    row = log.fields[33] | {"decision": "APPROVED", "actor": "nobody"}
    leaves = [leaf_of(row) if number == 33 else leaf for number, leaf in enumerate(log.leaves)]
    await owner.execute(
        "update audit_log set decision = 'APPROVED', actor = 'nobody' where id = $1", row["id"]
    )
    await owner.execute("update audit_leaves set leaf = $1 where sequence = 33", leaves[33])
    await owner.execute("update audit_head set root = $1", tree_root(leaves))
    report, _ = await check(owner, log, outside)
    assert [(each.kind, each.sequence, each.audit_id) for each in report.findings] == [
        (Wrong.REWRITTEN, 33, row["id"])
    ]
    forged = log.signer.note(40, tree_root(leaves[:40]))
    await owner.execute("update audit_checkpoints set note = $1 where size = 40", forged.decode())
    report, _ = await check(owner, log, outside)
    assert {each.kind for each in report.findings} == {Wrong.REWRITTEN, Wrong.INCONSISTENT}


@pytest.mark.parametrize("size", SIZES)
async def test_a_database_rolled_back_to_an_earlier_checkpoint_is_found(
    owner: asyncpg.Connection, log: Log, outside: Path, size: int
) -> None:
    await owner.execute(
        "delete from audit_log where id in (select audit_id from audit_leaves where sequence >= $1)", size - 1
    )
    await owner.execute("delete from audit_leaves where sequence >= $1", size - 1)
    await owner.execute(
        "update audit_head set size = $1, root = $2", size - 1, tree_root(log.leaves[: size - 1])
    )
    await owner.execute("delete from audit_checkpoints where size >= $1", size)
    report, _ = await check(owner, log, outside)
    assert [(each.kind, each.sequence) for each in report.findings] == [(Wrong.ROLLED_BACK, size - 1)]


async def test_a_tail_cut_off_is_found(owner: asyncpg.Connection, log: Log, outside: Path) -> None:
    await owner.execute("delete from audit_leaves where sequence >= 50")
    report, _ = await check(owner, log, outside)
    assert report.first_wrong is not None
    assert (report.first_wrong.kind, report.first_wrong.sequence) == (Wrong.CUT_TAIL, 50)


async def test_rows_past_the_queue_and_rows_that_wait_too_long_are_found(
    owner: asyncpg.Connection, log: Log, outside: Path
) -> None:
    insert = (
        "insert into audit_log (id, occurred_at, correlation_id, component, actor, input_hash, decision, checks,"
        " refs) overriding system value values ($1, $2, 'late', 'c', 'a', 'h', 'd', '[]', '[]')"
    )
    await owner.execute(insert, 2001, NOW)
    await owner.execute(insert, 2002, NOW)
    await owner.execute("insert into audit_unsealed (id, occurred_at) values (2002, $1)", NOW)
    report, _ = await check(owner, log, outside)
    assert [(each.kind, each.audit_id) for each in report.findings] == [(Wrong.NEVER_QUEUED, 2001)]
    assert report.waiting == 1
    report, _ = await check(owner, log, outside, now=NOW + timedelta(seconds=61))
    assert [(each.kind, each.audit_id) for each in report.findings] == [
        (Wrong.NEVER_QUEUED, 2001),
        (Wrong.UNSEALED, 2002),
    ]


async def test_a_checkpoint_that_left_the_outside_is_missed(
    owner: asyncpg.Connection, log: Log, tmp_path: Path
) -> None:
    outside = log.put_outside(tmp_path)
    _, verified = await check(owner, log, outside)
    for name in (f"checkpoints/{55:020d}", f"leaves/{40:020d}-{55:020d}", f"consistency/{40:020d}-{55:020d}"):
        (outside / name).unlink()
    report, _ = await check(owner, log, outside)
    found = [(each.kind, each.sequence) for each in report.findings]
    assert found == [
        *((Wrong.PREVIOUS_UNKNOWN, row) for row in range(55, ROWS)),
        (Wrong.CHECKPOINT_MISSING, 55),
    ]
    await owner.execute("delete from audit_checkpoints where size = 55")
    await owner.execute(
        "delete from audit_log where id in (select audit_id from audit_leaves where sequence >= 55)"
    )
    await owner.execute("delete from audit_leaves where sequence >= 55")
    await owner.execute("update audit_head set size = 55, root = $1", tree_root(log.leaves[:55]))
    report, _ = await check(owner, log, outside)
    assert report.findings == [], "nothing knows any more that there was more"
    report, _ = await check(owner, log, outside, since=verified)
    assert [(each.kind, each.sequence) for each in report.findings] == [(Wrong.ROLLED_BACK, 55)], (
        "but who saw it"
    )


async def test_a_row_that_names_a_checkpoint_that_never_was_is_found(database: str, tmp_path: Path) -> None:
    log = make_log(30, [10, 20, 30])
    log.fields[25]["previous_checkpoint"] = f"20 {'ab' * 32}"
    log.fields[26]["previous_checkpoint"] = f"30 {tree_root(log.leaves).hex()}"
    owner = await asyncpg.connect(database)
    await load_log(owner, log)
    report, _ = await check(owner, log, log.put_outside(tmp_path))
    await owner.close()
    assert [(each.kind, each.sequence) for each in report.findings] == [
        (Wrong.PREVIOUS_UNKNOWN, 25),
        (Wrong.PREVIOUS_UNKNOWN, 26),
    ]


async def test_an_export_goes_on_where_it_was_stopped(
    owner: asyncpg.Connection, log: Log, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: files of 25 rows; a row of the second one is gone at first, and nothing of that file is left behind."""
    monkeypatch.setattr(exporting, "FILE_ROWS", 25)
    monkeypatch.setattr(exporting, "BATCH_ROWS", 10)
    parts = exporting.ranges(0, 55)
    assert parts == [(0, 25), (25, 50), (50, 55)]
    assert exporting.ranges(30, 55) == [(30, 50), (50, 55)]
    assert exporting.ranges(5, 5) == []

    async def write() -> list[int]:
        return [count for part in parts async for count in exporting.write_file(owner, tmp_path, *part)]

    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("delete from audit_log where id = $1", log.fields[47]["id"])
    with pytest.raises(exporting.RowGone, match="row 47"):
        await write()
    await transaction.rollback()
    assert names_in(tmp_path) == [exporting.file_name(0, 25)]
    first = (tmp_path / exporting.file_name(0, 25)).stat()
    assert await write() == [25, 10, 10, 5, 5]
    files = [tmp_path / exporting.file_name(*part) for part in parts]
    assert names_in(tmp_path) == [file.name for file in files]
    assert files[0].stat().st_mtime_ns == first.st_mtime_ns
    report = await verify_export(list(reversed(files)), Folder(outside), VerifierKey.parse(log.signer.vkey))
    assert (report.findings, report.rows) == ([], 55)
    content = files[1].read_bytes()
    files[1].write_bytes(content[: len(content) // 2])
    report = await verify_export(files, Folder(outside), VerifierKey.parse(log.signer.vkey))
    assert report.first_wrong is not None
    assert (report.first_wrong.kind, report.first_wrong.sequence) == (Wrong.MALFORMED, 25)


async def test_rows_of_an_earlier_release_are_excused_as_the_log_itself_says(
    database: str, tmp_path: Path
) -> None:
    """How: the payloads of two rows are not what was hashed; the log's own row tells of one of them."""
    log = make_log(20, [10, 20])
    told = canonical({"rows_without_their_hash": [log.fields[3]["id"]]})
    log.fields[3]["payload"] = log.fields[5]["payload"] = "{}"
    log.fields[8] |= {
        "correlation_id": "audit", "component": "Migration", "decision": "AUDIT_MOVED", "payload": told,
        "previous_checkpoint": None, "input_hash": sha256(told.encode()).hexdigest(),
    }  # fmt: skip
    for row in log.fields:
        row["previous_checkpoint"] = None
    owner = await asyncpg.connect(database)
    await load_log(owner, log)
    report, _ = await check(owner, log, log.put_outside(tmp_path))
    await owner.close()
    assert [(each.kind, each.sequence) for each in report.findings] == [(Wrong.PAYLOAD_CHANGED, 5)]
    assert [warning for warning in report.warnings if "AUDIT_MOVED" in warning]


async def test_checkpoints_are_read_page_by_page(
    owner: asyncpg.Connection, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await database_module.published_checkpoints(owner, 0)
    assert sorted(whole) == log.sizes
    monkeypatch.setattr(database_module, "CHECKPOINTS_AT_ONCE", 2)
    assert await database_module.published_checkpoints(owner, 0) == whole
    assert sorted(await database_module.published_checkpoints(owner, log.sizes[0])) == log.sizes[1:]


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())
