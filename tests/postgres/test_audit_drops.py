"""A month of the audit log goes for ever when it is seven years old, whole in cold storage, and a person signed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from audit.store.directory import DirectoryStore
from schemas.archives import DropGrant
from security.grants import GrantRefused, make_drop_grant, make_grant, make_key_file, verify_grant
from storage.archives import list_drops
from tests.postgres.cold import NOW, Cold, cold_storage, let_in

MONTH = (NOW - timedelta(days=8 * 365)).replace(day=10, hour=0, minute=0, second=0, microsecond=0)
PARTITION = f"audit_log_{MONTH:%Y_%m}"
YOUNG = NOW - timedelta(days=6 * 365)
ACCOUNT = "paper-1"


@pytest.fixture
async def cold(database: str, tmp_path: Path) -> AsyncIterator[Cold]:
    """Give a database with four rows of eight years ago and four of six years ago, in partitions of their own."""
    async with cold_storage(database, DirectoryStore(tmp_path / "store")) as made:
        for when in (MONTH, YOUNG):
            await made.owner.execute("select make_audit_partitions($1, 0)", when)
        await let_in(made.owner, tmp_path / "operator.json", account=ACCOUNT)
        await made.write(4, MONTH)
        await made.write(4, YOUNG)
        yield made


def grant(tmp_path: Path, partition: str = PARTITION, **fields: str) -> DropGrant:
    given = {"account": ACCOUNT, "reason": "seven years are over"} | fields
    return make_drop_grant(tmp_path / "operator.json", partition=partition, now=NOW, **given)


async def partitions(cold: Cold) -> set[str]:
    rows = await cold.owner.fetch("select inhrelid::regclass::text as name from pg_inherits")
    return {row["name"] for row in rows if row["name"].startswith("audit_log_")}


async def test_it_goes_with_a_record_and_its_leaves_stay(cold: Cold, tmp_path: Path) -> None:
    leaves = await cold.owner.fetch("select * from audit_leaves order by sequence")
    await cold.move_all()
    signed = grant(tmp_path)
    answer = await cold.dropper().drop(signed)
    assert (answer.dropped, answer.rows) == (True, 4), answer.message
    assert PARTITION not in await partitions(cold)
    assert await cold.owner.fetchval("select count(*) from audit_log where occurred_at < $1", YOUNG) == 0
    assert (await cold.owner.fetch("select * from audit_leaves order by sequence"))[:8] == leaves
    [gone] = await list_drops(cold.owner)
    assert (gone.partition, gone.rows, gone.first, gone.last) == (PARTITION, 4, 0, 3)
    assert (gone.person, gone.reason) == ("ana", "seven years are over")
    assert gone.starts_at == MONTH.replace(day=1)
    assert (gone.ends_at - timedelta(days=1)).month == MONTH.month
    assert set(await cold.stored()) == set(range(8)), "what is left of them"
    again = await cold.dropper().drop(signed)
    assert (again.dropped, again.rows) == (True, 4), "whose answer was lost asks again"
    other = await cold.dropper().drop(grant(tmp_path))
    assert (other.dropped, other.rows, other.message) == (True, 4, f"{PARTITION} was dropped already")
    assert (await cold.decisions()).count("AUDIT_DROP_REPEATED") == 2, "whoever signs leaves a row"
    assert (await cold.decisions()).count("AUDIT_MONTH_DROPPED") == 1
    audited = await cold.owner.fetchrow("select * from audit_log where decision = 'AUDIT_MONTH_DROPPED'")
    assert audited["actor"] == "ana"
    [first, second] = await cold.restore_all(MONTH, NOW)
    assert "were dropped" in str(first.refused)
    assert second.rows == 4


async def test_what_is_too_young_unsealed_or_not_archived_stays(cold: Cold, tmp_path: Path) -> None:
    async def refused(partition: str = PARTITION) -> str:
        before = await partitions(cold)
        answer = await cold.dropper().drop(grant(tmp_path, partition))
        assert not answer.dropped
        assert await partitions(cold) == before
        assert await list_drops(cold.owner) == []
        return answer.message

    assert "not in cold storage" in await refused()
    await cold.move_all()
    await cold.write(1, MONTH, sealed=False)
    assert "5 rows, of which 4 are sealed" in await refused()
    await cold.owner.execute("set session_replication_role = replica")
    await cold.owner.execute(
        "delete from audit_log where id in (select id from audit_unsealed where occurred_at < $1)", YOUNG
    )
    await cold.owner.execute("delete from audit_unsealed where occurred_at < $1", YOUNG)
    await cold.owner.execute("set session_replication_role = default")
    [restored] = await cold.restore_all(MONTH, MONTH + timedelta(days=1))
    assert restored.rows == 4
    assert "not in cold storage alone" in await refused()
    assert "younger than seven years" in await refused(f"audit_log_{YOUNG:%Y_%m}")
    for nothing in ("audit_log_1999_01", f"audit_log_{MONTH:%Y}_13"):
        assert "no month of the audit log" in await refused(nothing)
    assert (await cold.decisions()).count("AUDIT_DROP_REFUSED") == 6


async def test_a_caller_who_lies_about_the_time_drops_nothing(cold: Cold, tmp_path: Path) -> None:
    await cold.move_all()
    key = grant(tmp_path).key_id
    async with cold.database.connection() as operations:
        for wanted in (f"audit_log_{YOUNG:%Y_%m}", "audit_log_default", "orders", "audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await operations.execute(
                    "select drop_audit_partition($1, 'a nonce', $2, 'x', 'x', now() + interval '9 years')",
                    wanted, key,
                )  # fmt: skip
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await operations.execute(
                "select drop_audit_partition($1, 'nonce-nonce-nonce', 'nobody', 'x', 'x', now())", PARTITION
            )
    assert PARTITION in await partitions(cold)


async def test_only_a_grant_of_a_known_key_for_this_act_drops(cold: Cold, tmp_path: Path) -> None:
    await cold.move_all()
    right = grant(tmp_path)
    make_key_file(tmp_path / "stranger.json", "mallory")
    strangers = make_drop_grant(
        tmp_path / "stranger.json", account=ACCOUNT, partition=PARTITION, reason="x", now=NOW
    )
    for wrong in (
        right.model_copy(update={"partition": f"audit_log_{YOUNG:%Y_%m}"}),
        right.model_copy(update={"person": "bob"}),
        right.model_copy(update={"act": "another"}),
        right.model_copy(update={"signature": "00" * 64}),
        right.model_copy(update={"signature": "no hex"}),
        strangers,
        strangers.model_copy(update={"key_id": right.key_id}),
        grant(tmp_path, account="another"),
        make_drop_grant(
            tmp_path / "operator.json", account=ACCOUNT, partition=PARTITION, reason="x",
            now=NOW - timedelta(minutes=6),
        ),
    ):  # fmt: skip
        assert not (await cold.dropper().drop(wrong)).dropped, wrong
    assert PARTITION in await partitions(cold)
    assert (await cold.dropper().drop(right)).dropped


def test_no_grant_can_be_taken_for_one_of_another_kind(tmp_path: Path) -> None:
    _, public = make_key_file(tmp_path / "operator.json", "ana")
    release = make_grant(tmp_path / "operator.json", account=ACCOUNT, epoch=1, reason="x", now=NOW)
    fields = release.model_dump() | {"partition": PARTITION}
    with pytest.raises(GrantRefused):
        verify_grant(DropGrant.model_validate(fields), public, account=ACCOUNT, now=NOW)
