"""What earlier releases wrote comes over whole: the same ids, and the very text that was hashed."""

import json
from datetime import UTC, datetime

import asyncpg

from schemas.audit import canonical_json, sha256_hex, text_sha256
from storage import migrate

AT = datetime(2026, 9, 3, 14, 30, tzinfo=UTC)
INPUTS = (
    {"detail": "plain", "quantity": "10.50", "empty": {}, "none": None, "list": []},
    {"zz": 1, "a": {"bb": [1.5, True, {"ö": "größe", "b": "x, y: \"z\" \\ \n\t\x01\x7f/"}]}, "Ä": "", "aa": -3},
    {"detail": "a number that jsonb writes otherwise", "seconds": 1e-05},
    {"detail": "after it"},
)  # fmt: skip
CHECKS = [{"name": "x", "passed": True, "value": "1, 2"}]


async def test_rows_keep_their_ids_and_their_hashes(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "create table schema_migrations (version text primary key, sha256 text not null,"
        " applied_at timestamptz not null default clock_timestamp())"
    )
    for each in migrate.load():
        if each.version < "0021":
            await connection.execute(each.up)
            await connection.execute(
                "insert into schema_migrations (version, sha256) values ($1, $2)", each.version, each.sha256
            )
    await connection.execute("alter sequence audit_log_id_seq restart 41")
    for value in INPUTS:
        await connection.execute(
            "insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks,"
            " refs, payload) values ($1, 's', 'c', 'a', $2, 'D', $3::jsonb, '[\"b\", \"a\"]', $4::jsonb)",
            AT, sha256_hex(value), canonical_json(CHECKS), canonical_json(value),
        )  # fmt: skip
    await migrate.migrate(empty_database)
    rows = await connection.fetch(
        "select a.tableoid::regclass::text as partition, * from audit_log a join audit_payloads on audit_id = id"
        " order by id"
    )
    waiting = [row["id"] for row in await connection.fetch("select id from audit_unsealed order by id")]
    await connection.close()
    assert [row["id"] for row in rows] == waiting == [41, 42, 43, 44, 45]
    for row, value in zip(rows, INPUTS, strict=False):
        assert row["partition"] == "audit_log_2026_09"
        assert (row["checks"], row["refs"]) == (canonical_json(CHECKS), '["b","a"]')
        assert json.loads(row["payload"]) == value
        if row["id"] != 43:
            assert row["payload"] == canonical_json(value)
        assert (text_sha256(row["payload"]) == row["input_hash"]) is (row["id"] != 43)
    assert (rows[-1]["decision"], rows[-1]["actor"]) == ("AUDIT_MOVED", "migration 0021")
    told = json.loads(rows[-1]["payload"])
    assert (told["rows"], told["rows_without_their_hash"]) == (4, [43])
    assert rows[-1]["payload"] == canonical_json(told)
    assert rows[-1]["input_hash"] == text_sha256(rows[-1]["payload"])
