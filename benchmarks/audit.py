"""The audit log at size: ``python -m benchmarks.audit --rows 1000000``.

On a real PostgreSQL: how many rows a second the product's own `append` commits while its sealer runs, how long a
row waits for its leaf and the last one for a checkpoint outside. And a sealed log, put straight into the tables
(`audit_load`), verified whole from the database and from its export. Beside each check stands the time to read
the same rows in the same way, in the same process, and to take one sha256 of each:

- database: the verifier's own statements and batches, one sha256 over a row's texts and payload;
- export: decompressed and parsed into rows (`json.loads`), one sha256 over each line; and, as the floor, the same
  without parsing.

Reading and checking take turns, and each is told by its best turn. Exit 1: a check took more than twice as long as
its reading.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.check.database import BATCH_ROWS
from audit.check.exporting import ranges, write_file
from audit.check.exports import batches
from audit.check.findings import Report
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verify import verify_database, verify_export
from audit.seal.sealer import Sealer
from audit.store.directory import DirectoryStore
from audit.store.port import ObjectStore
from benchmarks.audit_load import BETWEEN, fill
from observability.metrics import Metrics
from schemas.audit import AuditEntry
from security.notes import NoteSigner
from storage.audit_sealing import Checkpoint
from storage.database import Connection, Database
from storage.events import append
from storage.migrate import migrate
from storage.statements import load
from workers import postgres
from workers.audit_alerts import AuditAlerts
from workers.audit_sealing import AuditSealing
from workers.clients import utc_now
from workers.datadir import temporary_data_dir
from workers.supervisor import Supervisor

RATIO_MAX: Final = 2.0
TURNS: Final = 2
APPENDED_MAX: Final = 20_000
WRITERS: Final = 8
LOOK_SECONDS: Final = 0.1
SEALED_WITHIN_SECONDS: Final = 120.0
SECOND: Final = "benchmark_log"
TEXTS: Final = slice(2, 9)
"""A row's columns that are texts."""

_SQL: Final = load("audit_check")


@dataclass(frozen=True)
class Timing:
    """One reading or check of the log: its best turn."""

    what: str
    seconds: float
    cpu_seconds: float
    """Of this process alone."""
    rows_a_second: int
    times_reading: float | None = None
    times_max: float | None = None
    """None: told, and not judged."""

    @property
    def is_kept(self) -> bool:
        """Whether it took no longer than it may."""
        return self.times_reading is None or self.times_max is None or self.times_reading <= self.times_max


async def main(count: int, *, as_json: bool) -> int:
    """Measure, print, say whether the bound is kept."""
    with temporary_data_dir() as data_dir:
        async with Supervisor() as supervisor:
            server = await postgres.initialise(data_dir.postgres)
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            dsn = await postgres.ensure_database(server)
            await migrate(dsn)
            appended = await _append(dsn, min(count, APPENDED_MAX), data_dir.root)
            dsn = await postgres.ensure_database(server, SECOND)
            await migrate(dsn)
            timings = await _log(dsn, count, data_dir.root)
            await supervisor.stop_all()
    kept = all(each.is_kept for each in timings)
    if as_json:
        print(json.dumps({"append": appended, "timings": [asdict(each) for each in timings], "kept": kept}))
    else:
        _draw(count, appended, timings)
    return 0 if kept else 1


class ToldSealer(Sealer):
    """Tells the sizes of the checkpoints that it has put outside."""

    def __init__(self, target: ObjectStore, signer: NoteSigner, *, now: Callable[[], datetime]) -> None:
        super().__init__(target, signer, now=now)
        self.published: asyncio.Queue[int] = asyncio.Queue()

    async def publish(self, connection: Connection) -> Checkpoint | None:
        """As the product's."""
        found = await super().publish(connection)
        if found is not None:
            self.published.put_nowait(found.size)
        return found


async def _append(dsn: str, count: int, root: Path) -> dict[str, Any]:
    """The product's way, a commit a row, by several writers at once, while the product's sealer runs."""
    database = await Database.connect(dsn)
    connection = await asyncpg.connect(dsn)
    key = NoteSigner("trading.example/audit/append", Ed25519PrivateKey.generate())
    sealer = ToldSealer(DirectoryStore(root / "sealed"), key, now=utc_now)
    alerts = AuditAlerts(database, kills=False, now=utc_now)
    sealing = asyncio.create_task(AuditSealing(dsn, sealer, alerts, Metrics()).run())

    async def write(writer: int) -> None:
        for number in range(writer, count, WRITERS):
            entry = AuditEntry(
                occurred_at=utc_now(), correlation_id=f"sig-{writer}", component="Benchmark", actor="benchmark",
                decision="WRITTEN", input={"detail": "a row by itself", "number": number, "status": "NEW"},
            )  # fmt: skip
            async with database.transaction("benchmark.append") as held:
                await append(held, entry)

    began = time.monotonic()
    writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    lags: list[float] = []
    while not writing.done():
        oldest = await connection.fetchval("select min(occurred_at) from audit_unsealed")
        lags.append(0.0 if oldest is None else (utc_now() - oldest).total_seconds())
        await asyncio.sleep(LOOK_SECONDS)
    await writing
    seconds = time.monotonic() - began
    rows = await connection.fetchval("select count(*) from audit_log")
    async with asyncio.timeout(SEALED_WITHIN_SECONDS):
        while await sealer.published.get() < rows:
            pass
    last = time.monotonic() - began - seconds
    sealing.cancel()
    await asyncio.wait([sealing])
    await connection.close()
    await database.close()
    return {
        "rows": count, "writers": WRITERS, "seconds": round(seconds, 2), "rows_a_second": round(count / seconds),
        "leaf_lag_seconds_median": round(median(lags), 2), "leaf_lag_seconds_max": round(max(lags), 2),
        "last_row_under_a_checkpoint_seconds": round(last, 2),
    }  # fmt: skip


