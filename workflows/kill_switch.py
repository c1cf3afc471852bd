"""The kill switch as a workflow: every signal is an activation, whatever its name or shape."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

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
        KillCommand,
        KillNote,
        KillOrder,
        KillQuestion,
        KillScope,
        KillState,
        ReleaseAnswer,
        ReleaseGrant,
        ReleaseOrder,
    )
    from workflows.steps import run_step

REASON_MAX_CHARACTERS = 500
PATCH_STORABLE_GRANTS = "kill-switch-storable-grants"
PATCH_SHORT_RUNS = "kill-switch-short-runs"
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
        self._signals = 0
        self._short_runs = False
        self._writing = asyncio.Lock()

    @workflow.run
    async def run(self, carried: KillCarried | None = None) -> None:
        """Sweep whenever the switch is engaged and the broker has not confirmed the end of every order."""
        self._short_runs = workflow.patched(PATCH_SHORT_RUNS)
        for order in carried.orders if carried else ():
            await self._engage(order)
        await self._read()
        while not self._long:
            await self._rest()
            if self._sweep_wanted or self._unconfirmed:
                await self._sweep()
        # A write on its way must not be cut off, and signals without a pause must not keep this run from its end.
        self._ending = self._short_runs
        while True:
            await workflow.wait_condition(workflow.all_handlers_finished)
            if self._short_runs or not self._sweep_wanted:
                break
            await self._sweep()
        workflow.continue_as_new(
            KillCarried(state=self._state, sweep_wanted=self._sweep_wanted, orders=tuple(self._left))
        )

    @property
    def _long(self) -> bool:
        """Time for a new run. Its worker keeps nothing, so each step of an activation replays all before it."""
        info = workflow.info()
        return info.is_continue_as_new_suggested() or (
            self._short_runs and info.get_current_history_length() >= policies.KILL_HISTORY_EVENTS
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

    @workflow.signal(dynamic=True)
    async def activate(self, name: str, args: Sequence[RawValue]) -> None:
        """Any signal engages, except ``release``, which changes nothing and is told how to release."""
        if name == wire.SIGNAL_RELEASE:
            await self._refuse("a signal cannot release the kill switch: use `trading release`", "raw signal")
            return
        self._signals += 1
        command = parse_command(name, [_text(arg) for arg in args])
        order = KillOrder(
            command=command,
            as_of=workflow.now(),
            request_id=command.request_id or f"{workflow.info().run_id}/{self._signals}",
        )
        if self._ending:
            self._left.append(order)
        else:
            await self._engage(order)

    async def _engage(self, order: KillOrder) -> None:
        async with self._writing:
            state = await run_step(
                policies.KILL_ENGAGE,
                KillSwitchActivities.engage_kill_switch,
                order,
                summary=f"ENGAGE: {order.command.reason[:60]}",
            )
            self._learn(state)
        self._sweep_wanted = True

    @workflow.update(name=wire.UPDATE_RELEASE)
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
        async with self._writing:
            answer = await run_step(
                policies.KILL_ENGAGE,
                KillSwitchActivities.release_kill_switch,
                ReleaseOrder(grant=granted, as_of=workflow.now()),
                summary=f"release asked by {_short(granted.person)[:60]}",
            )
            self._learn(answer.state)
        self._show()
        return answer

    @workflow.update(dynamic=True)
    async def other_update(self, name: str, args: Sequence[RawValue]) -> None:
        """No other update does anything; the try is audited."""
        raise await self._refuse_update(f"an update named {_short(name)[:60]!r}")

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
        await run_step(
            policies.KILL_ENGAGE,
            KillSwitchActivities.note_attempt,
            note,
            summary=f"refuse a release by {actor.removeprefix('raw ')}",
        )

    @workflow.query(name=wire.QUERY_STATUS)
    def status(self) -> KillState | None:
        """The switch as last read; None before the first reading."""
        return self._state


def parse_command(name: str, texts: Sequence[str]) -> KillCommand:
    """Make an activation of whatever arrived; what is missing or unreadable gets its default."""
    text = texts[0] if texts else ""
    fields = _fields(text)
    reason = _short(fields.get("reason")) or _short(text) or "no reason given"
    scope = KillScope.RISK_ADDING if fields.get("scope") == KillScope.RISK_ADDING.value else KillScope.ALL
    return KillCommand(
        reason=reason,
        triggered_by=_short(fields.get("triggered_by")) or "raw signal",
        scope=scope,
        misspelt_name=None if name == wire.SIGNAL_KILL else _short(name),
        request_id=_short(fields.get("request_id")) or None,
    )


def parse_grant(value: RawValue) -> ReleaseGrant | None:
    """The grant, or None where what arrived is none."""
    try:
        return ReleaseGrant.model_validate_json(value.payload.data)
    except (ValueError, RecursionError):
        return None


def _fields(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(arg: RawValue) -> str:
    return arg.payload.data.decode("utf-8", "replace")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else ""
    # A character with code zero or half a surrogate pair can be stored nowhere, and would be tried for ever.
    printable = "".join(each if each.isprintable() else " " for each in text)
    return printable.strip().strip('"')[:REASON_MAX_CHARACTERS]
