"""The database lets operations remove what a checked copy holds, and nothing else, whatever they say."""

from collections.abc import AsyncIterator, Iterable
from itertools import product
from pathlib import Path

import asyncpg
import pytest

from audit.store.directory import DirectoryStore
from storage.database import Connection
from storage.grants import Role
from tests.postgres.cold import Cold, cold_storage


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as made:
        yield made


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
