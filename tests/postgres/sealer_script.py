"""A sealer's process for the tests that kill it: ``sealer_script.py DSN FOLDER``. Says how many rows it sealed."""

import asyncio
import sys
from pathlib import Path

import pytest

from observability.metrics import Metrics
from storage.database import Database
from tests.postgres.sealed import sealer_of
from workers import audit_sealing
from workers.audit_alerts import AuditAlerts
from workers.audit_sealing import AuditSealing
from workers.clients import utc_now


class ToldMetrics(Metrics):
    """Says on standard output how many it sealed."""

    def audit_sealed(self, count: int) -> None:
        super().audit_sealed(count)
        if count:
            print(count, flush=True)


async def main(dsn: str, folder: str) -> None:
    """Until it is killed."""
    database = await Database.connect(dsn)
    alerts = AuditAlerts(database, kills=True, now=utc_now)
    await AuditSealing(dsn, sealer_of(Path(folder)), alerts, ToldMetrics()).run()


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(audit_sealing, "TICK_SECONDS", 0.02)
        quick.setattr(audit_sealing, "CHECKPOINT_SECONDS", 0.1)
        asyncio.run(main(*sys.argv[1:]))
