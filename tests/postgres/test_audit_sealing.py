"""Who leads the sealing, what people are told of it, and when the kill switch is asked for."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from audit.seal import sealer
from audit.store import bounded
from audit.store.directory import DirectoryStore
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.kill import AUDIT_FAILED
from storage.alerts import list_alerts
from storage.conduct import kills_asked_for
from storage.database import Database
from tests.postgres.sealed import check_sealed, run_once, sealer_of, write_rows
from tests.servers.postgres import CopyDatabase
from workers import audit_sealing
from workers.audit_alerts import AuditAlerts
from workers.audit_sealing import TARGET_DOWN_SECONDS, AuditSealing
from workers.audit_watch import LAG_SECONDS_MAX, LOOKS_MAX, AuditWatch, Backlog
from workers.clients import utc_now

REPOSITORY = Path(__file__).parents[2]
DONE_WITHIN_SECONDS = 60


class Clock:
    """Monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TICK_SECONDS", "TARGET_PAUSE_SECONDS", "RECONNECT_SECONDS", "FORKED_PAUSE_SECONDS"):
        monkeypatch.setattr(audit_sealing, name, 0.01)
    monkeypatch.setattr(audit_sealing, "CHECKPOINT_SECONDS", 0.05)


@asynccontextmanager
async def sealing(
    rows: Database, dsn: str, folder: Path, *, kills: bool = True, clock: Clock | None = None
) -> AsyncIterator[None]:
    """A sealer in this process, for the length of the block."""
    alerts = AuditAlerts(rows, kills=kills, now=utc_now)
    made = AuditSealing(dsn, sealer_of(folder), alerts, Metrics(), **({"monotonic": clock} if clock else {}))
    running = asyncio.create_task(made.run())
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until(rows: Database, sql: str, wanted: Callable[[object], bool] = bool) -> None:
    async with asyncio.timeout(DONE_WITHIN_SECONDS), rows.connection() as connection:
        while not wanted(await connection.fetchval(sql)):
            await asyncio.sleep(0.01)


PUBLISHED = "select checkpoint_size from audit_head"
RAISED = "select array_agg(code order by code) from alerts where cleared_at is null"


async def told(rows: Database) -> dict[AlertCode, str]:
    async with rows.connection() as connection:
        return {each.code: each.text for each in await list_alerts(connection)}


async def test_two_sealers_compete_and_the_leader_is_killed(
    database: str, rows: Database, tmp_path: Path
) -> None:
    """How: by signal 9, while rows are written."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.postgres.sealer_script", database, str(tmp_path), cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        enough = asyncio.Event()
        writing = asyncio.create_task(write_until(database, enough))
        first = await leader(processes)
        await until(rows, "select count(*) > 0 from audit_checkpoints")
        processes[first].kill()
        await processes.pop(first).wait()
        await leader(processes)
        enough.set()
        count = await writing
        await until(rows, PUBLISHED, lambda size: size == count)
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    await check_sealed(database, tmp_path, rows=count, checkpoints_min=2)
    assert await told(rows) == {}


async def write_until(dsn: str, enough: asyncio.Event) -> int:
    """How many rows were written."""
    count = 0
    while not enough.is_set():
        await write_rows(dsn, 5, str(count))
        count += 5
        await asyncio.sleep(0.02)
    return count


async def leader(processes: list[asyncio.subprocess.Process]) -> int:
    """The place of the one that seals."""
    lines = [asyncio.create_task(each.stdout.readline()) for each in processes if each.stdout]
    done, waiting = await asyncio.wait(
        lines, timeout=DONE_WITHIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(done) == 1, "nobody took over, or two lead"
    return lines.index(done.pop())


async def test_a_fork_is_told_and_asks_for_the_kill_switch_once(
    database: str, tmp_path: Path, copy_database: CopyDatabase
) -> None:
    """How: an earlier state takes the database's place; a person releases the switch, and the fork lasts."""
    await write_rows(database, 2)
    connection = await asyncpg.connect(database)
    await run_once(connection, sealer_of(tmp_path))
    await connection.close()
    async with copy_database(database) as earlier:
        connection = await asyncpg.connect(database)
        await write_rows(database, 1)
        await run_once(connection, sealer_of(tmp_path))
        await connection.close()
        rows = await Database.connect(earlier)
        async with sealing(rows, earlier, tmp_path):
            await until(rows, "select times > 2 from alerts where code = 'AUDIT_FORKED'")
        [(code, text)] = (await told(rows)).items()
        assert code is AlertCode.AUDIT_FORKED
        assert "checkpoints/00000000000000000003, of which this database knows nothing" in text
        async with rows.connection() as connection:
            [request] = await kills_asked_for(connection)
            assert request.reason.startswith(f"{AUDIT_FAILED}: outside stands")
            assert await connection.fetchval("select size from audit_head") == 2
            await connection.execute("update kill_requests set done_at = now()")
        async with sealing(rows, earlier, tmp_path):
            await until(rows, "select times > 4 from alerts where code = 'AUDIT_FORKED'")
        async with rows.connection() as connection:
            assert await kills_asked_for(connection) == []
        await rows.close()


