"""A sealed audit log of any size, put straight into the tables in the form in which the product leaves it."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import asyncpg

from audit.check.tree import Tree
from schemas.audit import AuditRow, canonical_json, leaf_hash, leaf_text, previous_checkpoint, text_sha256
from security.notes import NoteSigner, checkpoint_text

ROWS_COPIED: Final = 50_000
"""In one go; a checkpoint follows each."""
BETWEEN: Final = timedelta(milliseconds=400)
STORY: Final = (
    ("Gateway", "SIGNAL_ACCEPTED", 0), ("RiskManager", "APPROVED", 22), ("ExecutionAgent", "PRE_TRADE_PASSED", 6),
    ("ExecutionAgent", "SUBMITTING", 0), ("ExecutionAgent", "ACCEPTED", 0), ("BrokerWatcher", "FILLED", 0),
    ("ExecutionAgent", "SETTLED", 0),
)  # fmt: skip
"""Component, decision, checks."""
LOG_COLUMNS: Final = (
    "id", "occurred_at", "correlation_id", "component", "actor", "input_hash", "decision", "checks", "refs",
    "previous_size", "previous_root",
)  # fmt: skip
LEAF_COLUMNS: Final = ("sequence", "audit_id", "occurred_at", "leaf")


def make_rows(count: int, began: datetime, seed: int) -> Iterator[tuple[AuditRow, str]]:
    """Rows with their payloads: stories of seven rows, as an order that fills leaves them."""
    chance = random.Random(seed)
    for number in range(count):
        component, decision, checks = STORY[number % len(STORY)]
        signal = f"sig-{number // len(STORY):07d}"
        payload = canonical_json(_input(signal, decision, number, chance))
        yield (
            AuditRow(
                id=number + 1,
                occurred_at=began + number * BETWEEN,
                correlation_id=signal,
                component=component,
                actor="system",
                input_hash=text_sha256(payload),
                decision=decision,
                checks=canonical_json([_check(each, chance) for each in range(checks)]),
                references='["limits 3"]' if checks else "[]",
                previous_checkpoint=None,
            ),
            payload,
        )


def _input(signal: str, decision: str, number: int, chance: random.Random) -> dict[str, Any]:
    digest = sha256(signal.encode()).hexdigest()
    return {
        "detail": f"{decision.lower()}: buy 10 AAPL ≤ {chance.randrange(17_000, 19_000) / 100:.2f}",
        "order_id": digest[:36], "client_order_id": f"ti-{digest[:32]}", "broker_order_id": digest[28:],
        "status": "ACKNOWLEDGED", "row_version": number % 7, "quantity": "10", "filled_quantity": "0",
        "calls": [{"operation": "place_order", "http_status": 200, "outcome": "OK", "latency_ms": "12.4"}],
    }  # fmt: skip


def _check(number: int, chance: random.Random) -> dict[str, Any]:
    value = f"{chance.randrange(100, 9_000)}.25"
    return {
        "name": f"CHECK_{number:02d}", "passed": True, "computed": True, "value": value, "limit": "10000",
        "formula": f"10 × {value} ≤ 10000",
    }  # fmt: skip


async def fill(
    connection: asyncpg.Connection, outside: Path, signer: NoteSigner, count: int, began: datetime
) -> None:
    """Put rows, payloads, leaves, head and checkpoints in, and what the sealer leaves outside. As the owner."""
    for name in ("leaves", "checkpoints"):
        (outside / name).mkdir(parents=True)
    await connection.execute("set session_replication_role = replica")
    await connection.execute("delete from audit_log")
    await connection.execute("delete from audit_payloads")
    await connection.execute("delete from audit_unsealed")
    rows, tree = make_rows(count, began, 1), Tree()
    previous: tuple[int, str] | tuple[None, None] = (None, None)
    while batch := list(islice(rows, ROWS_COPIED)):
        first = tree.size
        named = previous_checkpoint(*previous)
        made = [(row._replace(previous_checkpoint=named), payload) for row, payload in batch]
        leaves = [leaf_hash(leaf_text(row)) for row, _ in made]
        tree.extend(leaves)
        await connection.copy_records_to_table(
            "audit_log",
            columns=LOG_COLUMNS,
            records=[(*row[:-1], *previous) for row, _ in made],
        )
        await connection.copy_records_to_table(
            "audit_payloads",
            columns=("audit_id", "payload"),
            records=[(row.id, payload) for row, payload in made],
        )
        await connection.copy_records_to_table(
            "audit_leaves",
            columns=LEAF_COLUMNS,
            records=[
                (number, row.id, row.occurred_at, leaf)
                for number, ((row, _), leaf) in enumerate(zip(made, leaves, strict=True), first)
            ],
        )
        previous = (tree.size, tree.root().hex())
        (outside / f"leaves/{first:020d}-{tree.size:020d}").write_bytes(b"".join(leaves))
        note = signer.sign(checkpoint_text(signer.name, tree.size, tree.root()))
        (outside / f"checkpoints/{tree.size:020d}").write_text(note)
        await connection.execute(
            "insert into audit_checkpoints (size, root, frontier, note, signed_at, published_at)"
            " values ($1, $2, '', $3, $4, $4)",
            tree.size, tree.root(), note, began,
        )  # fmt: skip
    await connection.execute(
        "update audit_head set size = $1, root = $2, checkpoint_size = $1, checkpoint_root = $2",
        tree.size, tree.root(),
    )  # fmt: skip
    await connection.execute("set session_replication_role = origin")
    await connection.execute("vacuum analyze")
