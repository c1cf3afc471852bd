"""The audit log takes rows and gives none back, whoever asks: by the rights, and again by the triggers."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import pytest

from schemas.audit import AuditEntry
from storage import audit_sealing, grants
from storage.audit_sealing import Checkpoint
from storage.database import Connection
from storage.events import append
from storage.grants import Role, set_passwords
from tests.postgres.as_role import PASSWORD, connected
from tests.servers.postgres import fresh
from workers import postgres

NOW: Final = datetime.now(UTC)
FUTURE: Final = datetime(NOW.year + 1, 11, 5, tzinfo=UTC)
FAR: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""In the default partition."""
THIS_MONTH: Final = f"audit_log_{NOW:%Y_%m}"
NEXT_YEAR: Final = f"audit_log_{FUTURE:%Y_%m}"
LOGS: Final = ("audit_log", THIS_MONTH, NEXT_YEAR, "audit_log_default")
TABLES: Final = (*LOGS, "audit_payloads", "audit_leaves", "audit_head", "audit_checkpoints", "audit_unsealed")
OTHERS: Final = "occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs"
FORGED: Final = "now(), 's', 'c', 'a', 'h', 'FORGED', '[]', '[]'"

CHANGES: Final = (
    *(f"delete from {table}" for table in TABLES),
    *(f"truncate {table}" for table in TABLES),
    *(f"truncate {table} cascade" for table in TABLES),
    *(f"update {table} set decision = 'APPROVED'" for table in LOGS),
    *(f"update {table} set occurred_at = occurred_at - interval '1 year'" for table in LOGS),
    *(f"with gone as (delete from {table} returning *) select count(*) from gone" for table in LOGS),
    "update only audit_log_default set decision = 'APPROVED'",
    "update audit_log set id = default",
    "update audit_payloads set payload = '{}'",
    "update audit_leaves set leaf = sha256('x')",
    "update audit_leaves set audit_id = audit_id + 100",
    # A leaf for an id to come would make the row of that id unwritable.
    "insert into audit_leaves select 1000 + i, 1000 + i, now(), sha256('x') from generate_series(0, 9) i",
    "insert into audit_leaves select 1000, id, occurred_at + interval '1 day', sha256('x') from audit_unsealed",
    "update audit_head set size = 0, root = sha256(''), frontier = ''",
    "update audit_head set root = sha256('x')",
    "update audit_head set checkpoint_size = null, checkpoint_root = null",
    "update audit_head set checkpoint_root = sha256('x')",
    "update audit_checkpoints set note = 'x'",
    "update audit_checkpoints set published_at = now()",
    "update audit_unsealed set id = id + 100",
    "insert into audit_unsealed (id, occurred_at) values (1000, now())",
    # A name taken in advance, or another's payload, would make a later fact unwritable.
    *(
        f"insert into {table} (id, {OTHERS}) overriding system value values (1000, {FORGED})"
        for table in ("audit_log", THIS_MONTH)
    ),
    f"insert into audit_log (id, {OTHERS}) overriding system value"
    f" select id, {OTHERS} from audit_log on conflict do nothing",
    f"insert into audit_log (id, {OTHERS}) overriding system value select id, {OTHERS} from audit_log"
    " on conflict (id, occurred_at) do update set decision = 'FORGED'",
    "merge into audit_log using (select) one on true when matched then delete",
    "merge into audit_log using (select) one on true when matched then update set decision = 'FORGED'",
    "insert into audit_payloads (audit_id, payload) values (1000, '{}')",
    "insert into audit_payloads (audit_id, payload) select audit_id, '{}' from audit_payloads"
    " on conflict (audit_id) do update set payload = excluded.payload",
    "select setval('audit_log_id_seq', 1)",
    "select nextval('audit_log_id_seq')",
)
"""Refused by the triggers also to whoever was given every right on the tables."""

