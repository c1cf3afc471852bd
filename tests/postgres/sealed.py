"""What must hold of a sealed audit log, worked out from its raw rows and the files outside, by the RFC's words."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from audit.seal.sealer import Sealer
from audit.store.directory import DirectoryStore
from audit.store.port import ObjectStore
from schemas.audit import AuditEntry, canonical_json
from security.notes import NoteSigner
from storage.database import Connection
from storage.events import append
from tests.servers.approvals import AUDIT_KEY
from tests.servers.notes import opened

SIGNER = NoteSigner.from_hex("log-of-a-test", AUDIT_KEY)


def sealer_of(folder: Path, target: ObjectStore | None = None) -> Sealer:
    return Sealer(target or DirectoryStore(folder), SIGNER, now=lambda: datetime.now(UTC))


async def write_rows(dsn: str, count: int, name: str = "s") -> None:
    """Rows of all kinds of text, each in its own transaction."""
    connection = await asyncpg.connect(dsn)
    for number in range(count):
        async with connection.transaction():
            await write_row(connection, f"{name}-{number}")
    await connection.close()


async def write_row(connection: Connection, name: str) -> None:
    entry = AuditEntry(
        occurred_at=datetime.now(UTC), correlation_id=name, component='"quoted" \\ größe', actor="a\nb",
        decision="D", input={"name": name}, references=("https://x.example/?a=b", "\x01\u2028"),
    )  # fmt: skip
    await append(connection, entry)


async def run_once(connection: Connection, sealer: Sealer) -> None:
    """Seal, sign and publish what there is."""
    await sealer.publish_key(connection)
    while await sealer.seal(connection):
        pass
    await sealer.sign(connection)
    await sealer.publish(connection)


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 on leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def raw_leaf(row: asyncpg.Record) -> bytes:
    """The leaf of a row by the slow canonical JSON."""
    previous = None if row["previous_size"] is None else f"{row['previous_size']} {row['previous_root']}"
    text = canonical_json({
        "actor": row["actor"], "checks": json.loads(row["checks"]), "component": row["component"],
        "correlation_id": row["correlation_id"], "decision": row["decision"], "id": row["id"],
        "input_hash": row["input_hash"],
        "occurred_at": row["occurred_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "previous_checkpoint": previous, "references": json.loads(row["refs"]), "v": 1,
    })  # fmt: skip
    return hashlib.sha256(b"\x00" + text.encode()).digest()


async def check_sealed(dsn: str, folder: Path, *, rows: int, checkpoints_min: int = 1) -> None:
    """Every row has one leaf and one place, and each checkpoint outside is that of the rows up to it."""
    connection = await asyncpg.connect(dsn)
    found = await connection.fetch(
        "select * from audit_leaves s join audit_log l on l.id = s.audit_id order by s.sequence"
    )
    head = await connection.fetchrow("select * from audit_head")
    known = await connection.fetch("select * from audit_checkpoints order by size")
    assert await connection.fetchval("select count(*) from audit_unsealed") == 0
    assert await connection.fetchval("select count(*) from audit_log") == len(found) == rows
    await connection.close()
    assert [row["sequence"] for row in found] == list(range(rows))
    leaves = [raw_leaf(row) for row in found]
    assert [row["leaf"] for row in found] == leaves
    assert head is not None
    assert (head["size"], head["root"]) == (rows, mth(leaves))
    sizes = [row["size"] for row in known]
    assert head["checkpoint_size"] == sizes[-1] == rows
    assert len(sizes) >= checkpoints_min
    assert all(row["published_at"] for row in known)
    check_outside(folder, leaves, sizes)


def check_outside(folder: Path, leaves: list[bytes], sizes: list[int]) -> None:
    """Exactly these checkpoints, each signed once, and the leaves and proofs between them."""
    assert (folder / "key").read_text() == f"{SIGNER.vkey}\n"
    notes = {int(path.name): path.read_text() for path in (folder / "checkpoints").glob("[0-9]*")}
    assert sorted(notes) == sizes
    for size, note in notes.items():
        root = base64.b64encode(mth(leaves[:size])).decode()
        assert opened(note, SIGNER.vkey) == f"log-of-a-test\n{size}\n{root}\n"
    steps = list(zip([0, *sizes], sizes, strict=False))
    kept = {path.name: path.read_bytes() for path in (folder / "leaves").glob("[0-9]*")}
    assert kept == {f"{old:020d}-{new:020d}": b"".join(leaves[old:new]) for old, new in steps}
    proofs = {path.name: path.read_text() for path in (folder / "consistency").glob("[0-9]*")}
    assert sorted(proofs) == [f"{old:020d}-{new:020d}" for old, new in steps[1:]]
    for old, new in steps[1:]:
        lines = proofs[f"{old:020d}-{new:020d}"].splitlines()
        proof = [base64.b64decode(line) for line in lines]
        check_consistency(old, new, mth(leaves[:old]), mth(leaves[:new]), proof)


def check_consistency(old: int, new: int, first: bytes, second: bytes, proof: list[bytes]) -> None:
    """The verification of RFC 9162, section 2.1.4.2."""
    path: list[bytes] = [first, *proof] if old & (old - 1) == 0 else proof
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for each in path[1:]:
        assert sn != 0
        if fn & 1 or fn == sn:
            fr, sr = _node(each, fr), _node(each, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, each)
        fn, sn = fn >> 1, sn >> 1
    assert (fr, sr, sn) == (first, second, 0)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def content(folder: Path) -> dict[str, Any]:
    """Every file outside."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
