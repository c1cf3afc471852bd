"""A risk worker's process in a run of joint limits: the activity itself, called for many signals at once.

Run as a program it reads a line of signal ids, calls ``assess_risk`` for all of them at once, prints what each came
to as one JSON object a line, and waits for the next. Ends with its input, or with whoever started it.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.runs import RiskQuestion
from security.approvals import ApprovalSigner
from storage.database import Database
from workers.chaos.victims import StageError
from workers.leash import die_with_parent
from workers.stored_clock import RowClock, StoredClock

DSN_VARIABLE: Final = "TRADING_DATABASE_URL"
PROCESSES: Final = 4


class Worker:
    """One of the four processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """The next line it prints; raises StageError where it has ended."""
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        if not line:
            raise StageError("a risk worker ended; see what it printed above")
        return line

    async def assess(self, ids: Sequence[str]) -> dict[str, str]:
        """What each of the signals, assessed at once, came to."""
        assert self._process.stdin is not None
        self._process.stdin.write((" ".join(ids) + "\n").encode())
        found: dict[str, str] = json.loads(await self.line())
        return found


@asynccontextmanager
async def worker_processes(dsn: str) -> AsyncIterator[list[Worker]]:
    """Four processes that are ready; they end with their input, at the latest with us."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers.chaos.joint_worker", env={**os.environ, DSN_VARIABLE: dsn},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    try:
        workers = [Worker(each) for each in processes]
        for worker in workers:
            await worker.line()
        yield workers
    finally:
        for each in processes:
            assert each.stdin is not None
            each.stdin.close()
        await asyncio.gather(*(each.wait() for each in processes))


async def _main() -> None:
    database = await Database.connect(os.environ[DSN_VARIABLE])
    reader = StoredClock(database, now=_now)
    async with RowClock(reader) as clock:
        signer, _ = ApprovalSigner.generate()  # Nothing of this account is ever sent.
        risk = RiskActivities(database, clock, Metrics(), now=_now, signer=signer)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            answers = await asyncio.gather(*(_assess(risk, each) for each in line.split()))
            print(json.dumps(dict(answers)), flush=True)
    await database.close()


async def _assess(risk: RiskActivities, signal_id: str) -> tuple[str, str]:
    """The kind of answer, or the error: the run asks again, as Temporal would."""
    try:
        answer = await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=_now()))
    except Exception as error:  # noqa: BLE001 - told, not hidden
        return signal_id, f"{type(error).__name__}: {error}"
    return signal_id, answer.kind.value


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(_main())