OWNERS_ACTS: Final = (
    *(f"alter table audit_log detach partition {each}" for each in (THIS_MONTH, "audit_log_default")),
    f"alter table audit_log detach partition {THIS_MONTH} concurrently",
    f"alter table audit_log attach partition mine for values from ('{FUTURE:%Y}-12-01') to ('{FUTURE:%Y}-12-31')",
    *(f"drop table {table}" for table in TABLES),
    *(f"alter table {table} disable trigger all" for table in TABLES),
    *(f"alter table {table} disable trigger user" for table in LOGS),
    "alter table audit_log disable trigger audit_rows",
    "drop trigger audit_rows on audit_log",
    f"drop trigger audit_truncate on {THIS_MONTH}",
    "create rule quiet as on insert to audit_log do instead nothing",
    "create rule quiet as on delete to audit_leaves do also select 1",
    "create trigger mine before insert on audit_log for each row execute function refuse_audit_change()",
    "create or replace function refuse_audit_change() returns trigger language plpgsql as"
    " $$ begin return null; end $$",
    "create or replace function queue_audit_row() returns trigger language plpgsql as"
    " $$ begin return new; end $$",
    "alter function queue_audit_row() security invoker",
    "drop function refuse_audit_change() cascade",
    "alter sequence audit_log_id_seq restart 1",
    "alter table audit_log rename to audit_log_old",
    "alter table audit_log alter column decision type varchar(3)",
    "alter table audit_log alter column id drop identity",
    "alter table audit_log drop column checks",
    "alter table audit_log owner to current_user",
    "set session_replication_role = replica",
    "drop index audit_correlation",
    "drop schema public cascade",
    "select make_audit_partition('mine', 'default')",
)
"""What only the owner may, whatever else was given."""


def copied(table: str) -> Callable[["asyncpg.Connection[Any]"], Coroutine[Any, Any, str]]:
    """COPY writes an identity that is told, where INSERT would refuse it."""
    record = (1000, NOW, "s", "c", "a", "h", "FORGED", "[]", "[]")
    columns = ["id", *OTHERS.split(", ")]
    return lambda connection: connection.copy_records_to_table(table, records=[record], columns=columns)


COPIES: Final = (copied("audit_log"), copied(THIS_MONTH))


@pytest.fixture(scope="module")
async def log(
    postgres_server: postgres.Server, _admin: "asyncpg.Connection[Any]", _migrated_template: str
) -> AsyncIterator[str]:
    """Give one database for all, as nothing in it changes: two rows under a checkpoint, two that wait."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        await fill(dsn)
        yield dsn


async def fill(dsn: str) -> None:
    """Rows in a partition of this month, of next year, and in the default one; each role with its password."""
    async with connected(dsn) as owner:
        await grants.apply(owner)
        await set_passwords(owner, dict.fromkeys(Role, PASSWORD), datetime.now(UTC))
        for at in (NOW, FUTURE, FAR, NOW):
            if at is FUTURE:
                await audit_sealing.make_partitions(owner, now=FUTURE, months=0)
            async with owner.transaction():
                await written(owner, at)
        async with owner.transaction():
            rows = await audit_sealing.read_waiting(owner, 2)
            await audit_sealing.append_leaves(owner, 0, rows, [b"1" * 32, b"2" * 32])
            await audit_sealing.grow_head(owner, 2, b"r" * 32, b"f" * 32)
            made = Checkpoint(2, b"r" * 32, b"f" * 32, "note", None)
            await audit_sealing.insert_checkpoint(owner, made, now=NOW)
        await audit_sealing.mark_published(owner, made, now=NOW)


async def written(connection: Connection, at: datetime) -> None:
    entry = AuditEntry(
        occurred_at=at, correlation_id="s", component="c", actor="a", decision="D", input={"n": 1}
    )
    await append(connection, entry)


async def fingerprint(owner: "asyncpg.Connection[Any]") -> list[Any]:
    """Everything that stands in the tables, and what they are made of."""
    found = [await owner.fetch(f"select {table}.*, ctid from {table} order by ctid") for table in TABLES[1:]]
    found.append(
        await owner.fetch("select tgrelid::regclass::text, tgname, tgenabled from pg_trigger order by 1, 2")
    )
    found.append(await owner.fetch("select inhrelid::regclass::text from pg_inherits order by 1"))
    found.append(
        await owner.fetch("select proname, prosrc, prosecdef from pg_proc where proname ~ 'audit' order by 1")
    )
    return found


@pytest.mark.parametrize("given_all", [False, True], ids=["by its rights", "with every right on the tables"])
@pytest.mark.parametrize("role", Role)
async def test_nothing_that_is_written_changes(log: str, role: Role, given_all: bool) -> None:
    assert len({*CHANGES, *OWNERS_ACTS}) >= 12
    async with connected(log) as owner, connected(log, role) as connection:
        await grants.apply(owner)
        if given_all:
            await owner.execute(f"grant all on {', '.join(TABLES)} to {role}")
        # So that the session has an id that it was given.
        async with connection.transaction():
            await written(connection, NOW)
        before = await fingerprint(owner)
        allowed = []
        for attempt in (*CHANGES, *OWNERS_ACTS, *COPIES):
            try:
                await (connection.execute(attempt) if isinstance(attempt, str) else attempt(connection))
            except asyncpg.InsufficientPrivilegeError:
                continue
            except asyncpg.UndefinedTableError:
                assert "attach partition mine" in str(attempt), "nobody can make a table to attach"
                continue
            allowed.append(attempt)
        assert not allowed
        assert await fingerprint(owner) == before


async def test_the_owner_is_refused_by_the_triggers(log: str) -> None:
    """How: as PostgreSQL's superuser, for whom rights do not count."""
    async with connected(log) as owner:
        async with owner.transaction():
            await written(owner, NOW)
        before = await fingerprint(owner)
        for attempt in (*(each for each in CHANGES if "audit_log_id_seq" not in each), *COPIES):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await (owner.execute(attempt) if isinstance(attempt, str) else attempt(owner))
        assert await fingerprint(owner) == before


