"""Scenarios of what people are told of and how: messages about alerts, and pushes of the broker."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar, Final

import httpx2

from gateway.wake import SIGNATURE, signed
from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import clear_alert, raise_alert
from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import PROGRAM, TRIES_MAX
from workers.chaos.crash_orders import FRAMES, PlaceAndFill
from workers.chaos.crash_play import END_SECONDS, WrongEnd
from workers.chaos.crash_scenario import Scenario

COMPONENT: Final = "crash sweep"
WAKE_SECRET: Final = "the broker of the crash sweep signs with this"  # noqa: S105 - of a stage on this machine
PUSH_PAUSE_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.1


class AlertTold(Scenario):
    """An alert is raised and cleared: whoever dies, Slack and PagerDuty hear of both, PagerDuty as one incident."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit alerts.delivery_claimed", "commit alerts.delivery_settled", "call slack.post",
        "call pagerduty.enqueue",
    )  # fmt: skip
    again_seconds: ClassVar[float | None] = 40.0

    async def provoke(self) -> None:
        await self.raised(self.new_id())

    async def raised(self, subject: str) -> None:
        told = Alert(
            code=AlertCode.LATE_TRUTH, severity=Severity.HIGH, subject=subject, text=COMPONENT,
            correlation_id=subject,
        )  # fmt: skip
        async with self.play.pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, told, component=COMPONENT, now=datetime.now(UTC))

    async def cleared(self, subject: str) -> None:
        async with self.play.pool.acquire() as connection, connection.transaction():
            await clear_alert(
                connection, AlertCode.LATE_TRUTH, subject, component=COMPONENT, now=datetime.now(UTC)
            )

    async def finish(self) -> None:
        for subject in self.made:
            await self.until_told(subject, "trigger")
            await self.cleared(subject)
            await self.until_told(subject, "resolve")

    async def until_told(self, subject: str, action: str) -> None:
        """Wait until both were told. Raises WrongEnd: they never are."""
        receiver = self.play.receiver
        ending = f"/{AlertCode.LATE_TRUTH.value}:{subject}"
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while True:
                    incidents = [does for key, does in receiver.incidents.items() if key.endswith(ending)]
                    messages = [
                        each
                        for each in receiver.slack
                        if f"{subject}\n" in str(each["blocks"][1]["text"]["text"])
                    ]
                    over = ["OVER" in each["text"] for each in messages]
                    if incidents == [action] and (action == "resolve") in over:
                        return
                    await asyncio.sleep(POLL_SECONDS)
        raise WrongEnd(f"of the alert about {subject} not everybody was told ({action})")


class AlertResent(AlertTold):
    """Nobody takes the message; then a person has it sent again by the command line."""

    covers = ("commit console.alert_resent",)
    again_seconds = None

    async def prepare(self) -> None:
        subject = self.new_id()
        self.play.receiver.refused.add(subject)
        await self.raised(subject)
        for channel in ("slack", "pagerduty"):
            if not await self.play.until_answer("dead", sql.DELIVERY_STATE, subject, channel):
                raise WrongEnd(f"the message about {subject} to {channel} was not given up")
        self.play.receiver.refused.discard(subject)

    async def provoke(self) -> None:
        await self._resend("slack")

    async def finish(self) -> None:
        for channel in ("slack", "pagerduty"):
            for _ in range(TRIES_MAX):
                # It may die at a point that another run had ordered; refused is what is not dead any more.
                if await self._resend(channel) >= 0:
                    break
        await super().finish()

    async def _resend(self, channel: str) -> int:
        delivery = await self.play.ask(sql.DELIVERY_ID, self.signal_id, channel)
        return await self.play.run(PROGRAM, "alerts", "resend", str(delivery), **self.play.console())


class Woken(PlaceAndFill):
    """The stream tells nothing of an execution; the broker's push has it looked for."""

    covers = ("commit gateway.wake", "commit catch_up.wake_claimed", "commit catch_up.wake_answered")
    again_seconds = 30.0

    async def propose(self) -> None:
        await self.play.fault("drop_frame", {"stream": "trade_updates", "symbol": self.ticker}, FRAMES)
        await super().propose()
        await self.play.until_stands(self.signal_id)
        await self._push()

    async def finish(self) -> None:
        await self._push()
        await super().finish()
        if not await self.play.until_answer(True, sql.WAKES_ANSWERED):
            raise WrongEnd("a push of the broker was never answered")

    async def _push(self) -> None:
        """Again until it is taken, each time with a signature of its own."""
        while True:
            body = f"{self.tag} {time.monotonic_ns()}".encode()
            at = int(time.time())
            headers = {SIGNATURE: f"t={at},v1={signed(WAKE_SECRET, at, body).hex()}"}
            with suppress(httpx2.TransportError):
                answer = await self.play.stage.gateway.http.post(
                    "/v1/broker/wake", content=body, headers=headers
                )
                if answer.is_success:
                    return
            await asyncio.sleep(PUSH_PAUSE_SECONDS)
