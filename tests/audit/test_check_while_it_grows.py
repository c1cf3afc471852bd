"""No false alarm: the log is checked over and over while it is written and sealed."""

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from audit.check.notes import VerifierKey
from audit.check.verify import verify_database
from audit.outside import StoreOutside
from audit.store.directory import DirectoryStore
from observability.metrics import Metrics
from storage.database import Database
from tests.postgres.sealed import SIGNER, sealer_of, write_row
from workers import audit_sealing
from workers.audit_alerts import AuditAlerts
from workers.clients import utc_now

WRITERS, CHECKS = 4, 60
PAUSE_SECONDS = 0.02
"""Between two rows of a writer: so the checks keep up."""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_log_that_grows_is_never_found_changed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: four writers, a checkpoint every fifth of a second, 60 checks, each fourth one of all rows."""
    monkeypatch.setattr(audit_sealing, "CHECKPOINT_SECONDS", 0.2)
    monkeypatch.setattr(audit_sealing, "TICK_SECONDS", 0.05)
    rows, store = await Database.connect(database), DirectoryStore(tmp_path)
    alerts = AuditAlerts(rows, kills=False, now=utc_now)
    sealing = audit_sealing.AuditSealing(database, sealer_of(tmp_path, store), alerts, Metrics())
    enough = asyncio.Event()

    async def write(name: str) -> None:
        while not enough.is_set():
            async with rows.transaction("test.row") as connection:
                await write_row(connection, name)
            await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(write(f"s-{number}")) for number in range(WRITERS)]
    leader = asyncio.create_task(sealing.run())
    connection, outside, key = (
        await asyncpg.connect(database),
        StoreOutside(store),
        VerifierKey.parse(SIGNER.vkey),
    )
    former, newest = None, 0
    for number in range(CHECKS):
        report, verified = await verify_database(
            connection, outside, key, now=utc_now(), former=former,
            goes_on=former is not None and number % 4 != 0, batch_rows=97,
        )  # fmt: skip
        assert not report.is_tampering, report.findings
        former, newest = verified, max(newest, report.newest or 0)
    enough.set()
    await asyncio.gather(*tasks)
    leader.cancel()
    with suppress(asyncio.CancelledError):
        await leader
    await connection.close()
    await rows.close()
    assert newest > 0
    print(f"{CHECKS} checks while the log grew to {newest} rows under a checkpoint")