@pytest.mark.parametrize("role", Role)
async def test_every_role_writes_its_rows_and_only_operations_make_partitions(log: str, role: Role) -> None:
    async with connected(log, role) as connection:
        async with connection.transaction():
            await written(connection, NOW)
        try:
            await audit_sealing.make_partitions(connection, now=FUTURE, months=1)
        except asyncpg.InsufficientPrivilegeError:
            assert role is not Role.OPERATIONS
        else:
            assert role is Role.OPERATIONS
    async with connected(log) as owner:
        row = await owner.fetchrow(
            "select * from audit_log join audit_payloads on audit_id = id order by id desc"
        )
        assert row is not None
        assert (row["previous_size"], row["previous_root"]) == (2, (b"r" * 32).hex()), "the newest checkpoint"
        assert await owner.fetchval("select count(*) from audit_unsealed where id = $1", row["id"]) == 1


async def test_what_a_session_wrote_last_gives_it_no_other_payload(log: str) -> None:
    """How: a role writes a row of its own, so that the sequence has a last value in its session."""
    async with connected(log, Role.RISK) as connection:
        async with connection.transaction():
            await written(connection, NOW)
        for audit_id in (1, 2, 1000):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="not the row just written"):
                await connection.execute(
                    "insert into audit_payloads (audit_id, payload) values ($1, '{}')", audit_id
                )


async def test_months_are_made_once_and_not_over_rows_of_the_default_partition(log: str) -> None:
    async with connected(log) as owner:
        late = datetime(FUTURE.year + 1, 3, 9, tzinfo=UTC)
        async with owner.transaction():
            await written(owner, late)
        made = await audit_sealing.make_partitions(owner, now=datetime(late.year, 2, 1, tzinfo=UTC), months=2)
        assert made == [f"audit_log_{late.year}_02", f"audit_log_{late.year}_04"]
        assert (
            await audit_sealing.make_partitions(owner, now=datetime(late.year, 2, 1, tzinfo=UTC), months=2)
            == []
        )
        where = await owner.fetchval(
            "select tableoid::regclass::text from audit_log where occurred_at = $1", late
        )
        assert where == "audit_log_default"


async def test_functions_with_their_owners_rights_are_called_by_those_who_may(log: str) -> None:
    async with connected(log) as owner:
        found = await owner.fetch(
            "select p.oid::regprocedure::text as name from pg_proc p where p.prosecdef"
            " and p.prorettype <> 'trigger'::regtype and p.pronamespace = 'public'::regnamespace"
        )
        named = {await owner.fetchval("select $1::regprocedure::text", name) for name in grants.FUNCTIONS}
        assert {row["name"] for row in found} == named, "say in storage.grants.FUNCTIONS who may call them"
