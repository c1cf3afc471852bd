"""Scenarios of one order each: how it comes to pass a crash point, and what its right end is."""

import asyncio
from contextlib import suppress
from typing import ClassVar, Final

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from schemas import wire
from schemas.orders import CancelAnswer, OrderStatus
from schemas.runs import CancelCommand, CancelReply
from schemas.wire import Leg
from workers.chaos.crash_play import RESTING, Play, WrongEnd
from workers.chaos.crash_scenario import Scenario

UPDATE_SECONDS: Final = 400.0
FRAMES: Final = 10
DECIDED_SECONDS: Final = 20.0
HELD_BACK_TRIES: Final = 5
DEADLINE_SECONDS: Final = 45.0
"""From a POST to the moment from which a look-up that finds nothing counts: 15 s and 30 s more."""


class PlaceAndFill(Scenario):
    """A market order, filled."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit gateway.signal", "call temporal.start", "commit risk.decided", "commit market.pre_trade",
        "commit placement.intent", "call place_order", "commit placement.accepted", "commit evidence.taken_in",
        "call temporal.signal", "commit order.signalled", "call get_order_status", "commit end.settled",
        "commit relay.numbered", "commit relay.asleep", "commit market.quotes", "commit stream.seen",
        "commit stream.held", "commit budget.taken",
    )  # fmt: skip
    again_seconds = 30.0

    async def provoke(self) -> None:
        if self.made:
            await self.take_ticker()
        await self.propose()

    async def propose(self) -> None:
        """One signal."""
        await self.play.submit(self.new_id(), ticker=self.ticker)

    async def finish(self) -> None:
        for name in self.made:
            await self.play.filled(name)


class FirstOfItsTicker(PlaceAndFill):
    """Nobody has watched this ticker: quote, account and clock are fetched for risk first."""

    covers = ("commit market.refreshed", "call get_account")

    async def propose(self) -> None:
        self.ticker = await self.play.tickers.fresh()
        await super().propose()


class FirstOfAProcess(PlaceAndFill):
    """The first order of a fresh execution worker has the broker's calendar read."""

    covers = ("call get_calendar",)

    async def hold(self) -> None:
        await self.play.kill("execution")


class LostAnswer(PlaceAndFill):
    """The order lands and its answer is lost: looked up and adopted."""

    covers = (
        "commit placement.failed", "call get_order_by_client_id", "commit resolution.adopted",
        "commit halt.counted", "commit halt.forgotten",
    )  # fmt: skip

    async def propose(self) -> None:
        """Nor does the stream tell of it, which would spare the look-up."""
        await self.play.fault("drop_frame", {"stream": "trade_updates", "symbol": self.ticker}, FRAMES)
        await self.play.on_post("drop_after_landing", self.ticker)
        await super().propose()


class ProvedAbsence(Scenario):
    """The POST never lands: sent again under the same id once 45 s of look-ups have proved it."""

    provoked = False
    covers = ("commit resolution.unknown", "commit resolution.absence", "call get_orders")

    cannot_wait = True
    again_seconds = 70.0

    async def prepare(self) -> None:
        """Real time, a minute nearly: so these go on side by side."""
        await self._lose()
        if self.points[0].split()[1] != "resolution.unknown":
            await asyncio.sleep(DEADLINE_SECONDS)

    async def _lose(self) -> None:
        await self.play.on_post("drop_before_landing", self.ticker)
        await self.sent(lambda order: order.may_stand)

    async def provoke(self) -> None:
        if self.provoked:
            await self.take_ticker()
            await self._lose()
        self.provoked = True

    async def finish(self) -> None:
        for name in self.made:
            order = await self.play.filled(name)
            if order.status is OrderStatus.FILLED and order.post_count < 2:
                raise WrongEnd(f"{name} was filled by a POST that never landed")


class RefusedByBroker(Scenario):
    """The broker says no: its code ends the order."""

    covers = ("commit placement.failed",)

    async def provoke(self) -> None:
        await self.play.submit(self.new_id(), ticker=self.play.tickers.halted())

    async def finish(self) -> None:
        # Whose answer was lost with its process is looked up, not found, and sent again after the proof.
        for name in self.made:
            await self.play.settled(name, OrderStatus.REJECTED)


class RefusedPreTrade(Scenario):
    """The spread is too wide right before the POST."""

    covers = ("commit market.pre_trade",)

    async def provoke(self) -> None:
        await self.play.submit(self.new_id(), ticker="WIDE")

    async def finish(self) -> None:
        for name in self.made:
            order = await self.play.settled(name, OrderStatus.REJECTED)
            if order.post_count:
                raise WrongEnd(f"{name} was sent although its spread was too wide")


class RefusedByRisk(Scenario):
    """More shares than any order may have."""

    covers = ("commit risk.decided",)

    async def provoke(self) -> None:
        await self.play.submit(self.new_id(), ticker=self.ticker, quantity="900000")

    async def finish(self) -> None:
        for name in self.made:
            order = await self.play.settled(name, OrderStatus.REJECTED)
            if order.post_count:
                raise WrongEnd(f"{name} was sent although risk said no")


class NotSent(PlaceAndFill):
    """The broker does not look at the POST (429): it was none, and is made later."""

    covers = ("commit placement.taken_back", "commit budget.paused")

    async def propose(self) -> None:
        await self.play.on_post("status_429", self.ticker)
        await super().propose()


