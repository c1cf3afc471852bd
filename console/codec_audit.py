"""Who read payloads: an audit row before the answer, one for all who ask while another is being written."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from storage.events import append
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Database

COMPONENT: Final = "CodecServer"


@dataclass(frozen=True)
class Reading:
    """One request: who asked, and how many payloads are decrypted and encrypted for it."""

    who: str
    decoded: int
    encoded: int = 0


class PayloadReads:
    """Writes what is read. A page of the Web UI asks many times at once: they share rows."""

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._waiting: list[tuple[Reading, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, reading: Reading) -> None:
        """Return once the row that counts this request is committed.

        Raises:
            DATABASE_ERRORS: it is not, as far as is known.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((reading, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="record payload reads")
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                error: Exception | None = None
                try:
                    await self._commit([reading for reading, _ in together])
                except Exception as problem:  # noqa: BLE001 - whatever it is, each of them must hear of it
                    error = problem
                for _, done in together:
                    if done.done():  # Its asker went away.
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(error)
        finally:
            self._writing = None

    async def _commit(self, together: list[Reading]) -> None:
        now = datetime.now(UTC)
        async with self._database.transaction("console.payloads_read") as connection:
            for who in sorted({each.who for each in together}):
                asked = [each for each in together if each.who == who]
                counted = {
                    "requests": len(asked),
                    "decoded": sum(each.decoded for each in asked),
                    "encoded": sum(each.encoded for each in asked),
                }
                detail = f"{counted['decoded']} payloads of Temporal shown in {len(asked)} requests"
                entry = access_entry("PAYLOADS_READ", COMPONENT, detail, counted, now, actor=who)
                await append(connection, entry)
