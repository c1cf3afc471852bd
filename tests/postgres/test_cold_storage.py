"""Payloads and events leave the database when a copy was read back, and not otherwise; and payloads come back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import asyncpg
import pytest
from botocore.exceptions import ClientError

from audit.cold.files import pack, unpack
from audit.cold.mover import RESTORED_FOR
from audit.store.directory import DirectoryStore
from observability.metrics import Metrics
from schemas.archives import ArchiveKind
from schemas.audit import AuditEntry
from storage.archives import ArchiveRefused, restore
from storage.database import Connection
from storage.event_stream import AheadOfStream, EventsArchived, position_before, start_position
from storage.events import append, timeline
from storage.grants import Role
from tests.postgres.cold import NOW, OLD, Cold, cold_storage, seal
from tests.servers.amazon import Bucket
from workers.retention_watch import RetentionWatch

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


async def _together(connection: Connection, commands: Iterable[str]) -> None:
    async with connection.transaction():
        for command in commands:
            await connection.execute(command)


BEGIN = (
    "insert into audit_archives (kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at)"
    " values ('audit', {}, 9, 'audit/x', {}, now(), now(), now(), now())"
)
FORBIDDEN = (
    "delete from audit_payloads",
    "truncate audit_payloads",
    "select payload from audit_payloads",
    "update audit_archives set state = 'removed', removed_at = now()",
    "update audit_archives set state = 'writing', checked_at = null, rows_hash = null, object_hash = null,"
    " object_bytes = null",
    "update audit_archives set rows_hash = 'x'",
    "update audit_archives set first = 1",
    "update audit_archives set restored_at = now()",
    "delete from audit_archives",
    BEGIN.format(5, "'writing'"),
    BEGIN.format(4, "'checked'"),
    "insert into audit_drops (partition) values ('x')",
    "delete from events",
    "select removable_archive('audit', 0, now())",
    "select restore_archived_payloads(0, '{}', now())",
)
"""To operations, of one file that is checked and not removed."""


class TestTheDatabaseChecksForItself:
    """What operations may call, whoever has taken them over."""

    @pytest.fixture
    async def checked(self, cold: Cold) -> Cold:
        """One file that is checked, and not removed."""
        await cold.write(4)
        await cold.owner.execute("alter function remove_archived_payloads rename to hidden")
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await cold.move_all()
        await cold.owner.execute("alter function hidden rename to remove_archived_payloads")
        assert await cold.archives() == [(0, 4, "checked")]
        return cold

    async def refused(self, cold: Cold, *commands: str, by: asyncpg.Connection | None = None) -> str:
        """Each of the commands, in one transaction, by operations; the last one is refused."""
        async with cold.database.connection() as operations:
            connection = by or operations
            with pytest.raises(asyncpg.PostgresError) as found:
                await _together(connection, commands)
        assert not isinstance(found.value, asyncpg.PostgresSyntaxError)
        assert len(await cold.payloads()) == 4
        return str(found.value)

    async def test_a_file_that_was_not_read_back(self, cold: Cold) -> None:
        await cold.write(4)
        told = await self.refused(
            cold,
            BEGIN.format(0, "'writing'"),
            "select remove_archived_payloads(0, now())",
        )
        assert "was not read back" in told
        assert "was not read back" in await self.refused(cold, "select remove_archived_payloads(0, now())")

    async def test_a_record_that_is_not_of_these_rows(self, checked: Cold) -> None:
        await checked.owner.execute("set session_replication_role = replica")
        for change in ("rows_hash = 'x'", "stop = 3", "first = 1"):
            async with checked.owner.transaction():
                await checked.owner.execute(f"update audit_archives set {change}")
                at = 1 if "first" in change else 0
                with pytest.raises(asyncpg.PostgresError, match="does not hold exactly what stands here"):
                    async with checked.owner.transaction():
                        await checked.owner.execute(f"select remove_archived_payloads({at}, now())")
                await checked.owner.execute(
                    "update audit_archives set stop = 4, first = 0,"
                    " rows_hash = (archived_rows_hash('audit', 0, 4)).hash"
                )
        await checked.owner.execute("set session_replication_role = default")
        assert [each.rows for each in await checked.move_all()] == [4]

    @pytest.mark.parametrize("claimed", ["now()", "now() + interval '10 years'"])
    async def test_rows_that_are_too_young_whatever_the_caller_says_of_the_time(
        self, checked: Cold, claimed: str
    ) -> None:
        await checked.owner.execute("set session_replication_role = replica")
        await checked.owner.execute(
            "update audit_leaves set occurred_at = now() - interval '29 days 23 hours' where sequence = 3"
        )
        await checked.owner.execute("set session_replication_role = default")
        told = await self.refused(checked, f"select remove_archived_payloads(0, {claimed})")
        assert "younger than 30 days" in told
        async with checked.database.connection() as operations:
            assert len(await operations.fetch(f"select * from archivable_payloads(0, 4, {claimed})")) == 3

    async def test_rows_of_which_no_checkpoint_is_outside(self, checked: Cold) -> None:
        await checked.owner.execute("set session_replication_role = replica")
        await checked.owner.execute("update audit_checkpoints set published_at = null")
        await checked.owner.execute("set session_replication_role = default")
        assert "no checkpoint" in await self.refused(checked, "select remove_archived_payloads(0, now())")

    async def test_nothing_else_removes_or_says_so(self, checked: Cold) -> None:
        for command in FORBIDDEN:
            await self.refused(checked, command)

    async def test_not_even_the_owner_takes_what_no_copy_holds(self, cold: Cold) -> None:
        await cold.write(4)
        for command in (
            "delete from audit_payloads", "update audit_payloads set payload = '{}'", "truncate audit_payloads",
        ):  # fmt: skip
            assert "append-only" in await self.refused(cold, command, by=cold.owner)
        await self.refused(
            cold, "set local trading.restoring = 'on'",
            "insert into audit_payloads (audit_id, payload) values (1000, '{}')", by=cold.owner,
        )  # fmt: skip

    async def test_no_other_role_may_call_any_of_it(self, checked: Cold) -> None:
        others = [role for role in Role if role is not Role.OPERATIONS]
        for role, call in product(others, (
            "plan_audit_archive(0, 1, 1, now(), '1 day')", "archivable_payloads(0, 4, now())",
            "remove_archived_payloads(0, now())", "remove_archived_events(1, now())",
            "restore_archived_payloads(0, '{}', now())", "drop_audit_partition('a', 'b', 'c', 'd', 'e', now())",
            "held_event(0, 1)", "removable_archive('audit', 0, now())", "archived_rows_hash('audit', 0, 4)",
        )):  # fmt: skip
            told = await self.refused(checked, f"set local role {role}", f"select {call}", by=checked.owner)
            assert "permission denied for function" in told


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


async def test_events_go_by_position_and_are_in_the_store_as_they_were(cold: Cold) -> None:
    await cold.write(6)
    await cold.write(3, NOW - timedelta(days=1))
    before = await cold.owner.fetch(
        "select *, payload::text as text from events where position <= 6 order by position"
    )
    moved = await cold.move_all(ArchiveKind.EVENTS)
    assert [each.moved for each in moved] == [
        "events/00000000000000000001-00000000000000000005.jsonl.zst",
        "events/00000000000000000005-00000000000000000007.jsonl.zst",
    ]
    assert await cold.owner.fetchval("select array_agg(position order by position) from events") == [7, 8, 9]
    stored = await cold.stored("events")
    assert [(n, e["event_id"], e["topic"], e["key"], e["payload"]) for n, e in sorted(stored.items())] == [
        (row["position"], row["event_id"], row["topic"], row["key"], row["text"]) for row in before
    ]
    assert [datetime.fromisoformat(stored[row["position"]]["occurred_at"]) for row in before] == [
        row["occurred_at"] for row in before
    ]
    assert (await cold.decisions())[-1] == "EVENTS_ARCHIVED"


async def test_a_reader_of_what_has_gone_is_told_where_it_is(cold: Cold) -> None:
    await cold.write(6)
    await cold.write(2, NOW)
    assert await start_position(cold.owner, 2) == 2
    await cold.move_all(ArchiveKind.EVENTS)
    for since, name in ((0, "events/00000000000000000001-"), (3, "events/00000000000000000001-"),
                        (4, "events/00000000000000000005-"), (5, "events/00000000000000000005-")):  # fmt: skip
        with pytest.raises(EventsArchived, match=f"from {name}.* the stream begins after 6"):
            await start_position(cold.owner, since)
    assert [await start_position(cold.owner, since) for since in (6, 7, 8, None)] == [6, 7, 8, 8]
    with pytest.raises(AheadOfStream):
        await start_position(cold.owner, 9)
    with pytest.raises(EventsArchived, match="on is in cold storage, from events/00000000000000000001-"):
        await start_position(cold.owner, OLD - timedelta(days=1))
    assert await start_position(cold.owner, NOW - timedelta(days=1)) == 6
    assert await position_before(cold.owner, OLD - timedelta(days=1)) == 6, "what is here, to who trims"


GROUPS = """
    insert into event_groups (group_name, created_at) values ('books', now()), ('sleeper', now());
    insert into event_cursors (group_name, partition, position, taken)
    select name, partition, 100, 100
    from unnest(array['books', 'sleeper']) as name, generate_series(0, 15) as partition
