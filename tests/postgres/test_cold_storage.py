"""Payloads leave the database when a copy was read back, and not otherwise; and they come back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from botocore.exceptions import ClientError

from audit.cold.files import pack, unpack
from audit.cold.mover import RESTORED_FOR
from audit.store.directory import DirectoryStore
from schemas.archives import ArchiveKind
from schemas.audit import AuditEntry
from storage.archives import ArchiveRefused, restore
from storage.events import append, timeline
from tests.postgres.cold import NOW, OLD, Cold, cold_storage, seal
from tests.servers.amazon import Bucket

ALWAYS = (OLD - timedelta(days=3650), NOW)


class Editable(DirectoryStore):
    """A folder whose files a test may change."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def edit(self, name: str, content: bytes) -> None:
        (self.root / name).chmod(0o600)
        (self.root / name).write_bytes(content)


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    async with cold_storage(database, Editable(tmp_path / "store")) as made:
        yield made


async def test_old_payloads_go_in_files_and_nothing_else_goes(cold: Cold) -> None:
    await cold.write(10)
    before = await cold.payloads()
    await cold.write(3, NOW - timedelta(days=29))
    await cold.write(2, OLD, sealed=False)
    moved = await cold.move_all()
    assert [(each.moved, each.rows) for each in moved] == [
        ("audit/00000000000000000000-00000000000000000004.jsonl.zst", 4),
        ("audit/00000000000000000004-00000000000000000008.jsonl.zst", 4),
        ("audit/00000000000000000008-00000000000000000010.jsonl.zst", 2),
    ]
    assert await cold.archives() == [(0, 4, "removed"), (4, 8, "removed"), (8, 10, "removed")]
    assert set(await cold.payloads()) == {10, 11, 12}, "what is young stays"
    assert (
        await cold.owner.fetchval("select count(*) from audit_payloads join audit_unsealed on audit_id = id")
        == 2 + 6
    )
    stored = await cold.stored()
    assert {number: fields["payload"] for number, fields in stored.items()} == before
    assert list(stored[3]) == sorted(stored[3])
    assert await cold.decisions() == ["ARCHIVE_CHECKED", "PAYLOADS_ARCHIVED"] * 3
    assert await cold.move_all() == []
    first = (await timeline(cold.owner, f"sig-{OLD:%Y%m%d%H%M%S}"))[0]
    assert (first.decision, first.detail) == ("WRITTEN", ""), (
        "the story stays, without what is in cold storage"
    )


async def test_several_who_move_at_once_move_each_row_once_and_alarm_nobody(cold: Cold) -> None:
    """As when a worker that was thought dead goes on beside its successor."""
    await cold.write(14)
    before = await cold.payloads()
    await asyncio.gather(*(cold.move_all(kind) for kind in ArchiveKind for _ in range(4)))
    assert {number: fields["payload"] for number, fields in (await cold.stored()).items()} == before
    assert await cold.payloads() == {}
    assert len(await cold.stored("events")) == len(before)
    for kind, decision in (("audit", "PAYLOADS_ARCHIVED"), ("events", "EVENTS_ARCHIVED")):
        archives = await cold.archives(kind)
        assert [state for *_, state in archives] == ["removed"] * len(archives)
        assert (await cold.decisions()).count(decision) == len(archives)
    raised = await cold.owner.fetchval("select count(*) from alerts")
    assert raised == 0


async def test_what_is_not_sealed_outside_does_not_go(cold: Cold) -> None:
    await cold.write(5, sealed=False)
    assert await cold.move_all() == []
    await seal(cold.owner, published=False)
    assert await cold.move_all() == []
    await cold.owner.execute("update audit_checkpoints set published_at = now()")
    assert len(await cold.move_all()) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update audit_payloads set payload = '{}' where audit_id = 3", "sequence 2: the payload does not"),
        ("delete from audit_payloads where audit_id = 3", "sequence 2: its payload is not there"),
        ("update audit_log set decision = 'ANOTHER' where id = 3", "sequence 2: the audit row is not what"),
        ("delete from audit_log where id = 3", "sequence 2: its audit row is not there"),
        (
            "update audit_leaves set leaf = sha256('x') where sequence = 2",
            "sequence 2: the audit row is not what",
        ),
    ],
)
async def test_what_is_not_as_sealed_is_not_written_and_a_person_is_told(
    cold: Cold, change: str, told: str
) -> None:
    await cold.write(6)
    await cold.owner.execute("set session_replication_role = replica")
    await cold.owner.execute(change)
    await cold.owner.execute("set session_replication_role = default")
    left = await cold.payloads()
    [answer] = await cold.move_all()
    assert told in str(answer.problem)
    assert await cold.payloads() == left
    assert await cold.store.names() == []
    assert await cold.alerts() == ["ARCHIVE_CHECK_FAILED"]


