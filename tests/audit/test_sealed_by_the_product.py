"""What the product writes, seals, moves to cold storage and drops by right is right for the verifier."""

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.check.findings import Report, Wrong
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verify import verify_database, verify_export
from audit.outside import StoreOutside
from audit.store.directory import DirectoryStore
from security.grants import make_drop_grant
from tests.postgres.cold import NOW, Cold, cold_storage, let_in
from tests.postgres.sealed import SIGNER, run_once, sealer_of

MONTH = (NOW - timedelta(days=8 * 365)).replace(day=10, hour=0, minute=0, second=0, microsecond=0)
OLD = NOW - timedelta(days=40)
KEY = VerifierKey.parse(SIGNER.vkey)


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    """Give rows of eight years ago, of forty days ago and of today, sealed by the product in three checkpoints."""
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as made:
        await made.owner.execute("select make_audit_partitions($1, 0)", MONTH)
        await let_in(made.owner, tmp_path / "operator.json", account="paper-1")
        sealer = sealer_of(tmp_path / "store", made.store)
        for when in (MONTH, OLD, datetime.now(UTC) - timedelta(seconds=30)):
            await made.write(4, when, sealed=False)
            await run_once(made.owner, sealer)
        yield made


async def beside(cold: Cold) -> Report:
    """As the check beside the sealer, with its rights."""
    async with cold.database.connection() as operations:
        report, _ = await verify_database(
            operations, StoreOutside(cold.store), KEY, now=NOW, texts=False, batch_rows=3
        )
    return report


async def test_rows_sealed_moved_and_dropped_are_right(cold: Cold, tmp_path: Path) -> None:
    report = await beside(cold)
    assert (report.findings, report.rows, report.payloads, report.checkpoints) == ([], 12, 12, 3)
    assert len(await cold.move_all()) > 0
    report = await beside(cold)
    assert report.findings == []
    assert report.payloads_elsewhere == 8
    grant = make_drop_grant(
        tmp_path / "operator.json",
        partition=f"audit_log_{MONTH:%Y_%m}",
        now=NOW,
        account="paper-1",
        reason="old",
    )
    assert (await cold.dropper().drop(grant)).dropped
    report = await beside(cold)
    assert (report.findings, report.dropped) == ([], 4)
    report, _ = await verify_database(cold.owner, Folder(tmp_path / "store"), KEY, now=NOW)
    assert (report.findings, report.dropped) == ([], 4)

    files = sorted((tmp_path / "store" / "audit").iterdir())
    offline = await verify_export(files, Folder(tmp_path / "store"), KEY, whole=False)
    assert (offline.findings, offline.rows, offline.payloads) == ([], 8, 8)


async def test_what_is_gone_without_right_is_found(cold: Cold, tmp_path: Path) -> None:
    """How: the same records in the database, but a file is gone outside, and a month is too young."""
    await cold.move_all()
    first, *_ = sorted((tmp_path / "store" / "audit").iterdir())
    first.unlink()
    report = await beside(cold)
    assert {each.kind for each in report.findings} == {Wrong.PAYLOAD_MISSING}
    assert report.first_wrong is not None
    assert report.first_wrong.sequence == int(first.name[:20])

    await cold.owner.execute("set session_replication_role = replica")
    await cold.owner.execute(
        "insert into audit_drops values ('p', $1, $2, 4, 4, 7, 'x', 'x', 'n', 'k', now())",
        OLD - timedelta(days=30), OLD + timedelta(days=1),
    )  # fmt: skip
    await cold.owner.execute(
        "delete from audit_log where occurred_at between $1 and $2", OLD, NOW - timedelta(days=9)
    )
    report = await beside(cold)
    missing = [each for each in report.findings if each.kind is Wrong.MISSING]
    assert sum(each.rows for each in missing) >= 4


async def test_a_row_of_today_is_not_gone_by_right_because_its_leaf_is_dated_back(
    cold: Cold, tmp_path: Path
) -> None:
    """How: the owner deletes it with its payload, dates its leaf back, and writes that the month was dropped."""
    for act in (
        "set session_replication_role = replica",
        "delete from audit_log where id = (select audit_id from audit_leaves where sequence = 9)",
        "delete from audit_payloads where audit_id = (select audit_id from audit_leaves where sequence = 9)",
        "update audit_leaves set occurred_at = '2015-01-03' where sequence = 9",
        "insert into audit_drops values"
        " ('audit_log_2015_01', '2015-01-01', '2015-02-01', 1, 9, 9, 'x', 'x', 'n', 'k', now())",
    ):
        await cold.owner.execute(act)
    report = await beside(cold)
    assert [(each.kind, each.sequence) for each in report.findings] == [(Wrong.MISSING, 9)]
    assert report.dropped == 0


