"""The check beside the sealer: with the rights of operations, told once, and the kill switch asked for."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from audit.check import findings
from audit.check.notes import VerifierKey
from audit.check.outside import Folder, OutsideUnreadable
from audit.check.verify import verify_database
from observability.metrics import Metrics
from storage.database import Database
from storage.grants import Role
from tests.audit.loading import load_log
from tests.audit.made import Log, make_log
from workers import audit_check
from workers.audit_alerts import AuditAlerts
from workers.audit_check import LATE_SECONDS, AuditCheck
from workers.clients import utc_now

ROWS, SIZES = 30, [10, 20, 28]


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(ROWS, SIZES)


@pytest.fixture
async def owner(database: str, log: Log) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await load_log(connection, log)
    yield connection
    await connection.close()


def check_of(
    rows: Database,
    outside: Path,
    log: Log,
    *,
    kills: bool = True,
    metrics: Metrics | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> AuditCheck:
    """A check that looks again at once."""
    key, alerts = VerifierKey.parse(log.signer.vkey), AuditAlerts(rows, kills=kills, now=utc_now)
    return AuditCheck(
        rows, Folder(outside), key, alerts, metrics or Metrics(), again_seconds=0, monotonic=monotonic
    )


async def test_it_needs_no_payload_and_finds_one_that_was_changed(
    owner: asyncpg.Connection, log: Log, tmp_path: Path
) -> None:
    outside, key = Folder(log.put_outside(tmp_path)), VerifierKey.parse(log.signer.vkey)
    await owner.execute(f"set session_authorization = {Role.OPERATIONS}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.fetch("select payload from audit_payloads")
    report, verified = await verify_database(owner, outside, key, now=utc_now(), texts=False, batch_rows=7)
    assert (report.findings, report.payloads) == ([], ROWS)
    await owner.execute("reset session_authorization")
    await owner.execute("update audit_payloads set payload = '{}' where audit_id = $1", log.fields[21]["id"])
    await owner.execute("delete from audit_payloads where audit_id = $1", log.fields[25]["id"])
    await owner.execute(f"set session_authorization = {Role.OPERATIONS}")
    report, _ = await verify_database(
        owner,
        outside,
        key,
        now=utc_now(),
        texts=False,
        batch_rows=7,
        former=verified,
        goes_on=True,
        since_size=20,
    )
    assert report.findings == [], "they are before where it goes on"
    report, _ = await verify_database(owner, outside, key, now=utc_now(), texts=False, batch_rows=7)
    assert [(each.kind, each.sequence) for each in report.findings] == [
        ("PAYLOAD_CHANGED", 21), ("PAYLOAD_MISSING", 25)
    ]  # fmt: skip


@pytest.mark.parametrize("kills", [True, False])
async def test_what_it_finds_twice_is_told_once_and_asks_for_the_kill_switch(
    database: str, owner: asyncpg.Connection, log: Log, tmp_path: Path, *, kills: bool
) -> None:
    rows, metrics, outside = await Database.connect(database), Metrics(), log.put_outside(tmp_path)
    check = check_of(rows, outside, log, kills=kills, metrics=metrics)
    await check.check()
    assert "audit_check_failed 0.0" in metrics.render().decode()
    await owner.execute("update audit_log set decision = 'APPROVED' where id = $1", log.fields[15]["id"])
    await check.check()
    assert await owner.fetch("select code from alerts") == [], "only what is new was read"
    fresh = check_of(rows, outside, log, kills=kills, metrics=metrics)
    await fresh.check()
    await fresh.check()
    (alert,) = await owner.fetch("select code, severity, text, times from alerts")
    assert (alert["code"], alert["severity"], alert["times"]) == ("AUDIT_CHECK_FAILED", "critical", 2)
    assert f"EDITED row 15 (id {log.fields[15]['id']}, {log.fields[15]['correlation_id']})" in alert["text"]
    asked = await owner.fetch("select request_id, triggered_by from kill_requests")
    assert [tuple(each) for each in asked] == [("AUDIT_FAILED-EDITED-15", "AuditCheck")] * kills
    assert "audit_check_failed 1.0" in metrics.render().decode()
    await rows.close()


async def requests(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch("select request_id from kill_requests order by requested_at, request_id")
    return [row["request_id"].removeprefix("AUDIT_FAILED-") for row in rows]


async def test_one_standing_finding_does_not_hide_those_that_come_after_it(
    database: str, owner: asyncpg.Connection, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a row stands edited; later another one, two notes, and more rows than one check tells of."""
    monkeypatch.setattr(audit_check, "TOLD_MAX", 2)
    monkeypatch.setattr(findings, "FINDINGS_MAX", 4)
    rows, outside = await Database.connect(database), log.put_outside(tmp_path)
    check = check_of(rows, outside, log)

    async def edit(*places: int) -> None:
        ids = [log.fields[place]["id"] for place in places]
        await owner.execute("update audit_log set decision = 'X' where id = any ($1)", ids)

    await edit(5)
    await check.check()
    assert await requests(owner) == ["EDITED-5"]
    await edit(15)
    await check.check()
    assert await requests(owner) == ["EDITED-5", "EDITED-15"]
    text = await owner.fetchval("select text from alerts")
    assert "EDITED row 15" in text

    for size in (98, 99):
        (outside / f"checkpoints/{size:020d}").write_text("no note")
        await check.check()
    told = await requests(owner)
    assert (len(told), sum(each.startswith("BAD_CHECKPOINT-") for each in told)) == (4, 2)

    await edit(0, 2, 8, 18, 23, 25)
    for _ in range(4):
        await check.check()
    told = await requests(owner)
    assert {each for each in told if each.startswith("EDITED")} == {
        f"EDITED-{place}" for place in (0, 2, 5, 8, 15, 18, 23, 25)
    }
    assert len(told) == 10
    await rows.close()


