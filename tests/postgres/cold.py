"""A database with old, sealed rows, a store, and whoever moves between them, with the rights of operations."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from audit.cold.dropper import Dropper
from audit.cold.files import unpack
from audit.cold.mover import Mover, Retention
from audit.cold.restorer import Restorer
from audit.store.port import ObjectStore
from schemas.archives import ArchiveKind, MoveAnswer, RestoreAnswer, RestoreOrder
from schemas.audit import AuditEntry, leaf_hash, leaf_text
from security.grants import GrantRefused, make_key_file, verify_grant
from storage import audit_sealing, event_stream
from storage.database import Connection, Database
from storage.events import append
from storage.grants import Role
from storage.switches import bind_installation, save_operator_key
from tests.postgres.as_role import PASSWORD
from tests.postgres.outbox import status_event

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=40)
SEALED_MAX: Final = 10_000


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


@asynccontextmanager
async def cold_storage(dsn: str, store: ObjectStore) -> AsyncIterator[Cold]:
    """For the length of the block."""
    owner = await asyncpg.connect(dsn)
    # Not by `set_passwords`: its audit row would be the first one of the log, and rows are counted here.
    command = await owner.fetchval(
        "select format('alter role %I login password %L', $1::text, $2::text)", Role.OPERATIONS, PASSWORD
    )
    await owner.execute(command)
    parts = urlsplit(dsn)
    netloc = f"{Role.OPERATIONS}:{quote(PASSWORD, safe='')}"
    address = urlunsplit(parts._replace(netloc=f"{netloc}@{parts.hostname}:{parts.port}"))
    database = await Database.connect(address)
    yield Cold(owner, database, store)
    await database.close()
    await owner.close()


FORGET: Final = """
set local session_replication_role = replica;
delete from audit_log; delete from audit_payloads; delete from audit_unsealed;
alter table audit_log alter column id restart;
"""


async def let_in(owner: Connection, key_file: Path, *, account: str) -> None:
    """An installation with a key that may sign, in a log as empty as before: rows are counted here."""
    key_id, public_key = make_key_file(key_file, "ana")
    await save_operator_key(owner, key_id=key_id, public_key=public_key, person="ana", now=NOW)
    await bind_installation(owner, account=account, mode="paper", now=NOW)
    async with owner.transaction():
        await owner.execute(FORGET)


async def seal(connection: Connection, *, published: bool = True) -> None:
    """As the sealer does, but for the tree and its signature: retention looks at neither."""
    size: int = await connection.fetchval("select size from audit_head")
    waiting = await audit_sealing.read_waiting(connection, SEALED_MAX)
    leaves = [leaf_hash(leaf_text(row)) for row in waiting]
    await audit_sealing.append_leaves(connection, size, waiting, leaves)
    grown = size + len(waiting)
    root = leaf_hash(f"tree of {grown}")
    await connection.execute("update audit_head set size = $1, root = $2, frontier = $2", grown, root)
    await connection.execute(
        "insert into audit_checkpoints (size, root, frontier, note, signed_at, published_at)"
        " values ($1, $2, $2, 'a note', now(), case when $3 then now() end)",
        grown, root, published,
    )  # fmt: skip