async def test_a_record_excuses_the_payloads_of_the_file_that_it_names_and_no_more(
    cold: Cold, tmp_path: Path
) -> None:
    """How: a record is widened under the name of a file that is there; then no file at all is outside."""
    await cold.move_all()
    await cold.owner.execute("set session_replication_role = replica")
    await cold.owner.execute(
        "delete from audit_payloads where audit_id = (select audit_id from audit_leaves where sequence = 9)"
    )
    for stop in ("10", "1000000000000"):
        await cold.owner.execute(
            f"update audit_archives set stop = {stop} where first = 4 and kind = 'audit'"
        )
        report = await beside(cold)
        assert {(each.kind, each.sequence, each.rows) for each in report.findings} >= {
            (Wrong.PAYLOAD_MISSING, 9, 1)
        }
    await cold.owner.execute("update audit_archives set stop = 8 where first = 4 and kind = 'audit'")
    assert [each.sequence for each in (await beside(cold)).findings] == [9]

    shutil.rmtree(tmp_path / "store" / "audit")
    report = await beside(cold)
    assert {each.kind for each in report.findings} == {Wrong.PAYLOAD_MISSING}
    assert {each.sequence for each in report.findings} == {*range(8), 9}
    report, _ = await verify_database(
        cold.owner, Folder(tmp_path / "store"), KEY, now=NOW, cold_elsewhere=True
    )
    assert [each.sequence for each in report.findings] == [9]
    assert [each for each in report.warnings if "cold storage is elsewhere" in each]


async def test_a_payload_is_not_cold_by_right_in_a_file_that_was_changed(cold: Cold, tmp_path: Path) -> None:
    """How: one byte of a file in cold storage is another one; then it is as it was."""
    await cold.move_all()
    _, file = sorted((tmp_path / "store" / "audit").iterdir())
    kept = file.read_bytes()
    file.unlink()
    file.write_bytes(bytes([*kept[:-1], kept[-1] ^ 1]))
    report = await beside(cold)
    assert [(each.kind, each.sequence) for each in report.findings] == [
        (Wrong.PAYLOAD_MISSING, sequence) for sequence in range(4, 8)
    ]
    assert file.name in report.findings[0].text
    file.write_bytes(kept)
    assert (await beside(cold)).findings == []


@pytest.mark.parametrize("what", ["gone", "cut off", "without it"])
async def test_a_month_is_gone_by_right_if_its_rows_are_in_cold_storage(
    cold: Cold, tmp_path: Path, what: str
) -> None:
    """How: a month is dropped; then its file outside goes, is cut off, or holds other rows."""
    await cold.move_all()
    partition = f"audit_log_{MONTH:%Y_%m}"
    grant = make_drop_grant(
        tmp_path / "operator.json", partition=partition, now=NOW, account="paper-1", reason="old"
    )
    assert (await cold.dropper().drop(grant)).dropped
    report = await beside(cold)
    assert (report.findings, report.dropped) == ([], 4)
    first, second = sorted((tmp_path / "store" / "audit").iterdir())
    content = first.read_bytes()
    first.unlink()
    if what == "cut off":
        first.write_bytes(content[: len(content) // 2])
    elif what == "without it":
        first.write_bytes(second.read_bytes())
    report = await beside(cold)
    assert ({each.kind for each in report.findings}, report.dropped) == ({Wrong.MISSING}, 0)
    assert sum(each.rows for each in report.findings) == 4


async def test_the_first_rows_of_all_are_not_gone_by_right_because_their_leaves_are_dated_back(
    cold: Cold, tmp_path: Path
) -> None:
    """How: nothing stands before them; what is in cold storage says of what time they are."""
    await cold.move_all()
    for act in (
        "set session_replication_role = replica",
        "delete from audit_log where id in (select audit_id from audit_leaves where sequence < 8)",
        "update audit_leaves set occurred_at = '2015-01-03' where sequence < 8",
        "insert into audit_drops values"
        " ('audit_log_2015_01', '2015-01-01', '2015-02-01', 8, 0, 7, 'x', 'x', 'n', 'k', now())",
    ):
        await cold.owner.execute(act)
    report = await beside(cold)
    assert {each.kind for each in report.findings} == {Wrong.MISSING}
    assert sum(each.rows for each in report.findings) == 8