async def test_a_place_that_is_not_mounted_says_nothing_of_the_log(
    database: str, owner: asyncpg.Connection, log: Log, tmp_path: Path
) -> None:
    """How: an empty folder in place of the one outside."""
    (tmp_path / "empty").mkdir()
    rows = await Database.connect(database)
    check = check_of(rows, tmp_path / "empty", log)
    await check.check()
    assert await owner.fetch("select code from alerts") == []
    assert await owner.fetch("select request_id from kill_requests") == []
    await rows.close()


class Failing(Folder):
    """A place of which one file cannot be read."""

    fails = ""

    async def get(self, name: str) -> bytes | None:
        if name == self.fails:
            raise OutsideUnreadable(f"{name} does not come")
        return await super().get(name)


async def test_a_place_that_fails_while_rows_are_read_leaves_the_connection_free(
    owner: asyncpg.Connection, log: Log, tmp_path: Path
) -> None:
    """How: the second file of leaves does not come while the next rows are being asked for."""
    outside = Failing(log.put_outside(tmp_path))
    outside.fails = f"leaves/{10:020d}-{20:020d}"
    with pytest.raises(OutsideUnreadable):
        await verify_database(owner, outside, VerifierKey.parse(log.signer.vkey), now=utc_now(), batch_rows=5)
    assert await owner.fetchval("select count(*) from audit_log") == ROWS


async def test_a_check_that_never_ends_is_told_of(
    database: str, owner: asyncpg.Connection, log: Log, tmp_path: Path
) -> None:
    """How: the clock is moved by hand while no check is made; then one is."""
    rows, seconds = await Database.connect(database), 0.0
    check = check_of(rows, log.put_outside(tmp_path), log, monotonic=lambda: seconds)
    await check.tell_age()
    assert await owner.fetch("select code from alerts") == []
    seconds = LATE_SECONDS + 1
    for _ in range(2):
        await check.tell_age()
    raised = "select code, text, times from alerts where cleared_at is null"
    (alert,) = await owner.fetch(raised)
    assert (alert["code"], alert["times"]) == ("AUDIT_NOT_CHECKED", 1)
    assert "for 2.0 days" in alert["text"]
    await check.check()
    assert await owner.fetch(raised) == []
    await rows.close()