async def test_what_an_earlier_release_could_not_keep_goes_as_it_is_and_does_not_come_back(
    cold: Cold,
) -> None:
    """Migration 0021 says of itself which rows those are."""
    told = {"rows_without_their_hash": [2]}
    entry = AuditEntry(
        occurred_at=OLD, correlation_id="audit", component="Migration", actor="migration 0021",
        decision="AUDIT_MOVED", input=told,
    )  # fmt: skip
    await cold.write(3, sealed=False)
    async with cold.owner.transaction():
        await append(cold.owner, entry)
    await cold.owner.execute("set session_replication_role = replica")
    await cold.owner.execute("update audit_payloads set payload = '{\"n\": 0.00001}' where audit_id = 2")
    await cold.owner.execute("set session_replication_role = default")
    await seal(cold.owner)
    before = await cold.payloads()
    assert [each.rows for each in await cold.move_all()] == [4]
    assert {number: fields["payload"] for number, fields in (await cold.stored()).items()} == before
    [answer] = await cold.restore_all(*ALWAYS)
    assert "sequence 1: the payload in the copy does not have the hash" in str(answer.refused)


def _changed(content: bytes, old: str, new: str) -> bytes:
    lines = unpack(content)
    changed = [line.replace(old, new, 1) for line in lines]
    assert changed != lines
    return pack(changed)


HARMS: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda content: content[:-5], "the file"),
    (lambda content: content + b"more", "does not end where it should"),
    (lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:], "the file cannot be unpacked"),
    (lambda content: pack(unpack(content)[:-1]), "3 rows where 4 belong"),
    (lambda content: pack([*unpack(content)[:2], *reversed(unpack(content)[2:])]), "sequence 2: the audit row"),
    (lambda content: pack([*unpack(content)[:-1], "{}"]), "sequence 3: no line of ours"),
    (lambda content: _changed(content, "180.50", "180.51"), "sequence 0: the payload in the copy"),
    (lambda content: _changed(content, "WRITTEN", "APPROVED"), "sequence 0: the audit row in the copy"),
]  # fmt: skip


