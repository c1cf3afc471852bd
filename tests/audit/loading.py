"""A made log in a real database, as the product and its sealer leave it there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from tests.audit.made import Log, canonical, leaf_of, tree_root

TRIGGERS_OFF = "set session_replication_role = replica"


def columns(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row as audit_log has it."""
    size, root = (None, None) if row["previous_checkpoint"] is None else row["previous_checkpoint"].split(" ")
    return (
        row["id"], datetime.fromisoformat(row["occurred_at"]), row["correlation_id"], row["component"],
        row["actor"], row["input_hash"], row["decision"], canonical(row["checks"]), canonical(row["references"]),
        None if size is None else int(size), root,
    )  # fmt: skip


async def load_log(connection: asyncpg.Connection, log: Log) -> None:
    """Put rows, payloads, leaves, head and published checkpoints in, as the owner with triggers off.

    They stay off on this connection: what follows on it is what an owner may do to his database.
    """
    await connection.execute(TRIGGERS_OFF)
    leaves = log.leaves
    await connection.execute("delete from audit_log")
    await connection.execute("delete from audit_payloads")
    await connection.execute("delete from audit_unsealed")
    await connection.executemany(
        "insert into audit_log (id, occurred_at, correlation_id, component, actor, input_hash, decision, checks,"
        " refs, previous_size, previous_root) overriding system value"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        [columns(row) for row in log.fields],
    )
    await connection.executemany(
        "insert into audit_payloads (audit_id, payload) values ($1, $2)",
        [(row["id"], row["payload"]) for row in log.fields],
    )
    await connection.executemany(
        "insert into audit_leaves (sequence, audit_id, occurred_at, leaf) values ($1, $2, $3, $4)",
        [
            (number, row["id"], datetime.fromisoformat(row["occurred_at"]), leaf_of(row))
            for number, row in enumerate(log.fields)
        ],
    )
    await connection.executemany(
        "insert into audit_checkpoints (size, root, frontier, note, signed_at, published_at)"
        " values ($1, $2, '', $3, $4, $4)",
        [
            (
                size,
                tree_root(leaves[:size]),
                log.signer.note(size, tree_root(leaves[:size])).decode(),
                SIGNED_AT,
            )
            for size in log.sizes
        ],
    )
    await connection.execute("select setval('audit_log_id_seq', 1000)")
    newest = log.sizes[-1]
    await connection.execute(
        "update audit_head set size = $1, root = $2, checkpoint_size = $3, checkpoint_root = $4",
        len(leaves), tree_root(leaves), newest, tree_root(leaves[:newest]),
    )  # fmt: skip


SIGNED_AT = datetime.fromisoformat("2026-11-23T16:00:00Z")
