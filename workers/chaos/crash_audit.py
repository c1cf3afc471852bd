"""Scenarios of the audit log: whoever dies while it is sealed, one history, and outside the database the same."""

import asyncio
import json
from datetime import UTC, datetime
from typing import ClassVar, Final

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import clear_alert, raise_alert
from workers.chaos import crash_sql as sql
from workers.chaos.crash_play import END_SECONDS, WrongEnd
from workers.chaos.crash_scenario import Scenario

COMPONENT: Final = "crash sweep"
OPERATIONS: Final = "operations"
POLL_SECONDS: Final = 0.2


class AuditSealed(Scenario):
    """Audit rows, here of an alert, become leaves, and a checkpoint outside the database."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit audit.sealed", "commit audit.checkpoint_signed", "commit audit.checkpoint_published",
        "call audit.put_leaves", "call audit.put_consistency", "call audit.put_checkpoint",
    )  # fmt: skip
    again_seconds: ClassVar[float | None] = 15.0

    async def provoke(self) -> None:
        subject = self.new_id()
        told = Alert(
            code=AlertCode.LATE_TRUTH, severity=Severity.MEDIUM, subject=subject, text=COMPONENT,
            correlation_id=subject,
        )  # fmt: skip
        async with self.play.pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, told, component=COMPONENT, now=datetime.now(UTC))

    async def finish(self) -> None:
        for subject in self.made:
            async with self.play.pool.acquire() as connection, connection.transaction():
                await clear_alert(
                    connection, AlertCode.LATE_TRUTH, subject, component=COMPONENT, now=datetime.now(UTC)
                )
        await self._until_sealed()

    async def _until_sealed(self) -> None:
        """Wait until every row of now is under a checkpoint, and hold what is outside against the database.

        Raises:
            WrongEnd: it does not come, or something else stands there.
        """
        newest = await self.play.ask(sql.NEWEST_AUDIT_ID)
        try:
            async with asyncio.timeout(END_SECONDS):
                while not await self.play.ask(sql.CHECKPOINTED, newest):
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise WrongEnd(f"{self.tag}: rows were never sealed under a checkpoint") from None
        folder = self.play.stage.data_dir.audit
        for size, note in json.loads(await self.play.ask(sql.CHECKPOINTS)).items():
            file = folder / "checkpoints" / f"{int(size):020d}"
            if not file.exists() or file.read_text() != note:
                raise WrongEnd(f"{self.tag}: checkpoint {size} is not the one outside the database")
        if await self.play.ask(sql.LEAVES_WITH_HOLES):
            raise WrongEnd(f"{self.tag}: leaves are missing or doubled")


class AuditLed(AuditSealed):
    """Operations start, and one of them leads the sealing."""

    covers = ("call audit.put_key", "commit audit.told", "commit audit.partitions")
    again_seconds = 40.0
    at_start = True

    async def provoke(self) -> None:
        if self.play.stage.is_up(OPERATIONS):  # Else it starts just now, after the last run's death.
            await self.play.kill(OPERATIONS)
        await super().provoke()