async def _log(dsn: str, count: int, root: Path) -> list[Timing]:
    signer = NoteSigner("trading.example/audit/benchmark", Ed25519PrivateKey.generate())
    outside, export = root / "outside", root / "export"
    export.mkdir()
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    began = datetime.now(UTC) - count * BETWEEN - timedelta(hours=1)
    print(f"making {count:,} sealed rows", file=sys.stderr)
    await fill(connection, outside, signer, count, began)
    key = VerifierKey.parse(signer.vkey)

    async def from_database() -> None:
        report, _ = await verify_database(connection, Folder(outside), key, now=datetime.now(UTC))
        _check(report, count)

    async def from_export() -> None:
        _check(await verify_export(files, Folder(outside), key), count)

    reading, checking = await _turns(count, ("database: read, sha256", lambda: _read_database(connection, count)),
                                     ("database: verify", from_database))  # fmt: skip
    print("writing the export", file=sys.stderr)
    for first, end in ranges(0, count):
        async for _ in write_file(connection, export, first, end):
            pass
    files = sorted(export.iterdir())
    await connection.close()
    floor, parsed, checked = await _turns(
        count,
        ("export: lines, sha256 (floor)", lambda: _read_export(files, parse=False)),
        ("export: read, sha256", lambda: _read_export(files, parse=True)),
        ("export: verify", from_export),
    )
    return [
        reading, _over(checking, reading, at_most=RATIO_MAX), floor, parsed,
        _over(checked, parsed, at_most=RATIO_MAX), _over(checked, floor, "export: verify (against the floor)"),
    ]  # fmt: skip


async def _turns(count: int, *kinds: tuple[str, Callable[[], Awaitable[None]]]) -> list[Timing]:
    found: dict[str, Timing] = {}
    for _ in range(TURNS):
        for what, work in kinds:
            began, cpu = time.monotonic(), time.process_time()
            await work()
            seconds = time.monotonic() - began
            timing = Timing(
                what, round(seconds, 3), round(time.process_time() - cpu, 3), round(count / seconds)
            )
            if what not in found or seconds < found[what].seconds:
                found[what] = timing
            print(f"  {what}: {seconds:.2f} s", file=sys.stderr)
    return list(found.values())


def _over(check: Timing, reading: Timing, what: str | None = None, *, at_most: float | None = None) -> Timing:
    ratio = round(check.seconds / reading.seconds, 2)
    return replace(check, what=what or check.what, times_reading=ratio, times_max=at_most)


def _check(report: Report, count: int) -> None:
    if not report.ok or report.rows != count or report.payloads != count:
        raise RuntimeError(f"a good log was not seen to be good: {report}")


async def _read_database(connection: asyncpg.Connection, count: int) -> None:
    """One sha256 over each row's texts and payload; the next batch is asked for meanwhile, as by the verifier."""

    async def ask(first: int) -> tuple[Sequence[asyncpg.Record], Sequence[asyncpg.Record]]:
        ids = (first + 1, min(first + BATCH_ROWS, count))
        return await connection.fetch(_SQL["rows_between"], *ids), await connection.fetch(
            _SQL["payloads_between"], *ids
        )

    read = 0
    following = asyncio.ensure_future(ask(0))
    for first in range(0, count, BATCH_ROWS):
        rows, payloads = await following
        if first + BATCH_ROWS < count:
            following = asyncio.ensure_future(ask(first + BATCH_ROWS))
            await asyncio.sleep(0)
        for row, (_, payload) in zip(rows, payloads, strict=True):
            sha256("".join((*row[TEXTS], payload)).encode()).digest()
        read += len(rows)
    if read != count:
        raise RuntimeError(f"{read} rows were read of {count}")


async def _read_export(files: list[Path], *, parse: bool) -> None:
    for lines in batches(files):
        for line in lines:
            if parse:
                json.loads(line)
            sha256(line).digest()


def _draw(count: int, appended: dict[str, Any], timings: list[Timing]) -> None:
    print(f"append: {appended['rows_a_second']:,} rows/s, a commit each, {appended['writers']} writers")
    print(
        f"sealing: a row waits {appended['leaf_lag_seconds_median']} s (median; at most"
        f" {appended['leaf_lag_seconds_max']} s) for its leaf; the last one was under a checkpoint"
        f" {appended['last_row_under_a_checkpoint_seconds']} s after its commit"
    )
    print(f"{count:,} sealed rows{'':<24} seconds   of them CPU     rows/s  times reading")
    for each in timings:
        ratio = "" if each.times_reading is None else f"{each.times_reading:.2f}"
        print(
            f"{each.what:<36} {each.seconds:>8.2f} {each.cpu_seconds:>13.2f} {each.rows_a_second:>10,} {ratio:>14}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.audit", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(main(chosen.rows, as_json=chosen.json)))
