"""A sealed log made in memory: rows as the product writes them, and what is put outside. Only for tests.

Trees are computed here by the recursive text of RFC 6962, notes by the C2SP text: neither the sealer's nor the
verifier's code.
"""

import json
import random
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME = "trading.example/audit/test"
BEGAN = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
STEPS = (
    ("Gateway", "SIGNAL_ACCEPTED"), ("RiskManager", "APPROVED"), ("ExecutionAgent", "SUBMITTED"),
    ("ExecutionAgent", "FILLED"), ("RiskManager", "REJECTED"),
)  # fmt: skip
DETAILS = (
    "posted to the broker", 'the broker said "no"', "180.50 ≤ 181.20 × 1.05", "two\nlines and a \\ slash",
    "\x1b[31mred \U0001f600", "",
)  # fmt: skip


def canonical(value: Any) -> str:
    """As the product writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def tree_root(leaves: list[bytes]) -> bytes:
    """MTH of the RFC."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + tree_root(leaves[:half]) + tree_root(leaves[half:])).digest()


def tree_proof(old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF of the RFC: from the first ``old`` leaves to all."""
    if old == len(leaves):
        return [] if whole else [tree_root(leaves)]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    if old <= half:
        return [*tree_proof(old, leaves[:half], whole=whole), tree_root(leaves[half:])]
    return [*tree_proof(old - half, leaves[half:], whole=False), tree_root(leaves[:half])]


@dataclass
class Signer:
    """Who signs checkpoints."""

    name: str = NAME
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def _typed(self) -> bytes:
        return b"\x01" + self.private.public_key().public_bytes_raw()

    @property
    def _id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self._id.hex()}+{b64encode(self._typed).decode()}"

    def note(self, size: int, root: bytes) -> bytes:
        text = f"{self.name}\n{size}\n{b64encode(root).decode()}\n"
        signature = b64encode(self._id + self.private.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n".encode()


@dataclass
class Log:
    """Rows, and the sizes at which checkpoints were signed."""

    fields: list[dict[str, Any]]
    """Of each row: the leaf's fields, and ``payload``."""
    sizes: list[int]
    signer: Signer = field(default_factory=Signer)

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_of(row) for row in self.fields]

    @property
    def lines(self) -> list[bytes]:
        """As an export has them."""
        return [line_of(row, number) for number, row in enumerate(self.fields)]

    def put_outside(self, folder: Path) -> Path:
        """All that the sealer leaves outside."""
        leaves = self.leaves
        for name in ("leaves", "consistency", "checkpoints"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "key").write_text(self.signer.vkey + "\n")
        for before, size in zip([0, *self.sizes], self.sizes, strict=False):
            (folder / f"leaves/{before:020d}-{size:020d}").write_bytes(b"".join(leaves[before:size]))
            if before:
                proof = tree_proof(before, leaves[:size])
                text = "".join(b64encode(each).decode() + "\n" for each in proof)
                (folder / f"consistency/{before:020d}-{size:020d}").write_text(text)
            note = self.signer.note(size, tree_root(leaves[:size]))
            (folder / f"checkpoints/{size:020d}").write_bytes(note)
        return folder


def leaf_of(row: dict[str, Any]) -> bytes:
    """sha256 over 0 and the canonical JSON of the row without its payload."""
    text = canonical({name: value for name, value in row.items() if name != "payload"})
    return sha256(b"\x00" + text.encode()).digest()


def line_of(row: dict[str, Any], number: int) -> bytes:
    """One line of an export."""
    return canonical(row | {"leaf": leaf_of(row).hex(), "sequence": number}).encode()


def make_log(rows: int, sizes: list[int] | None = None, *, seed: int = 1) -> Log:
    """A log of that many rows; checkpoints every hundred and at the end, or at these sizes."""
    chance = random.Random(seed)
    sizes = [*range(100, rows, 100), rows] if sizes is None else sizes
    made: list[dict[str, Any]] = []
    published: tuple[int, str] | None = None
    leaves: list[bytes] = []
    ids = list(range(1, rows + 1))
    for at in range(3, rows - 1, 7):  # Some transactions commit after later ones.
        ids[at], ids[at + 1] = ids[at + 1], ids[at]
    for number, audit_id in enumerate(ids):
        made.append(make_row(chance, audit_id, published))
        leaves.append(leaf_of(made[-1]))
        if number + 1 in sizes and chance.random() < 0.9:
            published = (number + 1, tree_root(leaves).hex())
    return Log(made, sizes)


def make_row(chance: random.Random, audit_id: int, published: tuple[int, str] | None) -> dict[str, Any]:
    """One row as the product writes it."""
    component, decision = chance.choice(STEPS)
    payload = canonical(
        {
            "detail": chance.choice(DETAILS), "row_version": audit_id, "filled_quantity": "0",
            "client_order_id": f"ti-{sha256(str(audit_id).encode()).hexdigest()[:32]}",
            "quote": {"ask": "180.51", "bid": "180.49"}, "price": chance.choice((180.5, 1e-05, None)),
        }
    )  # fmt: skip
    checks = [
        {"computed": True, "formula": "180.50 ≤ 181.20 × 1.05", "limit": "190.26", "name": "PRICE_COLLAR",
         "passed": True, "value": f"{audit_id}.5"},
    ] * chance.choice((0, 0, 2))  # fmt: skip
    at = BEGAN + timedelta(microseconds=audit_id * 1_300_001)
    return {
        "actor": "system", "checks": checks, "component": component,
        "correlation_id": f"sig-{audit_id // 5:04d}", "decision": decision, "id": audit_id,
        "input_hash": sha256(payload.encode()).hexdigest(),
        "occurred_at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"), "payload": payload,
        "previous_checkpoint": None if published is None else f"{published[0]} {published[1]}",
        "references": chance.choice(([], ["https://example.com/a?b=\"c\""])), "v": 1,
    }  # fmt: skip
