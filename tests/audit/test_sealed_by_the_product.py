"""What the product writes, seals, moves to cold storage and drops by right is right for the verifier."""

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
from security.grants import make_drop_grant, make_key_file
from storage.switches import bind_installation, save_operator_key
from tests.postgres.cold import NOW, Cold, cold_storage, forget_log
from tests.postgres.sealed import SIGNER, run_once, sealer_of

MONTH = (NOW - timedelta(days=8 * 365)).replace(day=10, hour=0, minute=0, second=0, microsecond=0)
OLD = NOW - timedelta(days=40)
KEY = VerifierKey.parse(SIGNER.vkey)


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    """Give rows of eight years ago, of forty days ago and of today, sealed by the product in three checkpoints."""
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as made:
        await made.owner.execute("select make_audit_partitions($1, 0)", MONTH)
        key_id, public_key = make_key_file(tmp_path / "operator.json", "ana")
        await save_operator_key(made.owner, key_id=key_id, public_key=public_key, person="ana", now=NOW)
        await bind_installation(made.owner, account="paper-1", mode="paper", now=NOW)
        await forget_log(made.owner)
        sealer = sealer_of(tmp_path / "store", made.store)
        for when in (MONTH, OLD, datetime.now(UTC) - timedelta(seconds=30)):
            await made.write(4, when, sealed=False)
            await run_once(made.owner, sealer)
        yield made


async def beside(cold: Cold) -> Report:
    """As the check beside the sealer, with its rights."""
    async with cold.database.connection() as operations:
        report, _ = await verify_database(
            operations, StoreOutside(cold.store), KEY, now=datetime.now(UTC), texts=False, batch_rows=3
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
    report, _ = await verify_database(cold.owner, Folder(tmp_path / "store"), KEY, now=datetime.now(UTC))
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
