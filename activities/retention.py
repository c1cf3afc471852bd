"""The steps of retention: one file to cold storage, one file back, one month for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from temporalio import activity

from schemas import wire
from schemas.archives import DropAnswer, DropOrder, MoveAnswer, MoveOrder, RestoreAnswer, RestoreOrder

if TYPE_CHECKING:
    from audit.cold.dropper import Dropper
    from audit.cold.mover import Mover
    from audit.cold.restorer import Restorer

BEAT_SECONDS: Final = 10.0


class RetentionActivities:
    """Only operations have them: the store's keys, and the rights to remove what is stored."""

    def __init__(self, mover: "Mover", restorer: "Restorer", dropper: "Dropper") -> None:
        self._mover = mover
        self._restorer = restorer
        self._dropper = dropper

    @activity.defn(name=wire.ACTIVITY_MOVE_TO_COLD)
    async def move_to_cold_storage(self, order: MoveOrder) -> MoveAnswer:
        """Move one file of that kind to its end: written, read back, checked, removed here.

        Idempotent: its record says how far it is, the store takes the same file twice, and rows are removed by
        the record of a checked copy once.

        Raises:
            StoreUnavailable: try again.
        """
        async with _beating():
            return await self._mover.move(order.kind)

    @activity.defn(name=wire.ACTIVITY_RESTORE)
    async def restore_from_cold_storage(self, order: RestoreOrder) -> RestoreAnswer:
        """Bring back the payloads of the next file with rows of that time.

        Idempotent: what is here stays.

        Raises:
            StoreUnavailable: try again.
        """
        async with _beating():
            return await self._restorer.restore(order)

    @activity.defn(name=wire.ACTIVITY_DROP_AUDIT)
    async def drop_audit_partition(self, order: DropOrder) -> DropAnswer:
        """Drop a month if the grant is genuine and the database finds that it may go.

        Idempotent: a grant is good once, and its repeat is answered as the first time.
        """
        return await self._dropper.drop(order.grant)


@asynccontextmanager
async def _beating() -> AsyncIterator[None]:
    """A slow store is no dead worker."""

    async def beat() -> None:
        while True:
            activity.heartbeat("the store is asked")
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
