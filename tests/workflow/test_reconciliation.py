"""Read, read again two seconds later, overwrite what stood twice; give up without harm."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from temporalio import workflow
from temporalio.worker import Worker

from schemas import wire
from schemas.reconciliation import Outcome
from schemas.wire import Queue
from tests.workflow.books_script import END, OVERWRITE, READ, ScriptedBooks, reconciled, running
from tests.workflow.running import WITHIN_SECONDS, events
from tests.workflow.test_steps import places
from workflows.policies import READ_AGAIN, READINGS_MAX

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Unique = Callable[[str], str]
PAUSE = timedelta(seconds=2)


@pytest.mark.parametrize(
    ("reads", "overwrites", "outcome", "calls"),
    [
        ([], [], Outcome.CLEAN, [READ]),
        (["DIFFERS"], [], Outcome.CLEAN, [READ, READ]),
        (["DIFFERS", "CONFIRMED"], [], Outcome.DRIFT, [READ, READ, OVERWRITE]),
        (["DIFFERS", "DIFFERS", "CONFIRMED"], [], Outcome.DRIFT, [READ, READ, READ, OVERWRITE]),
        (["DIFFERS", "CONFIRMED"], ["STALE"], Outcome.CLEAN, [READ, READ, OVERWRITE, READ]),
        (["DIFFERS"] * READINGS_MAX, [], Outcome.UNSETTLED, [*[READ] * READINGS_MAX, END]),
        (["!!ERR_FORBIDDEN"], [], Outcome.FAILED, [READ, END]),
        (["!ERR_NETWORK"] * READ_AGAIN.maximum_attempts, [], Outcome.FAILED,
         [*[READ] * READ_AGAIN.maximum_attempts, END]),
        (["!ERR_NETWORK"] * 3, [], Outcome.CLEAN, [READ] * 4),
    ],
)  # fmt: skip
async def test_its_ways(
    time_skipping_env: "TimeSkipper",
    unique: Unique,
    reads: list[str],
    overwrites: list[str],
    outcome: Outcome,
    calls: list[str],
) -> None:
    books = ScriptedBooks()
    books.script(READ, *reads)
    books.script(OVERWRITE, *overwrites)
    report = await reconciled(time_skipping_env.client, books, unique("trading"), unique("recon"))
    assert report.outcome is outcome
    assert books.calls == calls
    if outcome is Outcome.FAILED:
        assert report.detail.startswith("ERR_"), "the reason is told"
    elif not reads or not reads[0].startswith("!"):
        assert all(later - earlier >= PAUSE for earlier, later in pairwise(books.read_at))


@pytest.mark.parametrize("isolated", [False, True], ids=["compact", "isolated"])
async def test_its_steps_run_where_the_broker_may_be_read(
    time_skipping_env: "TimeSkipper", unique: Unique, *, isolated: bool
) -> None:
    books = ScriptedBooks()
    books.script(READ, "DIFFERS", "CONFIRMED")
    queue = Queue.OPERATIONS.value if isolated else unique("trading")
    async with running(time_skipping_env.client, books, queue, unique("recon")) as run:
        await asyncio.wait_for(run.result(), WITHIN_SECONDS)
    assert places(await events(run)) == {READ: queue, OVERWRITE: queue}


@workflow.defn(name="switch-that-listens", sandboxed=False)
class Listener:
    """Notes the activation that it hears."""

    @workflow.run
    async def run(self) -> None:
        self._heard = False
        await workflow.wait_condition(lambda: self._heard)

    @workflow.signal(name=wire.SIGNAL_KILL)
    def hear(self, _: object) -> None:
        self._heard = True


@pytest.mark.parametrize("listens", [True, False])
async def test_a_kill_is_passed_on_to_the_switch_and_a_dead_switch_does_not_fail_it(
    time_skipping_env: "TimeSkipper", unique: Unique, *, listens: bool
) -> None:
    client, queue = time_skipping_env.client, unique("trading")
    books = ScriptedBooks()
    books.script(READ, "DIFFERS", "CONFIRMED")
    books.script(OVERWRITE, "KILLS")
    async with Worker(client, task_queue=f"{queue}-switch", workflows=[Listener]):
        if listens:
            switch = await client.start_workflow(
                Listener.run, id=wire.ID_KILL_SWITCH, task_queue=f"{queue}-switch"
            )
        report = await reconciled(client, books, queue, unique("recon"))
        assert report.killed
        if listens:
            await asyncio.wait_for(switch.result(), WITHIN_SECONDS)
