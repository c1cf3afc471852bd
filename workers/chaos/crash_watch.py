"""Scenarios of what watches over orders beside their workflows: late executions, alerts, halts, budgets."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar, Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.orders import OrderStatus
from schemas.wire import Leg
from storage import halt
from storage.alerts import raise_alert
from storage.funds import note_refusal
from storage.orders import StoredOrder
from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import PROGRAM, TRIES_MAX
from workers.chaos.crash_orders import HeldBack, PlaceAndFill, cancel
from workers.chaos.crash_play import RESTING, WrongEnd
from workers.chaos.crash_scenario import Scenario

MISSED_SECONDS: Final = 6.0
"""After which an execution that nobody has told makes the stream doubtful."""
FRAMES: Final = 10
ALERTED_SECONDS: Final = 15.0
ASK_AGAIN_SECONDS: Final = 3.0
DENIALS: Final = 40
PROBED_SECONDS: Final = 0.5
COMPONENT: Final = "crash sweep"


class MissedFill(PlaceAndFill):
    """The stream goes on and tells nothing of an execution: the catch-up finds it and doubts the stream."""

    covers = ("commit catch_up.stream_doubted",)
    again_seconds = 30.0

    async def propose(self) -> None:
        await self.play.fault("drop_frame", {"stream": "trade_updates", "symbol": self.ticker}, FRAMES)
        await super().propose()
        await self.play.until_stands(self.signal_id)
        await asyncio.sleep(MISSED_SECONDS)
        await self.play.catch_up_soon()


class FillsMissing(Scenario):
    """Executions of an order at rest do not add up for a minute: an alert, which ends when they do."""

    covers = ("commit stream.alerts", "commit fills.found")
    again_seconds = 90.0

    async def prepare(self) -> None:
        self.subject = (await self.rest()).client_order_id or ""

    @property
    def found(self) -> bool:
        return self.points[0].split()[1] == "fills.found"

    async def hold(self) -> None:
        while self.found and not await self.play.has_alert(self.subject, seconds_max=ALERTED_SECONDS):
            await self.play.ask(sql.MISS_FILLS, self.signal_id)

    async def provoke(self) -> None:
        await self.play.ask(sql.FIND_FILLS if self.found else sql.MISS_FILLS, self.signal_id)

    async def finish(self) -> None:
        await self.play.ask(sql.FIND_FILLS, self.signal_id)
        await self.play.until_alert_ends(self.subject)
        await cancel(self.play, self.signal_id)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class BrokerHalt(HeldBack):
    """The broker is given up on after risk has approved: the order waits until a probe finds the broker there."""

    covers = ("commit placement.delayed", "commit halt.probe_claimed", "commit halt.closed")
    alone = True
    """Risk refuses what others propose meanwhile."""

    async def prepare(self) -> None:
        if not await self.play.until_answer(False, sql.HALTED):
            raise WrongEnd(f"{self.tag}: the halt of a run before it never ends")
        await super().prepare()

    async def provoke(self) -> None:
        """As an answer of 401 would: at once."""
        async with self.play.pool.acquire() as connection, connection.transaction():
            await halt.note_failure(connection, COMPONENT, at_once=True, now=datetime.now(UTC))
        await asyncio.gather(self.play.up("execution"), self._hold_probes())

    async def _hold_probes(self) -> None:
        """Else the other process's may end the halt before the order's worker is there."""
        while self.play.ordered([point for point in self.points if point.split()[1] == "placement.delayed"]):
            await self.play.ask(sql.PROBED)
            await asyncio.sleep(PROBED_SECONDS)

    async def finish(self) -> None:
        for name in self.made:
            await self.play.filled(name)


class Denied(Scenario):
    """The broker denies an order that it had shown, a person is told, and then it is there again."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit doubts.denied", "commit doubts.forgotten", "commit alerts.unknown_told",
        "commit alerts.unknown_over",
    )  # fmt: skip
    again_seconds = 60.0

    async def prepare(self) -> None:
        self.order = await self.rest()

    async def provoke(self) -> None:
        await deny(self, self.order, times=1)
        await self.play.ask(sql.DENY_ONCE, self.signal_id)

    async def finish(self) -> None:
        if not await self.play.until_answer(False, sql.DENIED, self.signal_id):
            raise WrongEnd(f"{self.signal_id} stays in doubt")
        await self.play.until_alert_ends(self.order.client_order_id or "")
        await cancel(self.play, self.signal_id)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class ProvedGone(Denied):
    """So long and wholly denied that it counts as gone; then it is found open after all, and cancelled."""

    covers = ("commit doubts.proved_absent",)
    alone = True
    again_seconds = 40.0

    async def provoke(self) -> None:
        await deny(self, self.order, times=DENIALS)
        await self.play.fault("short_list", {"method": "GET", "path": "/v2/orders"}, DENIALS)
        await self.play.ask(sql.DENY_LONG, self.signal_id)

    async def finish(self) -> None:
        await self.play.settled(self.signal_id, OrderStatus.FATAL_ERROR)
        await self.play.stage.exchange.clear_faults()
        await self.play.reconcile(self.signal_id)
        await self.play.until(
            self.signal_id, lambda order: order.status is OrderStatus.ACKNOWLEDGED, what="open after all"
        )
        # Its workflow had ended: the sweeper starts it anew, and until then nobody is there to be asked.
        for _ in range(TRIES_MAX):
            await cancel(self.play, self.signal_id)
            if (await self.play.order(self.signal_id)).status.is_final:
                break
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class DeniedStop(Scenario):
    """Nobody knows for a minute whether a stop stands: a person is told of its shares, and then it is there."""

    covers = ("commit alerts.uncovered_told",)
    again_seconds = 75.0

    async def prepare(self) -> None:
        ticker = await self.play.tickers.fresh()
        await self.play.submit(self.new_id(), ticker=ticker, hard_stop_loss=RESTING)
        await self.play.settled(self.signal_id, OrderStatus.FILLED)
        await self.play.until(
            self.signal_id, lambda leg: leg.status is OrderStatus.ACKNOWLEDGED, what="protected", leg=Leg.STOP
        )

    async def provoke(self) -> None:
        await self.play.ask(sql.STOP_DENIED, self.signal_id)

    async def finish(self) -> None:
        if not await self.play.until_answer(False, sql.STOP_IN_DOUBT, self.signal_id):
            raise WrongEnd(f"the stop of {self.signal_id} stays in doubt")
        await self.play.until_alert_ends(self.signal_id)


