"""Pushes of the broker: however many come, one catch-up in a while, in one of all operations processes."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from broker.errors import NetworkError
from observability.metrics import Metrics
from storage.database import Database
from storage.wake import wake
from workers import stream_watch
from workers.clients import utc_now
from workers.stream_watch import WAKE_PAUSE, StreamWatch


class Passes:
    """Stands for the catch-up: counts, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.fails = 0
        self.meanwhile: Any = None

    async def run(self, *, orders: bool) -> None:
        assert not orders, "a list of all open orders costs a request for each page"
        self.begun += 1
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.begun <= self.fails:
            raise NetworkError("the broker is away")


class Pushing:
    """A gateway that takes signed pushes, and a clock that is moved by hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = utc_now()
        self.number = 0

    def at(self) -> datetime:
        return self.now

    async def push(self) -> None:
        self.number += 1
        async with self.database.transaction("test") as connection:
            taken = await wake(
                connection, self.number.to_bytes(32), signed_at=self.now, now=self.now, forget_before=self.now
            )
        assert taken


@pytest.fixture
async def pushing(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    opened = await Database.connect(database)
    gateway = Pushing(opened)
    monkeypatch.setattr(stream_watch, "utc_now", gateway.at)
    yield gateway
    await opened.close()


async def test_a_flood_of_pushes_is_one_catch_up_in_five_seconds(pushing: Pushing) -> None:
    """In 60 s with ten pushes a second, two processes make at most 13 passes; the last push is answered too."""
    passes = Passes()
    watches = [StreamWatch(pushing.database, cast(Any, passes), Metrics()) for _ in range(2)]
    for _ in range(60):
        for _ in range(10):
            await pushing.push()
        await asyncio.gather(*(watch.answer_wakes() for watch in watches))
        pushing.now += timedelta(seconds=1)
    assert 11 <= passes.begun <= 13
    pushing.now += WAKE_PAUSE
    await watches[0].answer_wakes()
    for _ in range(20):
        before = passes.begun
        pushing.now += WAKE_PAUSE
        await asyncio.gather(*(watch.answer_wakes() for watch in watches))
        assert passes.begun == before, "nothing was pushed since"


async def test_a_push_during_a_pass_is_not_answered_by_it_and_a_pass_that_fails_is_made_again(
    pushing: Pushing,
) -> None:
    passes = Passes()
    passes.fails = 1
    watch = StreamWatch(pushing.database, cast(Any, passes), Metrics())
    await watch.answer_wakes()
    assert passes.begun == 0
    await pushing.push()
    with pytest.raises(NetworkError):
        await watch.answer_wakes()
    await watch.answer_wakes()
    assert passes.begun == 1, "not at once"
    passes.meanwhile = pushing.push
    pushing.now += WAKE_PAUSE
    await watch.answer_wakes()
    passes.meanwhile = None
    pushing.now += WAKE_PAUSE
    await watch.answer_wakes()
    assert passes.begun == 3
    pushing.now += WAKE_PAUSE
    await watch.answer_wakes()
    assert passes.begun == 3
