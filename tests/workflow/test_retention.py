"""File after file until nothing is due; one kind that cannot go on does not keep the other."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from schemas.archives import ArchiveKind, RestoreReport, RetentionReport
from schemas.wire import Queue
from tests.workflow.cold_script import DROP, DROPPING, MOVE, RESTORATION, RESTORE, ScriptedStore, running
from tests.workflow.running import WITHIN_SECONDS, events
from tests.workflow.test_steps import places
from workflows import policies

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Unique = Callable[[str], str]
AUDIT, EVENTS = ArchiveKind


@pytest.mark.parametrize(
    ("words", "kinds", "files", "problems"),
    [
        ([], [AUDIT] * 3 + [EVENTS] * 3, 4, 0),
        (["", "WRONG"], [AUDIT] * 2 + [EVENTS] * 3, 3, 1),
        (["!STORE"] * 2, [AUDIT] * 5 + [EVENTS] * 3, 4, 0),
        (["!STORE"] * 10, [AUDIT] * 10 + [EVENTS] * 3, 2, 1),
        (["!!GONE", "!!GONE"], [AUDIT, EVENTS], 0, 2),
    ],
)
async def test_its_ways(
    time_skipping_env: "TimeSkipper",
    unique: Unique,
    words: list[str],
    kinds: list[ArchiveKind],
    files: int,
    problems: int,
) -> None:
    store = ScriptedStore()
    store.script(MOVE, *words)
    async with running(time_skipping_env.client, store, unique("trading"), unique("retention")) as run:
        report = RetentionReport.model_validate(await asyncio.wait_for(run.result(), WITHIN_SECONDS))
    assert store.kinds == kinds
    assert (report.files, len(report.problems)) == (files, problems)


async def test_a_long_backlog_goes_on_in_another_run(
    time_skipping_env: "TimeSkipper", unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "FILES_IN_RUN_MAX", 3)
    store, restored = ScriptedStore(files=4), ScriptedStore(files=5)
    restored.script(RESTORE, "", "WRONG")
    client = time_skipping_env.client
    async with running(client, store, unique("trading"), unique("retention")) as run:
        report = RetentionReport.model_validate(await asyncio.wait_for(run.result(), WITHIN_SECONDS))
    assert report.files == 8
    assert store.left == {AUDIT: 0, EVENTS: 0}
    async with running(client, restored, unique("trading"), unique("restore"), RESTORATION) as run:
        back = RestoreReport.model_validate(await asyncio.wait_for(run.result(), WITHIN_SECONDS))
    assert restored.afters == [-1, 0, 10, 20, 30, 40]
    assert back == RestoreReport(files=5, rows=50, refused=("is wrong",))


@pytest.mark.parametrize("isolated", [False, True], ids=["compact", "isolated"])
async def test_its_steps_run_where_the_store_is(
    time_skipping_env: "TimeSkipper", unique: Unique, *, isolated: bool
) -> None:
    queue = Queue.OPERATIONS.value if isolated else unique("trading")
    for what, step in ((None, MOVE), (RESTORATION, RESTORE), (DROPPING, DROP)):
        given = {} if what is None else {"what": what}
        async with running(
            time_skipping_env.client, ScriptedStore(), queue, unique("retention"), **given
        ) as run:
            await asyncio.wait_for(run.result(), WITHIN_SECONDS)
        assert places(await events(run)) == {step: queue}
