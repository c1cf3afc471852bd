"""A move killed at every commit and call, before and after: nothing lost, nothing doubled, still verifiable."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from audit.store.directory import DirectoryStore
from observability.crash_points import VARIABLE
from schemas.audit import leaf_hash, leaf_text, text_sha256
from storage.archives import list_drops, sealed_rows
from tests.postgres.cold import NOW, Cold, cold_storage, let_in
from tests.postgres.retention_process import ACCOUNT
from tests.postgres.test_audit_drops import MONTH, PARTITION
from tests.servers.processes import REPOSITORY
from workers.chaos.points import MOMENTS, names

MOVING = ("commit retention.begun", "call archive.put", "call archive.get", "commit retention.checked",
          "commit retention.removed")  # fmt: skip
RESTORING = ("call archive.get_to_restore", "commit retention.restored")
DROPPING = ("commit retention.dropped",)
TELLING = ("commit retention.failed", "commit retention.noted", "commit retention.watched")
"""These only write down what was found: nothing moves."""
ROWS = 3
"""For each death: a whole file, and the beginning of another."""


@dataclass
class Killed:
    """Children that die where they are told to, and what there was before them."""

    cold: Cold
    process: asyncio.subprocess.Process
    now: datetime = NOW - timedelta(days=2000)
    """Goes on by more than the retention each time, so that what retention itself writes goes too."""
    payloads: dict[int, str] = field(default_factory=dict)
    events: dict[int, str] = field(default_factory=dict)

    async def more(self) -> None:
        """Old rows, sealed, with events."""
        self.now += timedelta(days=40)
        await self.cold.write(ROWS, self.now - timedelta(days=35))
        self.payloads |= {
            number: text
            for number, text in (await self.cold.payloads()).items()
            if number not in self.payloads
        }
        rows = await self.cold.owner.fetch("select position, payload::text as text from events")
        self.events |= {row["position"]: row["text"] for row in rows}

    async def run(self, job: str, point: str = "") -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{job},{self.now.isoformat()},{point}\n".encode())
        return (await self.process.stdout.readline()).decode().strip()

    async def check(self) -> None:
        """Each payload and event is in the database, or in the store, as it was; in the store once."""
        here, stored = await self.cold.payloads(), await self.cold.stored()
        for number, text in self.payloads.items():
            assert here.get(number, text) == text
            assert number in here or stored[number]["payload"] == text, f"sequence {number} is lost"
        rows = await self.cold.owner.fetch("select position, payload::text as text from events")
        standing, kept = {row["position"]: row["text"] for row in rows}, await self.cold.stored("events")
        for number, text in self.events.items():
            assert standing.get(number, text) == text
            assert number in standing or kept[number]["payload"] == text, f"position {number} is lost"
        await self.verify()

    async def verify(self) -> None:
        """Every row that is here has the leaf that was sealed, and its payload the hash that is in the row."""
        size = await self.cold.owner.fetchval("select size from audit_head")
        found = await sealed_rows(self.cold.owner, 0, size, now=NOW)
        assert [each.sequence for each in found] == list(range(size))
        for each in found:
            assert each.row is not None
            assert leaf_hash(leaf_text(each.row)) == each.leaf
            assert each.payload is None or text_sha256(each.payload) == each.row.input_hash


@pytest.fixture
async def killed(database: str, tmp_path: Path) -> AsyncIterator[Killed]:
    points = tmp_path / "points"
    points.mkdir()
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as cold:
        await let_in(cold.owner, tmp_path / "operator.json", account=ACCOUNT)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.postgres.retention_process", database, str(tmp_path / "store"),
            str(tmp_path / "operator.json"), cwd=REPOSITORY, env={**os.environ, VARIABLE: str(points)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        yield Killed(cold, process)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
        assert list(points.iterdir()) == [] or all("." in each.suffix for each in points.iterdir())


def test_every_point_of_retention_is_here() -> None:
    """So that a new one cannot be left out."""
    ours = {each for each in names() if each.startswith(("commit retention.", "call archive."))}
    assert ours == {*MOVING, *RESTORING, *DROPPING, *TELLING}


@pytest.mark.parametrize("kind", ["audit", "events"])
async def test_a_move_that_is_killed_anywhere_is_carried_on(killed: Killed, kind: str) -> None:
    for name in MOVING:
        for moment in MOMENTS:
            await killed.more()
            assert await killed.run(kind, f"{name} {moment}") == "SIGKILL", name
            await killed.check()
            assert await killed.run(kind) == "done"
    await killed.check()
    stored = await killed.cold.stored(kind)
    expected = killed.payloads if kind == "audit" else killed.events
    assert len(stored) >= len(MOVING) * len(MOMENTS) * ROWS
    assert {number: fields["payload"] for number, fields in stored.items()} == {
        number: expected[number] for number in stored
    }
    archives = await killed.cold.archives(kind)
    assert [state for *_, state in archives] == ["removed"] * len(archives)
    assert [first for first, *_ in archives[1:]] == [stop for _, stop, _ in archives[:-1]], (
        "no hole, no overlap"
    )
    decision = "PAYLOADS_ARCHIVED" if kind == "audit" else "EVENTS_ARCHIVED"
    decisions = await killed.cold.decisions()
    assert decisions.count("ARCHIVE_CHECKED") == decisions.count(decision) == len(archives), (
        "audited once each"
    )


async def test_a_restoration_that_is_killed_anywhere_is_carried_on(killed: Killed) -> None:
    await killed.more()
    for name in RESTORING:
        for moment in MOMENTS:
            assert await killed.run("audit") == "done"
            assert await killed.run("restore", f"{name} {moment}") == "SIGKILL", name
            await killed.check()
            assert await killed.run("restore") == "done"
            assert killed.payloads.items() <= (await killed.cold.payloads()).items()
            await killed.cold.owner.execute("set session_replication_role = replica")
            await killed.cold.owner.execute(
                "update audit_archives set restored_at = restored_at - interval '31 days'"
            )
            await killed.cold.owner.execute("set session_replication_role = default")
    restored = (await killed.cold.decisions()).count("PAYLOADS_RESTORED")
    assert restored >= len(RESTORING) * len(MOMENTS) * ROWS / 2


async def test_a_drop_that_is_killed_is_done_or_not(killed: Killed) -> None:
    await killed.cold.owner.execute("select make_audit_partitions($1, 0)", MONTH)
    await killed.cold.write(2, MONTH)
    killed.now = NOW
    assert await killed.run("audit") == "done"
    for moment, gone in zip(MOMENTS, (0, 1), strict=True):
        assert await killed.run(f"drop:{PARTITION}", f"{DROPPING[0]} {moment}") == "SIGKILL"
        assert len(await list_drops(killed.cold.owner)) == gone
        assert (await killed.cold.decisions()).count("AUDIT_MONTH_DROPPED") == gone
        there = await killed.cold.owner.fetchval("select to_regclass($1) is not null", PARTITION)
        assert there is (gone == 0)
