"""The writers of a delivery run: many at once, whose transactions commit in another order than they were begun."""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import asyncpg

from schemas.audit import AuditEntry
from schemas.events import ExecutionStatus
from schemas.wire import Topic, event_id
from storage.events import Queued, append
from workers.chaos.delivery_judge import Written

WRITERS: Final = 8
KEYS: Final = 25
"""Orders of each writer."""
KEYS_AT_ONCE_MAX: Final = 3
EVENTS_OF_A_KEY_MAX: Final = 4
LEFT_OUT_ONE_IN: Final = 20
"""Transactions that are rolled back."""
HELD_OPEN_SECONDS_MAX: Final = 0.02
LOOK_SECONDS: Final = 0.005


class Writers:
    """Write ``total`` events, never more than ``allowed``."""

    def __init__(self, dsn: str, total: int, seed: int) -> None:
        self._dsn = dsn
        self._total = total
        self._seed = seed
        self._begun = 0
        self.allowed = 0
        self.written: dict[str, Written] = {}
        self.rolled_back = 0

    async def run(self) -> None:
        """Until all are committed."""
        async with asyncio.TaskGroup() as writers:
            for number in range(WRITERS):
                writers.create_task(self._write(number))

    async def _write(self, writer: int) -> None:
        dice = random.Random(self._seed * WRITERS + writer)  # noqa: S311 - a run that can be repeated, no secret
        numbers: Counter[str] = Counter()
        connection = await asyncpg.connect(self._dsn)
        try:
            while self._begun < self._total:
                if self._begun >= self.allowed:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                keys = dice.sample(
                    [f"o{writer}.{at}" for at in range(KEYS)], dice.randint(1, KEYS_AT_ONCE_MAX)
                )
                wanted = [(key, dice.randint(1, EVENTS_OF_A_KEY_MAX)) for key in keys]
                await self._transaction(connection, dice, numbers, wanted)
        finally:
            await connection.close()

    async def _transaction(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        dice: random.Random,
        numbers: "Counter[str]",
        wanted: list[tuple[str, int]],
    ) -> None:
        room = self._total - self._begun
        places = [(key, numbers[key] + step) for key, count in wanted for step in range(1, count + 1)][:room]
        self._begun += len(places)
        transaction = connection.transaction()
        await transaction.start()
        await append(connection, _entry(places), *(_event(key, number) for key, number in places))
        await asyncio.sleep(dice.uniform(0, HELD_OPEN_SECONDS_MAX))
        if dice.randrange(LEFT_OUT_ONE_IN) == 0:
            await transaction.rollback()
            self._begun -= len(places)
            self.rolled_back += 1
            return
        await transaction.commit()
        now = time.monotonic_ns()
        for key, number in places:
            numbers[key] = number
            self.written[event_id(Topic.EXECUTION_STATUS, key, number)] = Written(key, number, now)


def _event(key: str, number: int) -> Queued:
    event = ExecutionStatus.model_validate(
        {
            "event_id": event_id(Topic.EXECUTION_STATUS, key, number), "timestamp": datetime.now(UTC),
            "signal_id": key, "internal_order_id": key, "client_order_id": None, "broker_order_id": None,
            "ticker": "AAPL", "status": "ACKNOWLEDGED", "filled_quantity": "0", "average_price": None,
            "row_version": number,
        }
    )  # fmt: skip
    return Queued(Topic.EXECUTION_STATUS, key, event)


def _entry(places: list[tuple[str, int]]) -> AuditEntry:
    return AuditEntry(
        occurred_at=datetime.now(UTC), correlation_id=places[0][0], component="delivery run", actor="writer",
        decision="WRITTEN", input={"events": [list(each) for each in places]},
    )  # fmt: skip