async def deny(run: Scenario, order: StoredOrder, *, times: int) -> None:
    """Let the broker know neither of its ids."""
    by_id = {"method": "GET", "path": f"/v2/orders/{order.broker_order_id}"}
    by_name = {"method": "GET", "client_order_id": order.client_order_id or ""}
    for match in (by_id, by_name):
        await run.play.fault("status_404", match, times)


class FundsCovered(Scenario):
    """A strategy whose buy the broker would not pay for buys again once the account covers it."""

    covers = ("commit funds.covered",)
    again_seconds = 30.0

    @property
    def strategy(self) -> str:
        return f"poor-{self.tag}"

    async def prepare(self) -> None:
        self.order = await self.rest(strategy=self.strategy)

    async def provoke(self) -> None:
        async with self.play.pool.acquire() as connection, connection.transaction():
            await note_refusal(connection, self.order, Decimal(1), component=COMPONENT, now=datetime.now(UTC))
        await self.play.catch_up_soon()

    async def finish(self) -> None:
        await self.play.catch_up_soon()
        if not await self.play.until_answer(True, sql.COVERED, self.strategy):
            raise WrongEnd(f"{self.strategy} is refused for ever")
        await cancel(self.play, self.signal_id)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)


class AlertCleared(Scenario):
    """A person clears an alert; whoever's command died gives it again."""

    covers = ("commit console.alert_cleared",)

    async def prepare(self) -> None:
        self.order = await self.rest()
        told = Alert(
            code=AlertCode.LATE_TRUTH, severity=Severity.HIGH, subject=self.signal_id, text=COMPONENT,
            correlation_id=self.signal_id,
        )  # fmt: skip
        async with self.play.pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, told, component=COMPONENT, now=datetime.now(UTC))
        await self.play.until_alert(self.signal_id)

    async def provoke(self) -> None:
        await self._clear()

    async def finish(self) -> None:
        # Another run's point may be what it dies at.
        for _ in range(TRIES_MAX):
            if await self._clear() == 0:
                break
        else:
            raise WrongEnd(f"the alert about {self.signal_id} cannot be cleared")
        await self.play.until_alert_ends(self.signal_id)
        await cancel(self.play, self.signal_id)
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)

    async def _clear(self) -> int:
        command = ("alerts", "clear", f"{AlertCode.LATE_TRUTH.value}:{self.signal_id}", "--reason", COMPONENT)
        return await self.play.run(PROGRAM, *command, **self.play.console())
