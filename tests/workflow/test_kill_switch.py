"""The kill switch's workflow: whatever arrives engages it, and nothing but a grant releases it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue

from schemas import wire
from schemas.kill import KillScope, KillState
from tests.workflow.kill_script import (
    ScriptedSwitch,
    engage,
    grant,
    raw,
    release,
    running,
    said,
    start,
    tells,
    until,
    worker,
)
from tests.workflow.running import count, events
from workflows.kill_switch import KillSwitchWorkflow
from workflows.kill_words import REASON_MAX_CHARACTERS

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Unique = Callable[[str], str]


DEFAULT = "no reason given"
HUGE = "x" * 100_000
SHAPES: dict[str, tuple[list[RawValue], str]] = {
    "good": ([said(reason="drawdown", triggered_by="desk")], "drawdown"),
    "no payload": ([], DEFAULT),
    "null": ([raw(b"", "binary/null")], DEFAULT),
    "JSON null": ([raw(b"null")], "null"),
    "empty text": ([raw(b'""')], DEFAULT),
    "empty object": ([raw(b"{}")], "{}"),
    "empty payload": ([raw(b"")], DEFAULT),
    "blanks": ([raw(b"  \n ")], DEFAULT),
    "bare text": ([raw(b'"stop now"')], "stop now"),
    "half a JSON": ([raw(b'{"reason": "x"')], '{"reason": "x'),
    "protobuf": ([raw(b"\x0a\x04stop\x12\x00", "binary/protobuf")], "stop"),
    "bytes that are no text": ([raw(b"\xff\xfe\x00\x80", "binary/plain")], "\ufffd\ufffd \ufffd"),
    "100 kB": ([raw(HUGE.encode())], HUGE[:REASON_MAX_CHARACTERS]),
    "100 kB in a field": ([said(reason=HUGE)], HUGE[:REASON_MAX_CHARACTERS]),
    "nested": ([said(reason={"why": ["deep", {"er": 1}]})], '{"reason": {"why": ["deep", {"er": 1}]}}'),
    "nested too deep to read": ([raw(b"[" * 50_000)], "[" * REASON_MAX_CHARACTERS),
    "a number too long to read": ([raw(b"9" * 50_000)], "9" * REASON_MAX_CHARACTERS),
    "wrong types": ([said(reason=7, triggered_by=[], scope={})], '{"reason": 7, "triggered_by": [], "scope": {}}'),
    "half a surrogate pair": ([raw(b'{"reason": "a\\ud800b"}')], "a b"),
    "a character with code zero": ([raw(b'{"reason": "a\\u0000b"}')], "a b"),
    "two arguments": ([said(reason="first"), said(reason="second")], "first"),
}  # fmt: skip


class TestEverySignalEngages:
    @pytest.mark.parametrize("shape", ["good", "no payload", "null"])
    async def test_on_an_untouched_switch(
        self, time_skipping_env: "TimeSkipper", unique: Unique, shape: str
    ) -> None:
        script, (payloads, reason) = ScriptedSwitch(), SHAPES[shape]
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await switch.signal(wire.SIGNAL_KILL, args=payloads)
            await until(script, lambda s: s.state.engaged and s.state.sweep_confirmed, switch)
            assert script.state.reason == reason
            await tells(script, switch)

    async def test_whatever_its_shape(self, time_skipping_env: "TimeSkipper", unique: Unique) -> None:
        """One after the other on one switch: what any of them wedged would reach none of the rest."""
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch"), cached=1) as switch:
            for payloads, _ in SHAPES.values():
                await switch.signal(wire.SIGNAL_KILL, args=payloads)
            await until(script, lambda s: len(s.commands) == len(SHAPES), switch)
            assert count(await events(switch), EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 0
        reasons = {shape: command.reason for shape, command in zip(SHAPES, script.commands, strict=True)}
        assert reasons == {shape: reason for shape, (_, reason) in SHAPES.items()}
        assert {(command.scope, command.misspelt_name) for command in script.commands} == {
            (KillScope.ALL, None)
        }

    async def test_whatever_its_name(self, time_skipping_env: "TimeSkipper", unique: Unique) -> None:
        script = ScriptedSwitch()
        names = [
            "actvate",
            "__temporal_kill",
            "kill",
            "Activate",
            "RELEASE",
            "release ",
            "stop 🛑",
            "a" * 900,
        ]
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            for name in names:
                await switch.signal(name, said(reason=name[:20]))
            await until(script, lambda s: len(s.commands) == len(names), switch)
        told = [name.strip()[:REASON_MAX_CHARACTERS] for name in names]
        assert [command.misspelt_name for command in script.commands] == told
        assert script.state.epoch == 1

    async def test_before_its_first_workflow_task(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        """No worker was there when it came; the first one to come engages, whatever it read before."""
        script, client = ScriptedSwitch(), time_skipping_env.client
        switch = await start(client, unique("kill-switch"))
        await switch.signal(wire.SIGNAL_KILL, said(reason="early"))
        async with script.held(wire.ACTIVITY_KILL_READ) as read, worker(client, script):
            await read.asked.wait()
            await until(script, lambda s: bool(s.commands), switch)
            read.opened.set()
            await until(script, lambda s: s.state.engaged and s.state.sweep_confirmed, switch)
            await tells(script, switch)
            await switch.terminate("end of test")
        assert [command.reason for command in script.commands] == ["early"]

    async def test_fifty_at_once(self, time_skipping_env: "TimeSkipper", unique: Unique) -> None:
        """One epoch, one activation, forty-nine repeats, each audited under a name of its own.

        The worker keeps the workflow here: replaying it for each of a hundred tasks takes half a minute.
        """
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch"), cached=1) as switch:
            signals = (switch.signal(wire.SIGNAL_KILL, said(reason=f"no. {each}")) for each in range(50))
            await asyncio.gather(*signals)
            await until(script, lambda s: len(s.commands) == 50 and s.state.sweep_confirmed, switch)
            assert {command.reason for command in script.commands} == {f"no. {each}" for each in range(50)}
            assert len(set(script.request_ids)) == 50
            assert script.state.epoch == 1
            assert count(await events(switch), EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 0

    async def test_the_scope_can_be_narrowed(self, time_skipping_env: "TimeSkipper", unique: Unique) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await switch.signal(wire.SIGNAL_KILL, said(reason="x", scope="risk_adding"))
            await until(script, lambda s: s.state.engaged, switch)
            assert script.state.scope is KillScope.RISK_ADDING


class TestSweeps:
    async def test_an_activation_sweeps_at_once_and_each_minute_until_confirmed(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        env, script = time_skipping_env, ScriptedSwitch()
        script.script(wire.ACTIVITY_KILL_SWEEP, "PENDING", "PENDING", "PENDING")
        async with worker(env.client, script):
            with env.with_time_skipping_disabled():
                switch = await start(env.client, unique("kill-switch"))
            await switch.signal(wire.SIGNAL_KILL)
            await until(script, lambda s: s.sweeps == 1, switch)
            assert await env.fast_forward(switch, 50)
            assert script.sweeps == 1
            assert await env.fast_forward(switch, 75)
            await until(script, lambda s: s.sweeps == 3, switch)
            assert await env.fast_forward(switch, 3600)
            assert script.sweeps == 4
            assert script.state.sweep_confirmed
            await switch.terminate("end of test")

    async def test_a_further_activation_sweeps_again(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            for each in (1, 2):
                await switch.signal(wire.SIGNAL_KILL)
                await until(script, lambda s, each=each: s.sweeps == each, switch)  # type: ignore[misc]
        assert (len(script.commands), script.state.epoch) == (2, 1)

    async def test_one_that_comes_during_a_sweep_is_swept_after_it(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        """An order may have left between the sweep's look and the second activation."""
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            async with script.held(wire.ACTIVITY_KILL_SWEEP) as sweep:
                await switch.signal(wire.SIGNAL_KILL)
                await sweep.asked.wait()
                await switch.signal(wire.SIGNAL_KILL)
                await until(script, lambda s: len(s.commands) == 2, switch)
            await until(script, lambda s: s.sweeps == 2, switch)
        assert script.state.sweep_confirmed

    async def test_one_that_fails_for_good_is_made_again(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        script = ScriptedSwitch()
        script.script(wire.ACTIVITY_KILL_SWEEP, "!!ERR_FORBIDDEN", "!!ERR_FORBIDDEN")
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await switch.signal(wire.SIGNAL_KILL)
            await until(script, lambda s: s.state.engaged and s.state.sweep_confirmed, switch)
            assert script.sweeps == 3

    async def test_a_switch_found_engaged_and_unconfirmed_is_swept(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        """The row was written beside the workflow: by the command line, or before a restart."""
        script = ScriptedSwitch(engaged=True)
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await until(script, lambda s: s.state.sweep_confirmed, switch)
        assert (script.sweeps, script.commands, script.state.epoch) == (1, [], 1), "nobody engaged it anew"


class TestRelease:
    async def test_a_signal_named_release_changes_nothing_and_is_noted(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await switch.signal(wire.SIGNAL_RELEASE, said(reason="pretty please"))
            await until(script, lambda s: len(s.notes) == 1, switch)
            assert not script.state.engaged
            await engage(script, switch)
            before = script.state
            await switch.signal(wire.SIGNAL_RELEASE)
            await until(script, lambda s: len(s.notes) == 2, switch)
            assert script.state == before
            assert "trading release" in script.notes[0].detail
            assert wire.ACTIVITY_KILL_RELEASE not in script.calls

    async def test_a_grant_releases(self, time_skipping_env: "TimeSkipper", unique: Unique) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await engage(script, switch)
            assert not (await release(switch, epoch=7)).released
            assert (await release(switch, epoch=1)).released
            assert await switch.query(KillSwitchWorkflow.status) == KillState(engaged=False, epoch=2)
            await engage(script, switch)
            assert script.state.epoch == 3

    async def test_it_waits_for_an_activation_that_is_being_written(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        """A release granted for the last activation does not release the one that overtook it."""
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await engage(script, switch)
            async with script.held(wire.ACTIVITY_KILL_ENGAGE) as activation:
                await switch.signal(wire.SIGNAL_KILL, said(reason="again"))
                await activation.asked.wait()
                answer = asyncio.create_task(release(switch, epoch=1))
                await switch.query(KillSwitchWorkflow.status)
                assert wire.ACTIVITY_KILL_RELEASE not in script.calls
            await answer
            assert script.calls.index(wire.ACTIVITY_KILL_RELEASE) > script.calls.index(
                wire.ACTIVITY_KILL_ENGAGE
            )

    async def test_a_sweep_that_ends_after_it_does_not_show_the_switch_engaged(
        self, time_skipping_env: "TimeSkipper", unique: Unique
    ) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            async with script.held("sweep answers") as answer:
                await switch.signal(wire.SIGNAL_KILL)
                await answer.asked.wait()
                assert (await release(switch, epoch=1)).released
            await until(script, lambda s: s.sweeps >= 1, switch)
            async with asyncio.timeout(10):
                while count(await events(switch), EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED) < 4:
                    await asyncio.sleep(0.02)
            assert await switch.query(KillSwitchWorkflow.status) == KillState(engaged=False, epoch=2)

    @pytest.mark.parametrize(
        ("name", "payloads"),
        [
            (wire.UPDATE_RELEASE, []),
            (wire.UPDATE_RELEASE, [None]),
            (wire.UPDATE_RELEASE, ["release"]),
            (wire.UPDATE_RELEASE, [{}]),
            (wire.UPDATE_RELEASE, [{"epoch": "one"}]),
            ("release", [grant(1)]),
        ],
        ids=["no argument", "null", "text", "empty", "wrong types", "another name"],
    )
    async def test_an_update_that_is_no_grant_releases_nothing_and_is_noted(
        self, time_skipping_env: "TimeSkipper", unique: Unique, name: str, payloads: list[Any]
    ) -> None:
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            await engage(script, switch)
            with pytest.raises(WorkflowUpdateFailedError):
                await switch.execute_update(name, args=payloads)
            assert script.state.engaged
            assert wire.ACTIVITY_KILL_RELEASE not in script.calls
            assert [note.decision for note in script.notes] == ["RELEASE_REFUSED"]

    @pytest.mark.parametrize("odd", ["\x00", "\ud800"], ids=["code zero", "half a surrogate pair"])
    @pytest.mark.parametrize("field", ["key_id", "person", "unknown_orders"])
    async def test_a_grant_that_nobody_could_store_is_noted_and_holds_up_no_kill(
        self, time_skipping_env: "TimeSkipper", unique: Unique, field: str, odd: str
    ) -> None:
        """Its step would be tried for ever, and every later write of the row would wait behind it."""
        script = ScriptedSwitch()
        async with running(time_skipping_env.client, script, unique("kill-switch")) as switch:
            fields = grant(1).model_dump(mode="json") | {
                field: [odd] if field == "unknown_orders" else f"k{odd}"
            }
            with pytest.raises(WorkflowUpdateFailedError):
                await switch.execute_update(wire.UPDATE_RELEASE, said(**fields))
            assert [note.decision for note in script.notes] == ["RELEASE_REFUSED"]
            await engage(script, switch)
            assert (await release(switch, epoch=1)).released
