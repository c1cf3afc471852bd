"""A database with old, sealed rows, a store, and whoever moves between them, with the rights of operations."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from audit.cold.dropper import Dropper
from audit.cold.files import unpack
from audit.cold.mover import Mover, Retention
from audit.cold.restorer import Restorer
from audit.store.port import ObjectStore
from schemas.archives import ArchiveKind, MoveAnswer, RestoreAnswer, RestoreOrder
from schemas.audit import AuditEntry, AuditRow, leaf_hash, leaf_text, previous_checkpoint
from security.grants import GrantRefused, verify_grant
from storage import event_stream
from storage.database import Connection, Database
from storage.events import append
from storage.grants import Role, set_passwords
from tests.postgres.outbox import status_event
from tests.postgres.test_roles import PASSWORD

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=40)


@dataclass
class Cold:
    """``owner`` may do anything that is not refused to everybody; ``database`` is what operations have."""

    owner: "asyncpg.Connection[Any]"
    database: Database
    store: ObjectStore
    retention: Retention = field(default_factory=lambda: Retention(rows_max=4))
    now: datetime = NOW

    @property
    def mover(self) -> Mover:
        return Mover(self.database, self.store, self.retention, now=lambda: self.now)

    async def move_all(self, kind: ArchiveKind = ArchiveKind.AUDIT) -> list[MoveAnswer]:
        """Until nothing more may go, or something does not."""
        found = []
        while (answer := await self.mover.move(kind)).moved:
            found.append(answer)
        return [*found, answer] if answer.problem else found

    async def restore_all(self, since: datetime, until: datetime) -> list[RestoreAnswer]:
        restorer = Restorer(self.database, self.store, now=lambda: self.now)
        found: list[RestoreAnswer] = []
        after = -1
        while True:
            order = RestoreOrder(since=since, until=until, person="ana", after=after, as_of=self.now)
            answer = await restorer.restore(order)
            if answer.first is None:
                return found
            found.append(answer)
            after = answer.first

    def dropper(self) -> Dropper:
        return Dropper(self.database, now=lambda: self.now, verify=verify_grant, refused=GrantRefused)

    async def write(self, count: int, at: datetime = OLD, *, sealed: bool = True) -> None:
        """Audit rows of that time, a second apart, each with an event."""
        for number in range(count):
            when = at + timedelta(seconds=number)
            key = f"sig-{when:%Y%m%d%H%M%S}"
            entry = AuditEntry(
                occurred_at=when, correlation_id=key, component="test", actor="test", decision="WRITTEN",
                input={"detail": f"row {number} äöü \u2028 \"quoted\"", "price": "180.50"},
                references=("a", "b"),
            )  # fmt: skip
            async with self.owner.transaction():
                await append(self.owner, entry, status_event(key, number, timestamp=when))
        await event_stream.number_events(self.owner, limit=10_000)
        if sealed:
            await seal(self.owner)

    async def payloads(self) -> dict[int, str]:
        """By sequence, those that are here."""
        rows = await self.owner.fetch(
            "select sequence, payload from audit_leaves join audit_payloads using (audit_id) order by sequence"
        )
        return {row["sequence"]: row["payload"] for row in rows}

    async def archives(self, kind: str = "audit") -> list[tuple[int, int, str]]:
        rows = await self.owner.fetch(
            "select first, stop, state from audit_archives where kind = $1 order by first", kind
        )
        return [tuple(row) for row in rows]

    async def decisions(self) -> list[str]:
        """What retention has written into the log."""
        rows = await self.owner.fetch(
            "select decision from audit_log where correlation_id = 'retention' order by id"
        )
        return [row["decision"] for row in rows]

    async def alerts(self) -> list[str]:
        rows = await self.owner.fetch("select code from alerts where cleared_at is null order by code")
        return [row["code"] for row in rows]

    async def stored(self, kind: str = "audit") -> dict[int, dict[str, Any]]:
        """Every line in the store, by sequence or position; none twice."""
        found: dict[int, dict[str, Any]] = {}
        for name in await self.store.names(f"{kind}/"):
            content = await self.store.get(name)
            assert content is not None
            for line in unpack(content):
                fields = json.loads(line)
                number = fields["sequence" if kind == "audit" else "position"]
                assert number not in found
                found[number] = fields
        return found


async def forget_log(owner: Connection) -> None:
    """Have the log begin with the test's own old rows, not with what was just set up."""
    await owner.execute(
        "set session_replication_role = replica; delete from audit_log; delete from audit_payloads;"
        " delete from audit_unsealed; reset session_replication_role; alter sequence audit_log_id_seq restart"
    )


@asynccontextmanager
async def cold_storage(dsn: str, store: ObjectStore) -> AsyncIterator[Cold]:
    """For the length of the block."""
    owner = await asyncpg.connect(dsn)
    await set_passwords(owner, {Role.OPERATIONS: PASSWORD}, datetime.now(UTC))
    await forget_log(owner)
    parts = urlsplit(dsn)
    netloc = f"{Role.OPERATIONS}:{quote(PASSWORD, safe='')}"
    address = urlunsplit(parts._replace(netloc=f"{netloc}@{parts.hostname}:{parts.port}"))
    database = await Database.connect(address)
    yield Cold(owner, database, store)
    await database.close()
    await owner.close()


async def seal(connection: Connection, *, published: bool = True) -> None:
    """As the sealer does, but for the tree and its signature: retention looks at neither."""
    size: int = await connection.fetchval("select size from audit_head")
    waiting = await connection.fetch(
        "select g.* from audit_unsealed u join audit_log g using (id, occurred_at) order by id"
    )
    for sequence, row in enumerate(waiting, start=size):
        text = leaf_text(
            AuditRow(
                id=row["id"], occurred_at=row["occurred_at"], correlation_id=row["correlation_id"],
                component=row["component"], actor=row["actor"], input_hash=row["input_hash"],
                decision=row["decision"], checks=row["checks"], references=row["refs"],
                previous_checkpoint=previous_checkpoint(row["previous_size"], row["previous_root"]),
            )
        )  # fmt: skip
        await connection.execute(
            "insert into audit_leaves values ($1, $2, $3, $4)",
            sequence, row["id"], row["occurred_at"], leaf_hash(text),
        )  # fmt: skip
    await connection.execute("delete from audit_unsealed")
    grown = size + len(waiting)
    root = leaf_hash(f"tree of {grown}")
    await connection.execute("update audit_head set size = $1, root = $2, frontier = $2", grown, root)
    await connection.execute(
        "insert into audit_checkpoints (size, root, frontier, note, signed_at, published_at)"
        " values ($1, $2, $2, 'a note', now(), case when $3 then now() end)",
        grown, root, published,
    )  # fmt: skip
