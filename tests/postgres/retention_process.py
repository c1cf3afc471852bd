"""Retention in processes that can be killed: ``python -m tests.postgres.retention_process DSN STORE KEY_FILE``.

Each line of standard input is a job, the time that it is, and the crash point that it is to die at, or nothing,
with commas between. It runs in a child of its own; the answer is the signal that the child died of, or ``done``.
"""

import asyncio
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

from audit.cold.dropper import Dropper
from audit.cold.mover import Mover, Retention
from audit.cold.restorer import Restorer
from audit.store.directory import DirectoryStore
from observability import crash_points
from schemas.archives import ArchiveKind, RestoreOrder
from security.grants import GrantRefused, make_drop_grant, verify_grant
from storage.database import Database

ACCOUNT = "paper-1"


async def work(job: str, at: datetime, dsn: str, folder: Path, key_file: Path) -> None:
    """``audit`` and ``events`` move, ``restore`` brings back, ``drop:PARTITION`` drops."""

    def now() -> datetime:
        return at

    database, store = await Database.connect(dsn), DirectoryStore(folder)
    if job in tuple(ArchiveKind):
        mover = Mover(database, store, Retention(rows_max=2), now=now)
        while (await mover.move(ArchiveKind(job))).moved:
            pass
    elif job == "restore":
        restorer, after = Restorer(database, store, now=now), -1
        since = at - timedelta(days=3650)
        while True:
            order = RestoreOrder(since=since, until=at, person="ana", after=after, as_of=at)
            answer = await restorer.restore(order)
            if answer.first is None:
                break
            after = answer.first
    else:
        grant = make_drop_grant(
            key_file, account=ACCOUNT, partition=job.partition(":")[2], reason="old", now=at
        )
        dropper = Dropper(database, now=now, verify=verify_grant, refused=GrantRefused)
        await dropper.drop(grant)
    await database.close()


def main(dsn: str, folder: Path, key_file: Path) -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        job, at, point = line.strip().split(",")
        if point:
            crash_points.order(Path(os.environ[crash_points.VARIABLE]), point)
        pid = os.fork()
        if pid == 0:
            asyncio.run(work(job, datetime.fromisoformat(at), dsn, folder, key_file))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print("done" if code == 0 else signal.Signals(-code).name if code < 0 else f"exit {code}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