class HeldBack(Scenario):
    """An approved order whose execution worker is down."""

    async def prepare(self) -> None:
        """Risk decides without that worker only where it need not fetch anything: so the ticker is known first."""
        first = self.new_id()
        await self.play.submit(first, ticker=self.ticker)
        await self.play.filled(first)

    async def hold(self) -> None:
        for number in range(HELD_BACK_TRIES):
            await self.play.down("execution")
            # Never the same order twice, which risk would refuse.
            await self.play.submit(self.new_id(), ticker=self.ticker, quantity=str(2 + number))
            if await self.play.decided(self.signal_id, seconds_max=DECIDED_SECONDS):
                return
            await self.play.up("execution")
        raise WrongEnd(f"{self.tag}: risk never decided while the execution worker was down")

    async def clear(self) -> None:
        await self.play.up("execution")

    async def finish(self) -> None:
        for name in self.made[:-1]:
            await self.play.filled(name)


class IntentRefused(HeldBack):
    """The reservation is gone when the order is about to leave."""

    covers = ("commit placement.intent_refused", "commit budget.given_back")

    async def provoke(self) -> None:
        await self.play.lapse(self.signal_id)
        await self.play.up("execution")

    async def finish(self) -> None:
        await super().finish()
        order = await self.play.settled(self.signal_id, OrderStatus.REJECTED)
        if order.reason != "RESERVATION_LAPSED":
            raise WrongEnd(f"{self.signal_id} was refused for {order.reason}")


class Cancel(Scenario):
    """An order at rest is cancelled by a person."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit end.cancel_remembered", "call cancel_order", "commit end.cancel_requested",
    )  # fmt: skip

    async def prepare(self) -> None:
        await self.rest()

    async def provoke(self) -> None:
        await cancel(self.play, self.signal_id)

    async def finish(self) -> None:
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class CancelBeforePost(HeldBack):
    """The cancel comes before the order has left."""

    covers = ("commit end.refused",)

    async def provoke(self) -> None:
        asked = asyncio.create_task(cancel(self.play, self.signal_id))
        await self.play.until_cancel_waits(self.signal_id)
        await self.play.up("execution")
        await asked

    async def finish(self) -> None:
        await super().finish()
        order = await self.play.settled(self.signal_id, OrderStatus.CANCELED)
        if order.post_count:
            raise WrongEnd(f"{self.signal_id} was sent after its cancel")


class CancelNotThere(Scenario):
    """The broker denies once that it has the order: that ends nothing, and the next cancel finds it."""

    covers = ("commit end.cancel_not_taken",)

    async def prepare(self) -> None:
        self.order = await self.rest()

    async def provoke(self) -> None:
        path = f"/v2/orders/{self.order.broker_order_id}"
        await self.play.fault("status_404", {"method": "DELETE", "path": path})
        await self.play.fault("status_404", {"method": "GET", "path": path})
        await cancel(self.play, self.signal_id, CancelAnswer.UNKNOWN_ORDER)

    async def finish(self) -> None:
        """Whoever died between the cancel and the look-up has left the look-up's denial for this one."""
        await cancel(self.play, self.signal_id, CancelAnswer.UNKNOWN_ORDER)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class Gap(PlaceAndFill):
    """The update stream is cut while an order is on its way; the catch-up finds what was missed."""

    covers = (
        "commit stream.lost", "commit stream.connected", "call stream.listen", "call get_fills",
        "commit catch_up.account", "commit catch_up.done",
    )  # fmt: skip

    async def propose(self) -> None:
        await self.play.fault("cut_socket", {"stream": "trade_updates", "symbol": self.ticker})
        await super().propose()
        # Before it has left, its own checks would ask for the account, and leave nothing to the catch-up.
        await self.play.until_stands(self.signal_id)
        await self.play.catch_up_soon()


async def cancel(play: Play, signal_id: str, *also: CancelAnswer) -> None:
    """Ask the workflow as the command line does; the answer must be an honest one, or one of ``also``.

    Raises:
        WrongEnd: no answer, or one that cannot be.
    """
    command = CancelCommand(actor="crash sweep")
    reply: CancelReply | None = None
    try:
        async with asyncio.timeout(UPDATE_SECONDS):
            while reply is None:
                with suppress(WorkflowUpdateRPCTimeoutOrCancelledError):
                    reply = await play.workflow(signal_id).execute_update(
                        wire.UPDATE_CANCEL_ORDER, command, result_type=CancelReply
                    )
    except TimeoutError:
        raise WrongEnd(f"{signal_id}: nobody answered the cancel") from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return  # It has ended.
        raise
    if reply.answer not in (CancelAnswer.REQUESTED, CancelAnswer.TOO_LATE, *also):
        raise WrongEnd(f"{signal_id}: the cancel was answered {reply.answer.value}")


class Protected(PlaceAndFill):
    """An entry with a hard stop loss: it is filled, its stop is placed once and stands for the share."""

    covers = ("commit protection.reviewed",)

    async def propose(self) -> None:
        self.ticker = await self.play.tickers.fresh()
        await self.play.submit(self.new_id(), ticker=self.ticker, hard_stop_loss=RESTING)

    async def finish(self) -> None:
        await super().finish()
        for name in self.made:
            stop = await self.play.until(
                name, lambda leg: leg.status is OrderStatus.ACKNOWLEDGED, what="protected", leg=Leg.STOP
            )
            if stop.quantity != 1 or stop.generation:
                raise WrongEnd(f"{name}: a stop for {stop.quantity}, generation {stop.generation}")
