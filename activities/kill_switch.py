"""The kill switch's own steps: write the row, sweep, release by grant."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.failures import try_again
from activities.kill_alerts import HOW_TO_RELEASE, KillAlerts, alert
from activities.kill_sweep import KillSweeper
from broker.errors import BrokerError
from schemas import wire
from schemas.alerts import AlertCode, Severity
from schemas.base import storable
from schemas.kill import KillNote, KillOrder, KillQuestion, KillState, ReleaseAnswer, ReleaseOrder
from storage import switches as rows
from storage.placement import unanswered_posts

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from observability.metrics import Metrics
    from storage.database import Connection, Database

COMPONENT: Final = "KillSwitch"
BEAT_SECONDS: Final = 5.0


def _not_swept(state: KillState) -> str:
    """What whoever releases before the end of the sweep must hear."""
    if not state.engaged or (state.swept_at is not None and state.sweep_confirmed):
        return ""
    what = (
        "not every cancel was confirmed" if state.swept_at else "open orders were not cancelled yet, and stay"
    )
    return f"; {what}: see `trading orders`"


async def _beat() -> None:
    """A slow broker is no dead worker: each of its answers may take as long as the heartbeat timeout."""
    while True:
        activity.heartbeat("waiting for the broker")
        await asyncio.sleep(BEAT_SECONDS)


class KillSwitchActivities:
    """Polled by every process that may act in an emergency, on a queue of their own."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        metrics: "Metrics",
        *,
        now: Callable[[], datetime],
        verify: Callable[..., None],
        refused: type[Exception],
    ) -> None:
        """``verify`` is ``security.grants.verify_grant``, which raises ``refused``."""
        self._database = database
        self._sweeper = KillSweeper(database, broker, now=now)
        self._alerts = KillAlerts(database, now=now)
        self._metrics = metrics
        self._now = now
        self._verify = verify
        self._refused = refused

    @activity.defn(name=wire.ACTIVITY_KILL_READ)
    async def read_kill_switch(self, question: KillQuestion) -> KillState:
        """The switch's row. Idempotent: it only reads."""
        async with self._database.connection() as connection:
            return await rows.read_state(connection)

    @activity.defn(name=wire.ACTIVITY_KILL_ENGAGE)
    async def engage_kill_switch(self, order: KillOrder) -> KillState:
        """Commit the row: from here on no new order may leave.

        Idempotent: an engaged switch stays at its epoch; the repeat is one more audit row.
        """
        now = self._now()
        command = order.command
        async with self._database.transaction("kill.engaged") as connection:
            state = await rows.engage(
                connection, command, request_id=order.request_id, now=now, component=COMPONENT
            )
            if command.misspelt_name is not None:
                detail = f"signal named {command.misspelt_name!r} taken as `activate`"
                await rows.note(
                    connection, decision="KILL_MISSPELT", actor=command.triggered_by, detail=detail, now=now
                )
        self._metrics.set_kill_switch(engaged=True)
        if command.misspelt_name is not None:
            text = f"a signal named {command.misspelt_name!r} was taken as `activate`: correct what sends it"
            await self._alerts.tell(alert(AlertCode.KILL_MISSPELT, text, Severity.HIGH))
        return state

    @activity.defn(name=wire.ACTIVITY_KILL_SWEEP)
    async def sweep_open_orders(self, question: KillQuestion) -> KillState:
        """Cancel every open order, wait for the fence, look again, store every fate.

        Idempotent: cancelling a cancelled order changes nothing; fates only become more certain.

        Raises:
            ApplicationError: the broker could not be asked (its code); sweep again.
        """
        beating = asyncio.create_task(_beat())
        try:
            return await self._sweeper.sweep(beat=activity.heartbeat)
        except BrokerError as error:
            # Also a definite no is tried again: a kill switch that gives up would be none.
            raise try_again(error.code, error.message) from error
        finally:
            beating.cancel()

    @activity.defn(name=wire.ACTIVITY_KILL_NOTE)
    async def note_attempt(self, note: KillNote) -> None:
        """Audit a try that changes nothing. Idempotent in effect: a repeat is one more audit row."""
        now = self._now()
        async with self._database.transaction("kill.noted") as connection:
            await rows.note(connection, decision=note.decision, actor=note.actor, detail=note.detail, now=now)
            engaged = (await rows.read_state(connection)).engaged
        if engaged:
            await self._tell_of_refusal(note.detail)

    @activity.defn(name=wire.ACTIVITY_KILL_RELEASE)
    async def release_kill_switch(self, order: ReleaseOrder) -> ReleaseAnswer:
        """Release the switch if the grant is genuine, for this activation, and unused.

        Idempotent: a grant's nonce and epoch are unique rows; the repeat of a done release is answered so.
        """
        now, person = self._now(), storable(order.grant.person)
        async with self._database.transaction("kill.released") as connection:
            before = await rows.read_state(connection)
            refusal = await self._refusal(connection, order, now)
            if refusal is None and not await rows.release(connection, order.grant, now=now):
                refusal = "the grant was used before, or is for another activation"
            if refusal is not None:
                await rows.note(
                    connection, decision="RELEASE_REFUSED", actor=person, detail=refusal, now=now,
                    evidence={"grant": order.grant.model_dump(mode="json")} if order.grant.is_storable else {},
                )  # fmt: skip
            state = await rows.read_state(connection)
        self._metrics.set_kill_switch(engaged=state.engaged)
        if refusal is not None and state.engaged:
            await self._tell_of_refusal(f"a release by {person} was refused: {refusal}")
        message = refusal or f"released: new orders may be placed{_not_swept(before)}"
        return ReleaseAnswer(released=refusal is None, message=message, state=state)

    async def _tell_of_refusal(self, what: str) -> None:
        await self._alerts.tell(
            alert(AlertCode.KILL_RELEASE_REFUSED, f"{what}; {HOW_TO_RELEASE}", Severity.HIGH)
        )

    async def _refusal(self, connection: "Connection", order: ReleaseOrder, now: datetime) -> str | None:
        grant = order.grant
        if not grant.is_storable:
            return "the grant has a character that no database can store"
        installation = await rows.read_installation(connection)
        key = await rows.operator_key(connection, grant.key_id)
        if key is None:
            return f"no operator key {grant.key_id} is known here"
        try:
            self._verify(grant, key, account=installation.account or "", now=now)
        except self._refused as error:
            return str(error)
        unknown = set(await rows.unknown_orders(connection))
        unknown |= set(await unanswered_posts(connection, grace_seconds=0.0))
        unknown -= set(grant.unknown_orders)
        if unknown:
            names = ", ".join(sorted(unknown))
            return f"the outcome of {names} is unknown: wait, or name it in the grant"
        return None