async def test_a_copy_that_is_not_what_was_sealed_removes_nothing(
    cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once the copy is whole again, the move goes on and the alert is over."""
    await cold.write(4)
    before = await cold.payloads()
    get = cold.store.get
    for harm, told in HARMS:

        async def harmed(name: str, harm: Callable[[bytes], bytes] = harm) -> bytes | None:
            content = await get(name)
            return content and harm(content)

        with monkeypatch.context() as patched:
            patched.setattr(cold.store, "get", harmed)
            [answer] = await cold.move_all()
        assert told in str(answer.problem)
        assert await cold.payloads() == before
        assert await cold.archives() == [(0, 4, "writing")]
        assert await cold.alerts() == ["ARCHIVE_CHECK_FAILED"]
    assert [each.rows for each in await cold.move_all()] == [4]
    assert await cold.payloads() == {}
    assert await cold.alerts() == []


async def test_a_copy_that_is_gone_removes_nothing(cold: Cold, monkeypatch: pytest.MonkeyPatch) -> None:
    await cold.write(4)

    async def nothing(_: str, __: bytes, **___: object) -> None:
        """Say that it was done."""

    monkeypatch.setattr(cold.store, "put", nothing)
    [answer] = await cold.move_all()
    assert "the file is not in the store" in str(answer.problem)
    assert len(await cold.payloads()) == 4


async def test_a_file_that_is_lost_after_it_was_checked_is_written_anew(cold: Cold) -> None:
    await cold.write(4)
    await cold.owner.execute("alter function remove_archived_payloads rename to hidden")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await cold.move_all()
    await cold.owner.execute("alter function hidden rename to remove_archived_payloads")
    assert await cold.archives() == [(0, 4, "checked")]
    [name] = await cold.store.names("audit/")
    (Path(cold.store.place) / name).unlink()
    assert [answer.moved for answer in await cold.move_all()][:1] == [name]
    assert await cold.store.names("audit/") == [name]
    assert await cold.payloads() == {}


class TestComingBack:
    async def test_payloads_come_back_as_they_were_and_go_again_after_a_while(self, cold: Cold) -> None:
        await cold.write(10)
        before = await cold.payloads()
        await cold.move_all()
        since, until = OLD + timedelta(seconds=5), OLD + timedelta(seconds=9)
        [first, second] = await cold.restore_all(since, until)
        assert (first.rows, second.rows) == (4, 2), "whole files: 4 to 7 and 8 to 9"
        assert await cold.payloads() == {number: before[number] for number in range(4, 10)}
        assert [each.rows for each in await cold.restore_all(*ALWAYS)] == [4, 0, 0], "what is here stays"
        assert await cold.payloads() == before
        assert (await cold.decisions())[-3:] == ["PAYLOADS_RESTORED"] * 3
        assert await cold.move_all() == []
        cold.now += RESTORED_FOR + timedelta(minutes=1)
        assert [each.rows for each in await cold.move_all()] == [4, 4, 2]
        assert await cold.payloads() == {}
        assert len(await cold.stored()) == 10

    async def test_what_the_store_has_made_of_it_does_not_come_back(self, cold: Cold) -> None:
        await cold.write(4)
        await cold.move_all()
        [name] = await cold.store.names()
        content = await cold.store.get(name)
        assert content is not None
        assert isinstance(cold.store, Editable)
        cold.store.edit(name, _changed(content, "180.50", "180.51"))
        [answer] = await cold.restore_all(*ALWAYS)
        assert "sequence 0: the payload in the copy" in str(answer.refused)
        assert await cold.payloads() == {}
        assert (await cold.decisions())[-1] == "RESTORE_REFUSED"
        cold.store.edit(name, content)
        assert [each.rows for each in await cold.restore_all(*ALWAYS)] == [4]

    async def test_the_database_takes_back_only_what_the_rows_were_hashed_from(self, cold: Cold) -> None:
        await cold.write(4)
        before = await cold.payloads()
        await cold.move_all()
        right = [before[number] for number in range(4)]
        for wrong in (
            [*right[:3], right[3].replace("row 3", "row 4")], [*reversed(right)], right[:3], [*right, right[3]], [],
        ):  # fmt: skip
            async with cold.database.connection() as connection:
                with pytest.raises(ArchiveRefused):
                    await restore(connection, 0, wrong, now=NOW)
        assert await cold.payloads() == {}
        async with cold.database.connection() as connection:
            assert await restore(connection, 0, right, now=NOW) == 4


async def test_to_a_bucket_it_goes_under_a_lock_of_seven_years(database: str, bucket: Bucket) -> None:
    async with cold_storage(database, bucket.store("ours/")) as cold:
        await cold.write(4)
        before = await cold.payloads()
        [moved] = await cold.move_all()
        client = bucket.amazon.client()
        [version] = client.list_object_versions(Bucket=bucket.name)["Versions"]
        assert version["Key"] == f"ours/{moved.moved}"
        head = client.head_object(Bucket=bucket.name, Key=version["Key"])
        assert head["ObjectLockRetainUntilDate"] >= (OLD + timedelta(days=2556)).replace(microsecond=0)
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket.name, Key=version["Key"], VersionId=version["VersionId"])
        client.delete_object(Bucket=bucket.name, Key=version["Key"])
        assert [each.rows for each in await cold.restore_all(*ALWAYS)] == [4], (
            "a mark of deletion hides nothing"
        )
        assert await cold.payloads() == before
