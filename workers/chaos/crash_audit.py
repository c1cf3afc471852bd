"""Scenarios of the audit log: whoever dies while it is sealed, one history, and outside the database the same."""

import asyncio
import json
from pathlib import Path
from typing import ClassVar, Final

from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import StartOfOperations
from workers.chaos.crash_orders import PlaceAndFill
from workers.chaos.crash_play import END_SECONDS, WrongEnd

POLL_SECONDS: Final = 0.2


class AuditSealed(PlaceAndFill):
    """Rows become leaves, and a checkpoint outside the database."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit audit.sealed", "commit audit.checkpoint_signed", "commit audit.checkpoint_published",
        "call audit.put_leaves", "call audit.put_consistency", "call audit.put_checkpoint",
    )  # fmt: skip
    again_seconds = 15.0

    async def finish(self) -> None:
        await super().finish()
        await until_sealed(self.play.stage.data_dir.audit, self)


class AuditLed(StartOfOperations):
    """Operations start, and one of them leads the sealing."""

    covers = ("call audit.put_key", "commit audit.told", "commit audit.partitions")

    async def finish(self) -> None:
        await super().finish()
        await until_sealed(self.play.stage.data_dir.audit, self)


async def until_sealed(folder: Path, scenario: PlaceAndFill) -> None:
    """Wait until every row of now is under a checkpoint, and hold what is outside against the database.

    Raises:
        WrongEnd: it does not come, or something else stands there.
    """
    newest = await scenario.play.ask(sql.NEWEST_AUDIT_ID)
    try:
        async with asyncio.timeout(END_SECONDS):
            while not await scenario.play.ask(sql.CHECKPOINTED, newest):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise WrongEnd(f"{scenario.tag}: rows were never sealed under a checkpoint") from None
    for size, note in json.loads(await scenario.play.ask(sql.CHECKPOINTS)).items():
        file = folder / "checkpoints" / f"{int(size):020d}"
        if not file.exists() or file.read_text() != note:
            raise WrongEnd(f"{scenario.tag}: checkpoint {size} is not the one outside the database")
    if await scenario.play.ask(sql.LEAVES_WITH_HOLES):
        raise WrongEnd(f"{scenario.tag}: leaves are missing or doubled")
