"""Losses over their limit, and whatever else asks for it, engage the kill switch: loops of operations.

What decides is in rows, so a death at any point changes nothing but who goes on. Placements wait from the moment
that the switch is asked for (`risk.readiness`).
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from temporalio.service import RPCError

from broker.budget import BudgetUnavailable, patiently
from broker.errors import BrokerError
from market.errors import ClockUnavailableError
from observability.logging import get_logger
from risk.arithmetic import exact, percent_of
from risk.losses import READINGS_APART, Judgement, Loss, judge, losses
from schemas import wire
from schemas.conduct import Breach, EquityReading, KillRequest, LossKind
from schemas.kill import KillCommand
from schemas.wire import Queue
from storage import conduct, equity, journal
from storage.database import Connection
from storage.limits import current_limits
from storage.risk import lock_account
from storage.switches import engage
from workers.clients import utc_now
from workers.parts import OperationsParts
from workers.singletons import start_reconciliation

COMPONENT: Final = "EquityWatch"
TRANSFERS_WITHIN: Final = timedelta(days=7)
"""Activities are listed under their day, some days later."""
TOKENS_WAIT_MAX_SECONDS: Final = 60.0
"""Our own budget of requests being used up says nothing of transfers; used up for so long, it holds no kill up."""
ASK_AGAIN_SECONDS: Final = 10.0
"""While a transfer is being booked; asked with every look the broker would have no request left for the booking."""
PERCENT_STEP: Final = Decimal("0.001")
SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=3)

_log = get_logger(__name__)


class EquityWatch:
    """Two of them at once do no harm: a breach is one row, and a request is carried out once."""

    def __init__(self, parts: OperationsParts, *, operations_queue: Queue) -> None:
        self._parts = parts
        self._database = parts.database
        self._operations_queue = operations_queue
        self._ask_again_at = 0.0
        """Monotonic seconds."""

    async def watch_equity(self) -> None:
        """Hold the stored account snapshot against the limits; read it again where a second reading is due.

        Raises:
            BrokerError: the account could not be read; the next look tries again.
        """
        async with self._database.connection() as connection:
            reading, found, judgement = await _judge(connection)
            standing = await equity.read_breaches(connection)
            disabled = await conduct.list_stops(connection)
        self._parts.metrics.set_strategies_disabled(len(disabled))
        self._parts.metrics.set_losses({each.kind.value: _percent(each) for each in found.values()})
        if judgement.confirmed and await self._may_be_a_transfer(judgement.confirmed):
            return
        if judgement.changes:
            await self._database.run("equity.judged", self._keep)
        elif _wants_another(standing.values(), reading):
            await self._parts.catch_up.read_account()

    async def _may_be_a_transfer(self, shown: Sequence[Loss]) -> bool:
        """Whether money that was paid out and is not booked yet may be all of it: only what is left is a loss.

        A broker that does not say so is no reason to go on trading, nor is money that was paid in.

        Raises:
            BudgetUnavailable: the database did not answer; the next look tries again.
        """
        if time.monotonic() < self._ask_again_at:
            return True
        try:
            since = self._parts.clock.at(utc_now()) - TRANSFERS_WITHIN
            with patiently(TOKENS_WAIT_MAX_SECONDS):
                listed = await self._parts.broker.get_cash_activities(since)
        except BudgetUnavailable:
            raise
        except (BrokerError, ClockUnavailableError) as error:
            _log.warning("transfers not known: what equity lost counts as a loss", reason=str(error))
            return False
        told = [each for each in listed if each.is_transfer]
        async with self._database.connection() as connection:
            booked = await journal.known_activities(connection, [each.activity_id for each in told])
        unbooked = [each for each in told if each.activity_id not in booked and each.amount < 0]
        with exact():
            paid_out = sum((each.amount for each in unbooked), Decimal(0))
            if any(replace(each, base=each.base + paid_out).exceeded for each in shown):
                return False
        self._ask_again_at = time.monotonic() + ASK_AGAIN_SECONDS
        _log.warning(
            "a loss waits for transfers to be booked", activities=[each.activity_id for each in unbooked]
        )
        await start_reconciliation(
            self._parts.client,
            operations_queue=self._operations_queue,
            trigger="due: money was paid out, and equity is judged by what is left",
        )
        return True

    async def _keep(self, connection: Connection) -> None:
        """Write what the reading changes. Judged anew under the account lock: another may have been quicker."""
        await lock_account(connection)
        reading, _, judgement = await _judge(connection)
        now = utc_now()
        for each in judgement.begun:
            assert reading.taken_at is not None, "only a reading shows a loss"
            await equity.begin_breach(
                connection, each.kind, each.formula, read_at=reading.taken_at, component=COMPONENT, now=now
            )
        for each in judgement.over:
            told = f"of another session; {each.formula}" if each.exceeded else each.formula
            await equity.end_breach(connection, each.kind, told, component=COMPONENT, now=now)
        for each in judgement.confirmed:
            await equity.confirm_breach(connection, each.kind, each.formula, component=COMPONENT, now=now)
            request = KillRequest(
                request_id=f"{each.kind.value}-{now.isoformat()}",
                reason=f"{each.kind.value}: {each.formula}",
                triggered_by=COMPONENT,
            )
            await conduct.ask_for_kill(
                connection, request, component=COMPONENT, now=now,
                evidence={"reading": reading.model_dump(mode="json")},
            )  # fmt: skip

    async def carry_out_kills(self) -> None:
        """Engage the kill switch for each request of those who may not, or who held the account's lock."""
        async with self._database.connection() as connection:
            requests = await conduct.kills_asked_for(connection)
        for request in requests:
            await self._database.run("kill.carried_out", partial(carry_out, request=request))
            await self._sweep_now(request)

    async def _sweep_now(self, request: KillRequest) -> None:
        """The row is engaged; its workflow cancels what is open. Where it is down, the watchers do."""
        switch = self._parts.client.get_workflow_handle(wire.ID_KILL_SWITCH)
        with suppress(RPCError):
            await switch.signal(wire.SIGNAL_KILL, _command(request), rpc_timeout=SIGNAL_RPC_TIMEOUT)


async def carry_out(connection: Connection, request: KillRequest) -> bool:
    """Engage the switch for a request, once: a release must not be undone by a repeat. In its own transaction."""
    now = utc_now()
    if not await conduct.take_kill_request(connection, request.request_id, now):
        return False
    await engage(
        connection, _command(request), request_id=request.request_id, now=now, component=request.triggered_by
    )
    return True


def _command(request: KillRequest) -> KillCommand:
    return KillCommand(
        reason=request.reason, triggered_by=request.triggered_by, request_id=request.request_id
    )


async def _judge(connection: Connection) -> tuple[EquityReading, dict[LossKind, Loss], Judgement]:
    reading = await equity.read_equity(connection)
    limits = (await current_limits(connection, utc_now())).limits
    standing = await equity.read_breaches(connection)
    with exact():
        found = losses(reading, limits)
        judgement = (
            Judgement()
            if reading.taken_at is None
            else judge(found, reading.taken_at, standing, reading.last_equity)
        )
    return reading, found, judgement


def _wants_another(standing: Iterable[Breach], reading: EquityReading) -> bool:
    """A loss was seen once, and the next reading may say whether it stands."""
    unsure = [each.first_read_at for each in standing if each.confirmed_at is None]
    if not unsure or reading.taken_at is None:
        return False
    return utc_now() - max([*unsure, reading.taken_at]) >= READINGS_APART


def _percent(each: Loss) -> Decimal:
    return percent_of(each.lost, each.base, PERCENT_STEP)
