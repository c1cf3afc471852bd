"""The sealer's steps on a real database: whoever dies where, one history; and histories that differ are found."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import asyncpg
import pytest

from audit.seal import sealer as sealer_module
from audit.seal.sealer import Forked, Sealer
from audit.store.directory import DirectoryStore
from audit.store.port import StoreUnavailable
from observability import crash_points
from security.notes import NoteSigner
from storage import audit_sealing, commits
from tests.postgres.sealed import (
    SIGNER,
    check_sealed,
    content,
    run_once,
    sealer_of,
    write_row,
    write_rows,
)
from tests.servers.postgres import CopyDatabase

NOW = datetime.now(UTC)
POINTS = [
    f"{what} {moment}"
    for what, moment in product(
        (
            "call audit.put_key", "commit audit.sealed", "commit audit.checkpoint_signed", "call audit.put_leaves",
            "call audit.put_consistency", "call audit.put_checkpoint", "commit audit.checkpoint_published",
        ),
        ("before", "after"),
    )
]  # fmt: skip


class Killed(BaseException):
    """As by SIGKILL: nobody handles it."""


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database)
    yield opened
    await opened.close()


async def test_rows_become_leaves_and_checkpoints_that_anybody_can_check(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    """How: sizes around powers of two, in batches smaller than what waits, each checkpoint named by later rows."""
    sealer = sealer_of(tmp_path)
    for count in (1, 1, 2, 3, 1, 8, 5):
        await write_rows(database, count)
        await run_once(connection, sealer)
    await check_sealed(database, tmp_path, rows=21, checkpoints_min=7)
    named = await connection.fetch(
        "select previous_size as size, previous_root = encode(c.root, 'hex') as same from audit_log"
        " left join audit_checkpoints c on c.size = previous_size order by id"
    )
    assert [row["size"] for row in named] == [None, 1, *[2] * 2, *[4] * 3, 7, *[8] * 8, *[16] * 5]
    assert all(row["same"] for row in named[1:])


async def test_a_row_that_commits_late_is_sealed_late_and_not_lost(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    late = await asyncpg.connect(database)
    transaction = late.transaction()
    await transaction.start()
    await write_row(late, "late")
    await write_rows(database, 2)
    sealer = sealer_of(tmp_path)
    await run_once(connection, sealer)
    assert await connection.fetchval("select array_agg(audit_id order by sequence) from audit_leaves") == [
        2,
        3,
    ]
    await transaction.commit()
    await late.close()
    await run_once(connection, sealer)
    assert await connection.fetchval("select array_agg(audit_id order by sequence) from audit_leaves") == [
        2,
        3,
        1,
    ]
    await check_sealed(database, tmp_path, rows=3)


async def test_killed_at_each_of_its_commits_and_calls_it_goes_on(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: an error that nobody handles, and the connection ends; another goes on with one row more to seal."""
    rows = 2
    ordered: set[str] = set()
    seen: list[str] = []

    def pass_by(act: crash_points.Act, name: str, moment: crash_points.Moment) -> None:
        seen.append(crash_points.point(act, name, moment))
        if seen[-1] in ordered:
            ordered.clear()
            raise Killed

    for module in (commits, crash_points):
        monkeypatch.setattr(module, "pass_by", pass_by)
    await write_rows(database, rows)
    await _run(database, tmp_path)
    for point in POINTS:
        ordered.add(point)
        await write_rows(database, 2)
        with pytest.raises(Killed):
            await _run(database, tmp_path)
        await write_rows(database, 1)
        await _run(database, tmp_path)
        rows += 3
        await check_sealed(database, tmp_path, rows=rows)
    assert set(POINTS) == {each for each in seen if " audit." in each}, "a point that is not tried"


