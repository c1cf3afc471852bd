"""The kill switch as a workflow: every signal is an activation, whatever its name or shape."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.kill_switch import KillSwitchActivities
    from schemas import wire
    from schemas.kill import (
        KillCarried,
        KillNote,
        KillOrder,
        KillQuestion,
        KillScope,
        KillState,
        ReleaseAnswer,
        ReleaseOrder,
    )
    from workflows.kill_words import parse_command, parse_grant, short, text_of
    from workflows.steps import run_step

PATCH_STORABLE_GRANTS = "kill-switch-storable-grants"
PATCH_SHORT_RUNS = "kill-switch-short-runs"
PATCH_KILLS_FIRST = "kill-switch-kills-first"
CARRIED_MAX = 100
"""Activations, and notes, taken into a new run: 100 of some 8 kB stay within what one payload may hold."""
ABANDON = workflow.HandlerUnfinishedPolicy.ABANDON
"""No handler is cut off while it writes the row; one that only notes a try may be: the next run writes its note."""
NOTHING = RawValue(Payload())
"""What an update without an argument brings."""


@workflow.defn(name=wire.WORKFLOW_KILL_SWITCH)
class KillSwitchWorkflow:
    """Id ``kill-switch``. The row in PostgreSQL is the switch; this workflow writes it and sweeps.

    A typed signal handler would drop or wedge on a malformed kill, so the one handler takes raw values.
    """

    @workflow.init
    def __init__(self, carried: KillCarried | None = None) -> None:
        self._state: KillState | None = carried.state if carried else None
        self._sweep_wanted = carried.sweep_wanted if carried else False
        self._ending = False
        self._left: list[KillOrder] = []
        """Activations for the next run."""
        self._notes = list(carried.notes) if carried else []
        """Not written yet."""
        self._noting: asyncio.Task[None] | None = None
        self._writes = 0
        """Activations and releases on their way to the row, or waiting for their turn."""
        self._engaging = 0
        """The activations among them."""
        self._kills_first = False
        self._signals = 0
        self._short_runs = False
        self._renew = False
        self._writing = asyncio.Lock()

    @workflow.run
    async def run(self, carried: KillCarried | None = None) -> None:
        """Sweep whenever the switch is engaged and the broker has not confirmed the end of every order."""
        self._short_runs = workflow.patched(PATCH_SHORT_RUNS)
        self._kills_first = self._short_runs and workflow.patched(PATCH_KILLS_FIRST)
        await self._begin(carried or KillCarried())
        while not self._long:
            await self._rest()
            if self._sweep_wanted or self._unconfirmed:
                await self._sweep()
        # A write on its way must not be cut off, and signals without a pause must not keep this run from its end.
        self._ending = self._short_runs
        while True:
            await workflow.wait_condition(lambda: self._may_end)
            if self._short_runs or not self._sweep_wanted:
                break
            await self._sweep()
        workflow.continue_as_new(
            KillCarried(
                state=self._state,
                sweep_wanted=self._sweep_wanted,
                orders=tuple(self._left),
                notes=tuple(self._notes[:CARRIED_MAX]),
            )
        )

    async def _begin(self, carried: KillCarried) -> None:
        """Write what was carried. Many make the run long at once, so their sweep begins with the first."""
        self._noting = asyncio.create_task(self._write_all(carried.notes))
        sweeping: asyncio.Task[None] | None = None
        for order in carried.orders:
            await self._engage(order)
            if self._kills_first and sweeping is None:
                sweeping = asyncio.create_task(self._sweep())
        await self._read()
        if sweeping is not None:
            await sweeping

    @property
    def _may_end(self) -> bool:
        """No write is cut off. Where a kill or its sweep waits for the next run, no note keeps it waiting."""
        waits = self._kills_first and (bool(self._left) or self._sweep_wanted)
        return workflow.all_handlers_finished() or (waits and not self._writes)

    @property
    def _may_wait(self) -> bool:
        """Whether an activation may: never the first one of a switch that is not engaged."""
        engaged = self._engaging > 0 or (self._state is not None and self._state.engaged)
        return self._ending and (engaged or not self._kills_first)

    @property
    def _long(self) -> bool:
        """Time for a new run. Its worker keeps nothing, so each step of an activation replays all before it."""
        info = workflow.info()
        return (
            self._renew
            or info.is_continue_as_new_suggested()
            or (self._short_runs and info.get_current_history_length() >= policies.KILL_HISTORY_EVENTS)
        )

    @property
    def _unconfirmed(self) -> bool:
        return self._state is not None and self._state.engaged and not self._state.sweep_confirmed

    async def _rest(self) -> None:
        """Until a sweep is due: at once for a new activation, each minute for an unconfirmed one."""
        self._show()
        pause = policies.SWEEP_REPEAT if self._unconfirmed else None
        try:
            await workflow.wait_condition(
                lambda: self._sweep_wanted or self._long,
                timeout=pause,
                timeout_summary="sweep again: cancels are not all confirmed",
            )
        except TimeoutError:
            return

    def _learn(self, state: KillState) -> None:
        """Keep the newest truth: an answer read before a release may arrive after it."""
        if self._state is None or state.epoch >= self._state.epoch:
            self._state = state

    async def _read(self) -> None:
        state = await run_step(
            policies.KILL_ENGAGE,
            KillSwitchActivities.read_kill_switch,
            KillQuestion(as_of=workflow.now()),
            summary="read the switch",
        )
        self._learn(state)

    async def _sweep(self) -> None:
        self._sweep_wanted = False
        try:
            state = await run_step(
                policies.KILL_SWEEP,
                KillSwitchActivities.sweep_open_orders,
                KillQuestion(as_of=workflow.now()),
                summary="cancel every open order, wait for the fence, look again",
            )
        except ActivityError:
            return  # Swept again within the minute: nothing ends this workflow.
        self._learn(state)

    def _show(self) -> None:
        state = self._state
        if state is None or not state.engaged:
            workflow.set_current_details("**RELEASED** · new orders may be placed")
            return
        swept = "every cancel confirmed" if state.sweep_confirmed else "cancels not all confirmed"
        if state.waiting_for:
            swept += f", POSTs unanswered: {', '.join(state.waiting_for)}"
        if state.unprotected:
            swept += f" · **UNPROTECTED**: {', '.join(state.unprotected)}"
        workflow.set_current_details(
            f"**ENGAGED** since {state.changed_at} · {state.reason} · by {state.triggered_by} · {swept}"
        )

    @workflow.signal(dynamic=True, unfinished_policy=ABANDON)
    async def activate(self, name: str, args: Sequence[RawValue]) -> None:
        """Any signal engages, except ``release``, which changes nothing and is told how to release."""
        if name == wire.SIGNAL_RELEASE:
            await self._refuse("a signal cannot release the kill switch: use `trading release`", "raw signal")
            return
        self._signals += 1
        command = parse_command(name, [text_of(arg) for arg in args])
        order = KillOrder(
            command=command,
            as_of=workflow.now(),
            request_id=command.request_id or f"{workflow.info().run_id}/{self._signals}",
        )
        if self._may_wait:
            self._leave(order)
        else:
            await self._engage(order)

    def _leave(self, order: KillOrder) -> None:
        """For the next run. Of too many the first stay, and the widest scope: the rest would repeat them."""
        if len(self._left) < CARRIED_MAX or not self._kills_first:
            self._left.append(order)
        elif order.command.scope is KillScope.ALL and all(
            each.command.scope is not KillScope.ALL for each in self._left
        ):
            self._left[-1] = order

    async def _engage(self, order: KillOrder) -> None:
        self._engaging += 1
        try:
            async with self._turn():
                state = await run_step(
                    policies.KILL_ENGAGE,
                    KillSwitchActivities.engage_kill_switch,
                    order,
                    summary=f"ENGAGE: {order.command.reason[:60]}",
                )
                self._learn(state)
            self._sweep_wanted = True
        finally:
            self._engaging -= 1

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One write of the row after the other; a run does not end before them."""
        self._writes += 1
        try:
            async with self._writing:
                yield
        finally:
            self._writes -= 1

    @workflow.update(name=wire.UPDATE_RELEASE, unfinished_policy=ABANDON)
    async def release(self, grant: RawValue = NOTHING) -> ReleaseAnswer:
        """Release by a signed grant. Without a valid one nothing changes, and the try is audited.

        It takes whatever arrives and parses by hand: what a converter refused would leave no trace.
        """
        granted = parse_grant(grant)
        # Asked for such a grant alone, so that no other run gets a marker; one that waits for its step replays.
        unstorable = (
            granted is not None and not granted.is_storable and workflow.patched(PATCH_STORABLE_GRANTS)
        )
        if granted is None or unstorable:
            raise await self._refuse_update("an update without a readable grant")
        if self._ending and self._kills_first:
            # Else releases, one after the other, would keep an activation waiting for the next run.
            raise await self._refuse_update(f"an update between two runs {wire.ASK_AGAIN}")
        async with self._turn():
            answer = await run_step(
                policies.KILL_ENGAGE,
                KillSwitchActivities.release_kill_switch,
                ReleaseOrder(grant=granted, as_of=workflow.now()),
                summary=f"release asked by {short(granted.person)[:60]}",
            )
            self._learn(answer.state)
        self._show()
        return answer

    @workflow.update(name=wire.UPDATE_RENEW, unfinished_policy=ABANDON)
    async def renew(self) -> None:
        """Go on as a new run. Changes nothing of the switch."""
        self._renew = True

    @workflow.update(dynamic=True, unfinished_policy=ABANDON)
    async def other_update(self, name: str, args: Sequence[RawValue]) -> None:
        """No other update does anything; the try is audited."""
        raise await self._refuse_update(f"an update named {short(name)[:60]!r}")

    async def _refuse_update(self, what: str) -> ApplicationError:
        await self._refuse(f"{what} cannot release the kill switch", "raw update")
        return ApplicationError(f"{what}: use `trading release`", type="RELEASE_REFUSED")

    async def _refuse(self, detail: str, actor: str) -> None:
        note = KillNote(
            decision="RELEASE_BY_SIGNAL_REFUSED" if actor == "raw signal" else "RELEASE_REFUSED",
            detail=detail,
            actor=actor,
            as_of=workflow.now(),
        )
        self._notes.append(note)
        if not (self._ending and self._kills_first):
            await self._write(note)

    async def _write_all(self, notes: Sequence[KillNote]) -> None:
        """One after the other: they hold up nothing, and a run that is cut short begins few of them."""
        for note in notes:
            await self._write(note)

    async def _write(self, note: KillNote) -> None:
        await run_step(
            policies.KILL_ENGAGE,
            KillSwitchActivities.note_attempt,
            note,
            summary=f"refuse a release by {note.actor.removeprefix('raw ')}",
        )
        self._notes.remove(note)

    @workflow.query(name=wire.QUERY_STATUS)
    def status(self) -> KillState | None:
        """The switch as last read; None before the first reading."""
        return self._state