async def test_a_fork_kills_nothing_where_that_is_set(database: str, rows: Database, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another's")
    async with sealing(rows, database, tmp_path, kills=False):
        await until(rows, RAISED)
    assert set(await told(rows)) == {AlertCode.AUDIT_FORKED}
    async with rows.connection() as connection:
        assert await kills_asked_for(connection) == []


async def test_a_target_that_fails_is_told_of_and_ends(database: str, rows: Database, tmp_path: Path) -> None:
    """How: a file stands where the folder must be; the clock is moved by hand."""
    clock = Clock()
    blocked = tmp_path / "checkpoints"
    blocked.write_text("")
    await write_rows(database, 3)
    async with sealing(rows, database, tmp_path, clock=clock):
        await until(rows, "select size = 3 from audit_head")
        assert await told(rows) == {}
        clock.seconds += TARGET_DOWN_SECONDS + 1
        await until(rows, RAISED)
        [(code, text)] = (await told(rows)).items()
        assert code is AlertCode.AUDIT_TARGET_DOWN
        assert str(blocked) in text or str(tmp_path) in text
        blocked.unlink()
        clock.seconds += 1
        await until(rows, f"select ({RAISED}) is null")
        clock.seconds += 1
        # The alert's own two rows are sealed too.
        await until(rows, "select checkpoint_size = size and size = 5 from audit_head")
    await check_sealed(database, tmp_path, rows=5)


async def test_a_target_that_is_not_mounted_is_down_and_no_fork(
    database: str, rows: Database, tmp_path: Path
) -> None:
    """How: an empty folder in its place, at the start and again while it runs; then it is back."""
    clock = Clock()
    target, away = tmp_path / "target", tmp_path / "away"
    await write_rows(database, 2)
    async with rows.connection() as connection:
        await run_once(connection, sealer_of(target))
    target.rename(away)
    target.mkdir()
    async with sealing(rows, database, target, clock=clock):
        for size in (4, 7):
            await write_rows(database, 1)
            clock.seconds += 1
            await until(rows, f"select size >= {size - 1} from audit_head")
            clock.seconds += TARGET_DOWN_SECONDS + 1
            await until(rows, RAISED)
            assert set(await told(rows)) == {AlertCode.AUDIT_TARGET_DOWN}
            assert list(target.iterdir()) == []
            target.rmdir()
            away.rename(target)
            clock.seconds += 10
            await until(rows, f"select ({RAISED}) is null")
            clock.seconds += 10
            await until(rows, f"select checkpoint_size = size and size >= {size} from audit_head")
            target.rename(away)
            target.mkdir()
    async with rows.connection() as connection:
        assert await kills_asked_for(connection) == []


async def test_a_target_that_hangs_does_not_stop_the_sealing(
    database: str, rows: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: it answers nothing, at the start and later; one call at a time is begun, and the next goes through."""
    monkeypatch.setattr(bounded.BoundedStore.__init__, "__kwdefaults__", {"answer_seconds": 0.1})
    asked, hangs = 0, asyncio.Event()

    async def hang(self: DirectoryStore, *args: object, **_: object) -> list[str]:
        nonlocal asked
        asked += 1
        await hangs.wait()
        return []

    with monkeypatch.context() as patched:
        for method in ("put", "get", "names"):
            patched.setattr(DirectoryStore, method, hang)
        async with sealing(rows, database, tmp_path):
            for count in (2, 4):
                await write_rows(database, 2)
                await until(rows, f"select size = {count} from audit_head")
            assert asked == 1
            patched.undo()
            hangs.set()
            await until(rows, PUBLISHED, lambda size: size == 4)


async def test_the_first_checkpoint_is_of_all_that_waited(
    database: str, rows: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: batches of two, and a checkpoint due after three leaves: later ones come before the queue is empty."""
    for module in (audit_sealing, sealer):
        monkeypatch.setattr(module, "BATCH_MAX", 2)
    monkeypatch.setattr(audit_sealing, "CHECKPOINT_LEAVES", 3)
    monkeypatch.setattr(sealer, "LEAVES_IN_OBJECT_MAX", 16)
    await write_rows(database, 9)
    async with sealing(rows, database, tmp_path):
        await until(rows, PUBLISHED, lambda size: size == 9)
    async with sealing(rows, database, tmp_path):
        await write_rows(database, 9)
        await until(rows, PUBLISHED, lambda size: size == 18)
    async with rows.connection() as connection:
        assert await connection.fetchval("select min(size) from audit_checkpoints") == 9
    await check_sealed(database, tmp_path, rows=18)


async def test_nobody_seals_and_it_is_told_though(database: str, rows: Database, tmp_path: Path) -> None:
    """How: two processes look, and one that has just begun does not take the other's word back."""
    clock = Clock()
    metrics = Metrics()
    watch = AuditWatch(rows, AuditAlerts(rows, kills=False, now=utc_now), metrics, monotonic=clock)
    await watch.look()
    await write_rows(database, 1)
    for _ in range(2):
        await watch.look()
        assert await told(rows) == {}
        clock.seconds += LAG_SECONDS_MAX
    clock.seconds += 1
    await watch.look()
    assert "waiting for 121 s to be sealed" in (await told(rows))[AlertCode.AUDIT_NOT_SEALED]
    assert b"audit_sealing_lag_seconds 121.0" in metrics.render()
    other = AuditWatch(rows, AuditAlerts(rows, kills=False, now=utc_now), Metrics(), monotonic=clock)
    await other.look()
    assert AlertCode.AUDIT_NOT_SEALED in await told(rows)
    async with rows.connection() as connection:
        await run_once(connection, sealer_of(tmp_path))
        await watch.look()
        assert await told(rows) == {}
    assert b"audit_tree_size 2.0" in metrics.render()
    assert b"audit_checkpoint_age_seconds" in metrics.render()


def test_a_lag_is_that_of_the_oldest_that_waits() -> None:
    backlog = Backlog()
    looks = [
        # now, newest, done, lag
        (0, 0, 0, 0), (5, 3, 0, 0), (10, 7, 0, 5), (15, 7, 3, 5), (20, 9, 6, 10), (25, 9, 7, 5), (30, 9, 9, 0),
        (35, 9, 9, 0), (40, 10, 9, 0), (50, 10, 9, 10),
    ]  # fmt: skip
    for now, newest, done, lag in looks:
        assert backlog.lag(newest=newest, done=done, now=now) == lag
    for now in range(100, 100 + 2 * LOOKS_MAX):
        assert backlog.lag(newest=now, done=9, now=now) >= min(now - 40, LOOKS_MAX - 1)