"""


async def test_nothing_goes_that_a_group_has_not_acknowledged(cold: Cold) -> None:
    await cold.write(6)
    await cold.move_all()
    await cold.owner.execute(GROUPS)
    sleeps = "update event_cursors set position = $1 where group_name = 'sleeper'"
    key = "(select hashtext(key) & 15 from events where position = 4)"
    await cold.owner.execute(f"{sleeps} and partition = {key}", 3)
    moved, waits = await cold.move_all(ArchiveKind.EVENTS)
    assert moved.moved == "events/00000000000000000001-00000000000000000004.jsonl.zst"
    assert waits.problem == "events wait: group sleeper has not acknowledged position 4"
    assert await cold.owner.fetchval("select min(position) from events") == 4
    watch = RetentionWatch(cold.database, Metrics(), cold.retention, now=lambda: cold.now)
    await watch.watch_retention()
    assert await cold.alerts() == ["RETENTION_BEHIND"]
    text = await cold.owner.fetchval("select text from alerts where code = 'RETENTION_BEHIND'")
    assert "group sleeper has not acknowledged position 4" in text
    await cold.owner.execute(sleeps, 5)
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [2, 0]
    await cold.owner.execute("delete from event_cursors where group_name = 'sleeper'")
    [waits] = await cold.move_all(ArchiveKind.EVENTS)
    assert "position 6" in str(waits.problem), "of a group without a cursor nobody knows anything"
    await cold.owner.execute("delete from event_groups where group_name = 'sleeper'")
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [1]
    await watch.watch_retention()
    assert await cold.alerts() == []


async def test_a_group_that_is_set_back_keeps_what_was_about_to_go(
    cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cold.write(2)
    await cold.owner.execute(GROUPS)
    get = cold.store.get

    async def meanwhile(name: str) -> bytes | None:
        await cold.owner.execute("update event_cursors set position = 0 where group_name = 'sleeper'")
        return await get(name)

    with monkeypatch.context() as patched:
        patched.setattr(cold.store, "get", meanwhile)
        [answer] = await cold.move_all(ArchiveKind.EVENTS)
    assert "wait: group sleeper has not acknowledged position 1" in str(answer.problem)
    async with cold.database.connection() as operations:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="group sleeper has not acknowledged 1"):
            await operations.execute("select remove_archived_events(1, now())")
    assert await cold.owner.fetchval("select count(*) from events") == 2
    assert await cold.alerts() == []
    await cold.owner.execute("update event_cursors set position = 100")
    assert [each.rows for each in await cold.move_all(ArchiveKind.EVENTS)] == [2]


async def test_who_looks_after_retention_is_told_once_and_told_of_the_end(cold: Cold) -> None:
    await cold.write(3, NOW - timedelta(days=32))
    watch = RetentionWatch(cold.database, Metrics(), cold.retention, now=lambda: cold.now)
    await watch.watch_retention()
    assert await cold.alerts() == []
    cold.now = NOW + timedelta(days=2)
    for _ in range(3):
        await watch.watch_retention()
    assert await cold.alerts() == ["RETENTION_BEHIND"] * 2
    assert await cold.owner.fetchval("select sum(times) from alerts") == 2
    cold.now = NOW
    await cold.move_all()
    await cold.move_all(ArchiveKind.EVENTS)
    await watch.watch_retention()
    assert await cold.alerts() == []


async def test_an_event_that_changes_under_the_move_stays(
    cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cold.write(4)
    get = cold.store.get

    async def meanwhile(name: str) -> bytes | None:
        await cold.owner.execute("update events set payload = '{}' where position = 2")
        return await get(name)

    monkeypatch.setattr(cold.store, "get", meanwhile)
    [answer] = await cold.move_all(ArchiveKind.EVENTS)
    assert "position 2" in str(answer.problem)
    assert await cold.owner.fetchval("select count(*) from events") == 4


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
