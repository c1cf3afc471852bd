"""The kill switch goes on as a fresh run: when the server asks for it, here after 40 events, and long before."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from schemas import wire
from schemas.kill import KillCarried, KillCommand, KillOrder, KillScope
from schemas.wire import Queue
from tests.workflow.conftest import SUGGESTED_AFTER_EVENTS
from tests.workflow.kill_script import (
    ScriptedSwitch,
    Switch,
    engage,
    release,
    running,
    said,
    tells,
    until,
    worker,
)
from tests.workflow.running import POLL_SECONDS, WITHIN_SECONDS, events
from workflows import policies
from workflows.kill_switch import CARRIED_MAX, KillSwitchWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

LONGEST_ACTIVATION_EVENTS = 40
Unique = Callable[[str], str]


async def test_it_keeps_the_state_and_loses_no_signal(brief_env: "TimeSkipper", unique: Unique) -> None:
    script = ScriptedSwitch()
    async with running(brief_env.client, script, unique("kill-switch"), cached=1) as switch:
        first = (await switch.describe()).run_id
        signals = (switch.signal(wire.SIGNAL_KILL, said(reason=f"no. {each}")) for each in range(30))
        await asyncio.gather(*signals)
        await until(script, lambda s: len(s.commands) == 30 and s.state.sweep_confirmed, switch)
        assert {command.reason for command in script.commands} == {f"no. {each}" for each in range(30)}
        assert len(set(script.request_ids)) == 30
        async with asyncio.timeout(WITHIN_SECONDS):
            while (await switch.describe()).run_id == first:
                await asyncio.sleep(POLL_SECONDS)
        await tells(script, switch)
        await switch.signal(wire.SIGNAL_KILL)
        await until(script, lambda s: len(s.commands) == 31, switch)


async def test_its_history_stays_short_so_that_a_stop_is_quick(
    time_skipping_env: "TimeSkipper", unique: Unique
) -> None:
    """The server would ask after 4,096 events; the worker caches nothing: it replays a whole run each time."""
    script = ScriptedSwitch()
    async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
        first = (await switch.describe()).run_id
        for number in range(1, 41):
            await switch.signal(wire.SIGNAL_KILL, said(reason=f"no. {number}"))
            await until(script, lambda s, number=number: len(s.commands) == number, switch)  # type: ignore[misc]
            await until(script, lambda s, number=number: s.state.sweep_confirmed, switch)  # type: ignore[misc]
        assert (await switch.describe()).run_id != first
        assert len(await events(switch)) < policies.KILL_HISTORY_EVENTS + LONGEST_ACTIVATION_EVENTS
        assert len(set(script.request_ids)) == 40


async def test_a_sweep_that_is_wanted_there_is_made(brief_env: "TimeSkipper", unique: Unique) -> None:
    """Signals that come during a sweep make the history long; the sweep they ask for still follows."""
    script = ScriptedSwitch()
    async with running(brief_env.client, script, unique("kill-switch"), cached=1) as switch:
        async with script.held(wire.ACTIVITY_KILL_SWEEP) as sweep:
            await switch.signal(wire.SIGNAL_KILL)
            await sweep.asked.wait()
            for number in range(2, 8):
                await switch.signal(wire.SIGNAL_KILL)
                await until(script, lambda s, number=number: len(s.commands) == number, switch)  # type: ignore[misc]
            assert len(await events(switch)) > SUGGESTED_AFTER_EVENTS
        await until(script, lambda s: s.sweeps == 2, switch)


@pytest.mark.filterwarnings("default")
async def test_a_signal_whose_write_is_on_its_way_is_not_cut_off(
    brief_env: "TimeSkipper", unique: Unique
) -> None:
    """How: the sweep of a run that is long ends while a signal's write of the row is held; the run waits for it.

    The SDK warns of a handler that a fresh run cuts off. As an error the warning would hide that it was.
    """
    script = ScriptedSwitch()
    async with running(brief_env.client, script, unique("kill-switch"), cached=1) as switch:
        first = (await switch.describe()).run_id
        async with script.held(wire.ACTIVITY_KILL_SWEEP) as sweep:
            await switch.signal(wire.SIGNAL_KILL)
            await sweep.asked.wait()
            for number in range(2, 8):
                await switch.signal(wire.SIGNAL_KILL)
                await until(script, lambda s, number=number: len(s.commands) == number, switch)  # type: ignore[misc]
            async with script.held(wire.ACTIVITY_KILL_ENGAGE) as engaging:
                await switch.signal(wire.SIGNAL_KILL, said(reason="late"))
                await asyncio.wait_for(engaging.asked.wait(), WITHIN_SECONDS)
                sweep.opened.set()
                await until(script, lambda s: s.calls.count("sweep answers") == 1, switch)
                old_run = brief_env.client.get_workflow_handle(switch.id, run_id=first)
                assert (await old_run.describe()).status is WorkflowExecutionStatus.RUNNING
        await until(script, lambda s: s.commands[-1].reason == "late" and s.sweeps == 2, switch)
        assert (await switch.describe()).run_id != first


async def long_with_a_note_held(script: ScriptedSwitch, switch: Switch) -> int:
    """Refused releases alone make the run long; the first one's note is held by the caller. How many."""
    sent = 1
    while len(await events(switch)) <= SUGGESTED_AFTER_EVENTS:
        await switch.signal(wire.SIGNAL_RELEASE)
        await until(script, lambda s: wire.ACTIVITY_KILL_NOTE in s.calls, switch)
        sent += 1
    await switch.signal(wire.SIGNAL_RELEASE)
    return sent


