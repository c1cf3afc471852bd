"""The running product moves what is old to a bucket, and a person brings it back."""

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from audit.store.directory import DirectoryStore
from schemas import wire
from security.grants import make_key_file
from storage.database import Database
from storage.switches import save_operator_key
from tests.console.commands import of_stack
from tests.postgres.cold import OLD, Cold
from tests.servers.amazon import ACCESS_KEY, REGION, SECRET_KEY, Bucket
from tests.servers.stack import POLL_SECONDS, SETTLED_WITHIN_SECONDS, StackFactory

ROWS = 6


@pytest.mark.slow
async def test_the_schedule_moves_what_is_old_to_a_bucket_and_a_person_brings_it_back(
    database: str, stack_factory: StackFactory, bucket: Bucket, tmp_path: Path
) -> None:
    """What is old was written before the product came: it seals it, and moves it when the Schedule says so."""
    owner = await asyncpg.connect(database)
    rows = await Database.connect(database)
    cold = Cold(owner, rows, DirectoryStore.__new__(DirectoryStore))
    await cold.write(ROWS, sealed=False)
    before = await owner.fetch("select audit_id, payload from audit_payloads order by audit_id")
    events = await owner.fetchval("select count(*) from events")
    stack = await stack_factory(
        ours={
            "audit_target": f"s3://{bucket.name}/ours",
            "audit_s3_endpoint": bucket.amazon.url,
            "audit_s3_region": REGION,
            "audit_s3_key": SecretStr(ACCESS_KEY),
            "audit_s3_secret": SecretStr(SECRET_KEY),
        }
    )
    await until(owner, "select coalesce(checkpoint_size, 0) >= $1 from audit_head", ROWS)
    await stack.client.get_schedule_handle(wire.SCHEDULE_RETENTION).trigger()
    moved = "select coalesce(sum(stop - first), 0) from audit_archives where kind = $1 and state = 'removed'"
    await until(owner, f"select ({moved}) = $2", "audit", ROWS)
    await until(owner, f"select ({moved}) = $2", "events", events)
    assert (
        await owner.fetchval("select count(*) from audit_payloads where audit_id = any ($1)", ids(before))
        == 0
    )
    names = {each["Key"] for each in bucket.amazon.client().list_objects_v2(Bucket=bucket.name)["Contents"]}
    file = f"audit/{0:020d}-{ROWS:020d}.jsonl.zst"
    assert {"ours/key", f"ours/{file}"} <= names, "checkpoints and cold storage in one place"

    trading = of_stack(stack)
    listed = next(line for line in (await trading("audit", "archives")).out.splitlines() if file in line)
    assert "removed" in listed
    span = ("--from", f"{OLD:%Y-%m-%d}", "--to", (OLD + timedelta(days=1)).isoformat())
    back = await trading("audit", "restore", *span, "--json")
    assert (back.code, back.json["rows"]) == (0, ROWS)
    assert (
        await owner.fetch(
            "select audit_id, payload from audit_payloads where audit_id = any ($1) order by audit_id",
            ids(before),
        )
        == before
    )
    key_id, public_key = make_key_file(tmp_path / "operator.json", "ana")
    await save_operator_key(owner, key_id=key_id, public_key=public_key, person="ana", now=OLD)
    key = ("--key-file", str(tmp_path / "operator.json"))
    refused = await trading("audit", "drop", "2019-03", "--reason", "old", *key)
    assert (refused.code, "no month of the audit log" in refused.err) == (1, True), refused.err
    metrics = (await stack.http.get("/metrics")).text
    assert 'retention_oldest_seconds{kind="audit"}' in metrics
    await rows.close()
    await owner.close()


def ids(rows: list[asyncpg.Record]) -> list[int]:
    return [row["audit_id"] for row in rows]


async def until(connection: asyncpg.Connection, question: str, *arguments: object) -> None:
    async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
        while not await connection.fetchval(question, *arguments):
            await asyncio.sleep(POLL_SECONDS)
