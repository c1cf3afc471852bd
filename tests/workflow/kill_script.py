"""The kill switch's steps under their wire names, on a row in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue
from temporalio.worker import Worker

from schemas import wire
from schemas.kill import (
    KillCarried,
    KillCommand,
    KillNote,
    KillOrder,
    KillQuestion,
    KillState,
    ReleaseAnswer,
    ReleaseGrant,
    ReleaseOrder,
)
from schemas.wire import Queue
from tests.workflow.gates import Gates
from tests.workflow.running import POLL_SECONDS, WITHIN_SECONDS, hang_report
from workflows.kill_switch import KillSwitchWorkflow

Switch = WorkflowHandle[KillSwitchWorkflow, None]


class ScriptedSwitch(Gates):
    """The row. Sweeps are confirmed unless scripted ``PENDING``."""

    def __init__(self, *, engaged: bool = False) -> None:
        super().__init__()
        self.state = KillState(engaged=engaged, epoch=int(engaged), sweep_confirmed=not engaged)
        self.commands: list[KillCommand] = []
        self.request_ids: list[str] = []
        self.notes: list[KillNote] = []

    @property
    def sweeps(self) -> int:
        return self.calls.count(wire.ACTIVITY_KILL_SWEEP)

    @activity.defn(name=wire.ACTIVITY_KILL_READ)
    async def read_kill_switch(self, question: KillQuestion) -> KillState:
        """The row as it stands when asked; the answer can be held."""
        state = self.state
        await self.asked(wire.ACTIVITY_KILL_READ)
        return state

    @activity.defn(name=wire.ACTIVITY_KILL_ENGAGE)
    async def engage_kill_switch(self, order: KillOrder) -> KillState:
        """A repeat leaves the epoch as it is."""
        await self.asked(wire.ACTIVITY_KILL_ENGAGE)
        command = order.command
        for text in (command.reason, command.triggered_by, command.misspelt_name or ""):
            storable(text)
        self.commands.append(command)
        self.request_ids.append(order.request_id)
        if not self.state.engaged:
            self.state = KillState(
                engaged=True,
                epoch=self.state.epoch + 1,
                scope=command.scope,
                reason=command.reason,
                triggered_by=command.triggered_by,
                changed_at=order.as_of,
                sweep_confirmed=False,
            )
        return self.state

    @activity.defn(name=wire.ACTIVITY_KILL_SWEEP)
    async def sweep_open_orders(self, question: KillQuestion) -> KillState:
        """Confirms, or not; like the real one it answers the row as it is at its end."""
        epoch, engaged = self.state.epoch, self.state.engaged
        word = await self.asked(wire.ACTIVITY_KILL_SWEEP)
        if engaged and self.state.epoch == epoch:
            change = {"swept_at": question.as_of, "sweep_confirmed": word != "PENDING"}
            self.state = self.state.model_copy(update=change)
        answer = self.state
        await self.asked("sweep answers")
        return answer

    @activity.defn(name=wire.ACTIVITY_KILL_NOTE)
    async def note_attempt(self, note: KillNote) -> None:
        """Keep it."""
        await self.asked(wire.ACTIVITY_KILL_NOTE)
        storable(note.detail)
        self.notes.append(note)

    @activity.defn(name=wire.ACTIVITY_KILL_RELEASE)
    async def release_kill_switch(self, order: ReleaseOrder) -> ReleaseAnswer:
        """Releases for the right epoch."""
        await self.asked(wire.ACTIVITY_KILL_RELEASE)
        storable(order.grant.model_dump_json().replace("\\u0000", "\x00"))
        released = self.state.engaged and order.grant.epoch == self.state.epoch
        if released:
            self.state = KillState(engaged=False, epoch=self.state.epoch + 1)
        return ReleaseAnswer(released=released, message="", state=self.state)

    def activities(self) -> list[Callable[..., Any]]:
        """All five."""
        return [
            self.read_kill_switch,
            self.engage_kill_switch,
            self.sweep_open_orders,
            self.note_attempt,
            self.release_kill_switch,
        ]


def storable(text: str) -> None:
    """Refuse what PostgreSQL refuses: no character with code zero, nothing that is not UTF-8."""
    text.encode()
    if "\x00" in text:
        raise ValueError("a character with code zero cannot be stored")


@asynccontextmanager
async def worker(client: Client, script: ScriptedSwitch, cached: int = 0) -> AsyncIterator[None]:
    """The kill switch's own worker: nothing is cached, so each task replays the whole history."""
    async with Worker(
        client,
        task_queue=Queue.KILL_SWITCH.value,
        workflows=[KillSwitchWorkflow],
        activities=script.activities(),
        max_cached_workflows=cached,
    ):
        yield


async def start(client: Client, workflow_id: str) -> Switch:
    """Start one as the product does, under an id of its own."""
    return await client.start_workflow(
        KillSwitchWorkflow.run, KillCarried(), id=workflow_id, task_queue=Queue.KILL_SWITCH.value
    )


@asynccontextmanager
async def running(
    client: Client, script: ScriptedSwitch, workflow_id: str, cached: int = 0
) -> AsyncIterator[Switch]:
    """Run a kill switch until the block ends."""
    async with worker(client, script, cached):
        switch = await start(client, workflow_id)
        try:
            yield switch
        finally:
            await switch.terminate("end of test")


async def until(script: ScriptedSwitch, wanted: Callable[[ScriptedSwitch], bool], switch: Switch) -> None:
    """Wait until the script is as wanted; a hang fails with what the workflow tasks failed of."""
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while not wanted(script):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"{script.state} after {script.calls}\n{await hang_report(switch)}")


async def tells(script: ScriptedSwitch, switch: Switch) -> None:
    """Wait until the workflow tells the script's state: it learns of a step's end a moment after the script."""
    told = None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while (told := await switch.query(KillSwitchWorkflow.status)) != script.state:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"the workflow tells {told}, the script {script.state}\n{await hang_report(switch)}")


def raw(data: bytes, encoding: str = "json/plain") -> RawValue:
    """A payload byte for byte."""
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


def said(**fields: object) -> RawValue:
    """A JSON object."""
    return raw(json.dumps(fields).encode())


def grant(epoch: int) -> ReleaseGrant:
    """A grant for the activation of that epoch; the scripted row asks for no more."""
    return ReleaseGrant(
        account="PA-TEST",
        epoch=epoch,
        nonce="0" * 16,
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        person="ana",
        reason="all is well",
        key_id="k",
        signature="00",
    )


async def release(switch: Switch, epoch: int) -> ReleaseAnswer:
    """Ask by update."""
    answer: ReleaseAnswer = await switch.execute_update(
        wire.UPDATE_RELEASE, grant(epoch), result_type=ReleaseAnswer
    )
    return answer


async def engage(script: ScriptedSwitch, switch: Switch) -> None:
    """Engage and see it swept."""
    await switch.signal(wire.SIGNAL_KILL, said(reason="test"))
    await until(script, lambda s: s.state.engaged and s.state.sweep_confirmed, switch)
