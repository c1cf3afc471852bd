"""A risk worker's process for the test of joint limits: assesses the signals named on its standard input.

    assess_script.py DSN

All activities start at once when a line ``go`` arrives; prints how many were approved.
"""

import asyncio
import sys
from datetime import UTC, datetime

from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.risk import AssessmentKind
from schemas.runs import RiskQuestion
from storage.database import Database
from tests.postgres.books import market_clock
from tests.servers.approvals import SIGNER


async def main(dsn: str) -> None:
    signal_ids = sys.stdin.readline().split()
    database = await Database.connect(dsn)
    async with market_clock() as clock:
        risk = RiskActivities(database, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        now = datetime.now(UTC)
        answers = await asyncio.gather(
            *(risk.assess_risk(RiskQuestion(signal_id=each, as_of=now)) for each in signal_ids)
        )
    await database.close()
    print(sum(answer.kind is AssessmentKind.APPROVED for answer in answers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