@pytest.mark.parametrize("engaged", [True, False])
async def test_a_note_that_does_not_end_keeps_no_kill_waiting_and_is_not_lost(
    brief_env: "TimeSkipper", unique: Unique, engaged: bool
) -> None:
    script = ScriptedSwitch()
    async with running(brief_env.client, script, unique("kill-switch"), cached=1) as switch:
        if engaged:
            await engage(script, switch)
        first = (await switch.describe()).run_id
        async with script.held(wire.ACTIVITY_KILL_NOTE) as note:
            sent = await long_with_a_note_held(script, switch)
            before = script.sweeps
            for reason in ("one", "two"):
                await switch.signal(wire.SIGNAL_KILL, said(reason=reason))
            await until(
                script,
                lambda s: {"one", "two"} <= {c.reason for c in s.commands} and s.sweeps > before,
                switch,
            )
            await until(script, lambda s: s.state.sweep_confirmed, switch)
            assert (await switch.describe()).run_id != first
            assert not note.opened.is_set()
            await until(script, lambda s: len(s.notes) >= sent, switch)


async def test_a_release_between_two_runs_is_refused_and_noted(
    brief_env: "TimeSkipper", unique: Unique
) -> None:
    script = ScriptedSwitch()
    async with running(brief_env.client, script, unique("kill-switch"), cached=1) as switch:
        await engage(script, switch)
        async with script.held(wire.ACTIVITY_KILL_NOTE):
            await long_with_a_note_held(script, switch)
            with pytest.raises(WorkflowUpdateFailedError):
                await release(switch, epoch=1)
            assert wire.ACTIVITY_KILL_RELEASE not in script.calls
        await until(script, lambda s: any("between two runs" in note.detail for note in s.notes), switch)
        assert (await release(switch, epoch=1)).released


def order(number: int, scope: KillScope = KillScope.ALL) -> KillOrder:
    return KillOrder(
        command=KillCommand(reason=f"no. {number}", scope=scope),
        as_of=datetime(2026, 11, 24, tzinfo=UTC),
        request_id=str(number),
    )


async def test_a_run_that_begins_with_many_kills_sweeps_before_it_ends(
    brief_env: "TimeSkipper", unique: Unique
) -> None:
    script = ScriptedSwitch()
    async with worker(brief_env.client, script, cached=1):
        carried = KillCarried(orders=tuple(order(each) for each in range(12)))
        switch = await brief_env.client.start_workflow(
            KillSwitchWorkflow.run, carried, id=unique("kill-switch"), task_queue=Queue.KILL_SWITCH.value
        )
        first = brief_env.client.get_workflow_handle(switch.id, run_id=switch.first_execution_run_id)
        async with script.held(wire.ACTIVITY_KILL_SWEEP) as sweep:
            await until(script, lambda s: len(s.commands) == 12, switch)
            assert sweep.asked.is_set()
            assert (await first.describe()).status is WorkflowExecutionStatus.RUNNING
        await until(script, lambda s: s.state.sweep_confirmed, switch)
        await switch.terminate("end of test")


def test_of_too_many_kills_the_first_stay_and_the_widest_scope() -> None:
    switch = KillSwitchWorkflow()
    switch._kills_first = True
    for number in range(CARRIED_MAX + 50):
        switch._leave(order(number, KillScope.RISK_ADDING))
    switch._leave(order(1000))
    switch._leave(order(1001))
    assert len(switch._left) == CARRIED_MAX
    assert switch._left[0].request_id == "0"
    assert [each.request_id for each in switch._left if each.command.scope is KillScope.ALL] == ["1000"]