async def test_nothing_is_committed_while_nothing_waits(
    database: str, connection: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_rows(database, 1)
    sealer = sealer_of(tmp_path)
    await run_once(connection, sealer)
    seen: list[object] = []
    monkeypatch.setattr(commits, "pass_by", lambda *point: seen.append(point))
    assert await sealer.seal(connection) == 0
    assert not await sealer.has_news(connection)
    assert seen == []
    await write_rows(database, 1)
    assert await sealer.seal(connection) == 1
    assert await sealer.has_news(connection)
    assert ("commit", "audit.sealed", "after") in seen


async def _run(dsn: str, folder: Path) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await run_once(connection, sealer_of(folder))
    finally:
        connection.terminate()


async def test_several_sealers_at_once_make_one_history(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: what the lock of the leader keeps apart; eight writers commit out of order meanwhile."""
    monkeypatch.setattr(sealer_module, "BATCH_MAX", 7)
    enough = asyncio.Event()

    async def seal() -> None:
        connection, sealer = await asyncpg.connect(database), sealer_of(tmp_path)
        await sealer.publish_key(connection)
        while not enough.is_set():
            await sealer.seal(connection)
            await sealer.sign(connection)
            await sealer.publish(connection)
        await connection.close()

    async def write(number: int) -> int:
        connection, count = await asyncpg.connect(database), 0
        while not enough.is_set():
            count += 1
            async with connection.transaction():
                await write_row(connection, f"{number}-{count}")
                await asyncio.sleep(random.uniform(0, 0.01))
        await connection.close()
        return count

    sealers = [asyncio.create_task(seal()) for _ in range(3)]
    writers = [asyncio.create_task(write(number)) for number in range(8)]
    connection = await asyncpg.connect(database)
    while await connection.fetchval("select count(published_at) from audit_checkpoints") < 5:
        assert not any(each.done() for each in sealers), "one has failed"
        await asyncio.sleep(0.01)
    await connection.close()
    enough.set()
    count = sum(await asyncio.gather(*writers))
    await asyncio.gather(*sealers)
    await _run(database, tmp_path)
    await check_sealed(database, tmp_path, rows=count, checkpoints_min=5)


async def test_a_database_rolled_back_is_found_and_nothing_is_signed(
    database: str, tmp_path: Path, copy_database: CopyDatabase
) -> None:
    """How: a copy of an earlier state takes its place, as it is, and again after it has grown past the other."""
    await write_rows(database, 3)
    await _run(database, tmp_path)
    async with copy_database(database) as earlier:
        await write_rows(database, 2)
        await _run(database, tmp_path)
        outside = content(tmp_path)
        for _ in range(2):
            with pytest.raises(
                Forked, match=r"0005, of which this database knows nothing: it was rolled back"
            ):
                await _run(earlier, tmp_path)
            await write_rows(earlier, 5)
        assert content(tmp_path) == outside
        connection = await asyncpg.connect(earlier)
        assert await connection.fetchval("select max(size) from audit_checkpoints") == 3
        await connection.close()


async def test_another_history_of_the_same_length_is_not_signed(
    database: str, tmp_path: Path, copy_database: CopyDatabase
) -> None:
    """How: both have signed a checkpoint of five rows; the other's is outside."""
    await write_rows(database, 3)
    await _run(database, tmp_path)
    async with copy_database(database) as earlier:
        await write_rows(earlier, 2, "other")
        connection = await asyncpg.connect(earlier)
        sealer = sealer_of(tmp_path)
        await sealer.seal(connection)
        await sealer.sign(connection)
        await write_rows(database, 2)
        await _run(database, tmp_path)
        outside = content(tmp_path)
        for _ in range(2):
            with pytest.raises(Forked, match="0005, which this database has signed, has another content"):
                await sealer.sign(connection)
            with pytest.raises(Forked, match="another content"):
                await sealer.publish(connection)
        assert content(tmp_path) == outside
        await connection.close()


async def test_what_was_done_outside_is_found(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    """How: the newest checkpoint lost, changed, followed by another; the key another's. Each is put right again."""
    await write_rows(database, 3)
    await run_once(connection, sealer_of(tmp_path))
    newest, later = (tmp_path / "checkpoints" / f"{size:020d}" for size in (3, 4))
    note = newest.read_bytes()
    other = NoteSigner.from_hex(SIGNER.name, "77" * 32)
    await write_rows(database, 1)
    for what, sealer, tampered in (
        (r"0003, which this database has signed, is not there", sealer_of(tmp_path), newest.unlink),
        (r"0003, which .* signed, has another content", sealer_of(tmp_path), lambda: replace(newest)),
        (r"outside stands checkpoints/0{19}4, of which", sealer_of(tmp_path), lambda: replace(later)),
        (r"key stands outside", Sealer(DirectoryStore(tmp_path), other, now=lambda: NOW), lambda: None),
    ):  # fmt: skip
        tampered()
        with pytest.raises(Forked, match=what):
            await run_once(connection, sealer)
        assert await connection.fetchval("select max(size) from audit_checkpoints") == 3
        later.unlink(missing_ok=True)
        newest.unlink(missing_ok=True)
        newest.write_bytes(note)
    await run_once(connection, sealer_of(tmp_path))
    await check_sealed(database, tmp_path, rows=4)


def replace(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_text("x")


async def test_a_row_taken_away_before_it_was_sealed_is_named(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_rows(database, 3)
    await connection.execute("alter table audit_log disable trigger user")
    await connection.execute("delete from audit_log where id = 2")
    with pytest.raises(Forked, match="audit row 2 was taken away"):
        await sealer_of(tmp_path).seal(connection)
    assert (await audit_sealing.read_head(connection)).size == 0


async def test_a_leaf_that_nobody_sealed_is_named(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_rows(database, 1)
    await connection.execute("alter table audit_leaves disable trigger user")
    await connection.execute("insert into audit_leaves values (0, 77, now(), sha256('x'))")
    await connection.execute("alter table audit_leaves enable trigger user")
    with pytest.raises(Forked, match="a leaf stands where the next one belongs, at 0"):
        await sealer_of(tmp_path).seal(connection)
    assert (await audit_sealing.read_head(connection)).size == 0


async def test_leaves_that_were_changed_are_not_published(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_rows(database, 3)
    sealer = sealer_of(tmp_path)
    await sealer.publish_key(connection)
    await sealer.seal(connection)
    await sealer.sign(connection)
    await connection.execute("alter table audit_leaves disable trigger user")
    await connection.execute("update audit_leaves set leaf = sha256('x') where sequence = 1")
    with pytest.raises(Forked, match="do not lead to checkpoint 3"):
        await sealer.publish(connection)
    assert not (tmp_path / "checkpoints").exists()


async def test_without_its_target_nothing_is_signed_and_sealing_goes_on(
    database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder must be")
    sealer = sealer_of(tmp_path)
    await write_rows(database, 3)
    assert await sealer.seal(connection) == 3
    with pytest.raises(StoreUnavailable):
        await sealer.sign(connection)
    assert await connection.fetchval("select count(*) from audit_checkpoints") == 0
    (tmp_path / "checkpoints").unlink()
    await run_once(connection, sealer)
    await check_sealed(database, tmp_path, rows=3)
