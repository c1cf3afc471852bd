"""Scenarios of what people do: tickers locked, alerts seen to, a second person's word, positions closed."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

from console.acts.limits import Change, Wanted, raise_content
from schemas.alerts import AlertCode
from schemas.limits import StrategyLimits
from schemas.mode import Mode
from schemas.orders import OrderStatus
from schemas.people import Role
from schemas.risk import LimitScope
from schemas.two_persons import AskedKind, AskedState, Standing
from security.two_persons import ASK_VALID_FOR
from storage import two_persons
from storage.limits import read_standing, save_limits
from storage.live import read_configuration, save_configuration
from storage.orders import OrderNotFound
from storage.people import insert_person
from storage.two_persons import list_asked, read_asked
from workers.chaos import crash_sql as sql
from workers.chaos.crash_alerts import AlertTold
from workers.chaos.crash_books import EXIT_REFUSED, PROGRAM, TRIES_MAX
from workers.chaos.crash_people import REASON, Person
from workers.chaos.crash_play import WrongEnd
from workers.chaos.crash_sign_in import AtConsole, Lost

COMPONENT: Final = "crash sweep"
LOCKED: Final = "SYMBOL_LOCKED"
PROPOSED: Final = ("proposed: risk decides next", "proposed again: it is the same signal")
"""What the page of closes says of a signal that the gateway has taken."""
POLL_SECONDS: Final = 0.2


class TickerLocked(Person):
    """Whose command died is not sure; given again, nothing is opened in the ticker."""

    covers = ("commit console.symbol_locked",)

    async def prepare(self) -> None:
        await self.take_ticker()

    async def provoke(self) -> None:
        await self.give("lock", self.ticker)

    async def finish(self) -> None:
        await self.give_until("lock", self.ticker)
        await self.until_decided(locked=True)

    async def until_decided(self, *, locked: bool) -> None:
        """Propose in it, and leave it unlocked. Raises WrongEnd: not decided as it should be."""
        signal_id = self.new_id()
        await self.play.submit(signal_id, ticker=self.ticker)
        order = await self.play.until(signal_id, lambda order: order.settled, what="decided")
        await self.give_until("unlock", self.ticker, ends=(0, EXIT_REFUSED))
        if locked is not (LOCKED in (order.reason or "")):
            raise WrongEnd(f"{signal_id} in {self.ticker} ended with {order.status} {order.reason}")


class TickerUnlocked(TickerLocked):
    """It is traded again, whether the command died before or after it was done."""

    covers = ("commit console.symbol_unlocked",)

    async def prepare(self) -> None:
        await super().prepare()
        await self.give_until("lock", self.ticker)

    async def provoke(self) -> None:
        await self.give("unlock", self.ticker)

    async def finish(self) -> None:
        await self.give_until("unlock", self.ticker, ends=(0, EXIT_REFUSED))
        await self.until_decided(locked=False)


class AlertSeenTo(AlertTold):
    """Acknowledged, silenced, heard again: in the end the receivers are told that it lasts, and that it is over."""

    covers = (
        "commit console.alert_acknowledged", "commit console.alert_silenced", "commit console.alert_heard",
        "commit alerts.silence_over",
    )  # fmt: skip
    again_seconds = 20.0

    async def provoke(self) -> None:
        await self.raised(self.new_id())
        for command in (("ack",), ("silence", "--for", "1h", *REASON), ("hear",)):
            await self.give(command[0], self.signal_id, *command[1:])

    async def finish(self) -> None:
        for subject in self.made:
            for command, ends in ((("ack",), (0,)), (("hear",), (0, EXIT_REFUSED))):
                for _ in range(TRIES_MAX):
                    if await self.give(command[0], subject, *command[1:]) in ends:
                        break
        await super().finish()

    async def give(self, command: str, subject: str, *more: str) -> int:
        alert = f"{AlertCode.LATE_TRUTH.value}:{subject}"
        return await self.play.run(PROGRAM, "alerts", command, alert, *more, **self.play.console())


class SecondPerson(AtConsole):
    """Taken up, taken back, carried out: each once, however often the console dies in it."""

    covers = (
        "commit console.approval_taken_up", "commit console.approval_ended", "commit console.approval_decided",
    )  # fmt: skip
    role = Role.RISK

    async def prepare(self) -> None:
        await super().prepare()
        now = datetime.now(UTC)
        self.other = Standing(
            person_id=uuid4(), name=f"{self.name}-2", role=Role.RISK, disabled=False, standing_since=now
        )
        async with self.play.stage.database() as connection, connection.transaction():
            self.other = self.other.model_copy(
                update={
                    "person_id": await insert_person(
                        connection, self.other.name, Role.RISK, None, by=COMPONENT, now=now
                    )
                }
            )
            await save_limits(
                connection, StrategyLimits(max_order_quantity=Decimal(10)),
                author=COMPONENT, reason=COMPONENT, now=now, name=self.strategy,
            )  # fmt: skip
        await self.until(self.enter, "signed in")

    @property
    def strategy(self) -> str:
        """One that nobody trades for."""
        return f"second-{self.tag}".lower()

    async def act(self) -> None:
        await self.anew()
        terminals = await self.ask(None)
        await self.post(f"/acts/approvals/{terminals}/take-up")
        await self.post(f"/acts/approvals/{terminals}/withdraw")
        others = await self.ask(self.other)
        async with self.play.stage.database() as connection:
            asked = await read_asked(connection, others)
        await self.post(f"/acts/approvals/{others}/carry-out", {"content_hash": asked.content_hash})

    async def ask(self, asker: Standing | None) -> UUID:
        """Ask for ten shares more, as another person or a terminal."""
        approval_id, now = uuid4(), datetime.now(UTC)
        whose = Wanted(LimitScope.STRATEGY, self.strategy)
        async with self.play.stage.database() as connection, connection.transaction():
            standing = await read_standing(connection, whose.scope, whose.name, now)
            before: Any = standing.in_force.document if standing.in_force else None
            document = StrategyLimits(max_order_quantity=before.max_order_quantity + 10)
            change = Change(whose, lambda _: document, reason=COMPONENT, author=COMPONENT)
            await two_persons.ask(
                connection, AskedKind.LIMIT_RAISE, raise_content(change, standing, document),
                approval_id=approval_id, asker=asker, asked_name=asker.name if asker else COMPONENT,
                reason=COMPONENT, now=now, valid_until=now + ASK_VALID_FOR, component=COMPONENT,
            )  # fmt: skip
        return approval_id

    async def finish(self) -> None:
        """Every raise that was carried out stands in the limits once, and no other does."""
        await super().finish()
        async with self.play.stage.database() as connection:
            found = [
                each
                for each in await list_asked(connection, datetime.now(UTC), everything=True)
                if self.strategy in each.content
            ]
            versions = await connection.fetchval(sql.LIMITS_OF, self.strategy)
        done = sum(each.state is AskedState.CARRIED_OUT for each in found)
        if versions != 1 + done:
            raise WrongEnd(f"{self.tag}: {done} raises were carried out, and {versions} versions stand there")


class LiveAsked(AtConsole):
    """An Admin asks for live trading: once, however often it is sent. This is paper, whatever the row says."""

    covers = ("commit console.live_asked",)
    role = Role.ADMIN

    async def prepare(self) -> None:
        await super().prepare()
        self.approval_id = uuid4()
        async with self.play.stage.database() as connection:
            stored = await read_configuration(connection)
        if stored is None:
            raise WrongEnd(f"{self.tag}: execution has not said what it runs with")
        self.stored = stored
        await self.until(self.enter, "signed in")
        async with self.play.stage.database() as connection, connection.transaction():
            await connection.execute(sql.AS_TIME_DOES)
            await connection.execute(sql.STANDS_LONG, self.name)

    async def act(self) -> None:
        await self.anew()
        await self.say(Mode.LIVE)
        try:
            await self.ask()
        finally:
            await self.say(Mode.PAPER)

    async def say(self, mode: Mode) -> None:
        async with self.play.stage.database() as connection, connection.transaction():
            await save_configuration(
                connection, self.stored.configuration, mode=mode, reasons=[COMPONENT], component=COMPONENT,
                now=datetime.now(UTC),
            )  # fmt: skip

    async def ask(self) -> None:
        form = {
            "configuration_hash": self.stored.configuration.hash, "approval_id": str(self.approval_id),
            "span": "1h", "reason": COMPONENT,
        }  # fmt: skip
        await self.post("/acts/live/ask", form)

    async def finish(self) -> None:
        await super().finish()
        await self.until(self.act, "heard")
        async with self.play.stage.database() as connection:
            asked = await read_asked(connection, self.approval_id)
            told = await connection.fetchval(sql.ASKED_BY, self.name)
        if (asked.state, told) != (AskedState.ASKED, 1):
            raise WrongEnd(f"{self.tag}: {asked.state}, told {told} times")


class ClosedByConsole(AtConsole):
    """A position is closed by a person: however often it is sent, so much is sold once."""

    covers = ("commit console.close_asked",)
    role = Role.RISK

    async def prepare(self) -> None:
        await super().prepare()
        await self.take_ticker()
        await self.sent(lambda order: order.status is OrderStatus.FILLED)
        self.act_id = uuid4()
        await self.until(self.enter, "signed in")

    async def act(self) -> None:
        await self.anew()
        await self.close()

    async def close(self) -> None:
        form = {"ticker": self.ticker, "reason": COMPONENT, "act_id": str(self.act_id)}
        answer = await self.post("/acts/close", form)
        if answer.status_code == 403:
            raise Lost("the factor is not fresh")
        if not any(word in answer.text for word in PROPOSED) and not await self.is_taken():
            raise Lost("the gateway was away: the page says that it was not sent, or may not have been")

    async def is_taken(self) -> bool:
        """Where it is sold already, the page says that nothing is held."""
        for signal_id in await self.closes():
            with suppress(OrderNotFound):
                await self.play.order(signal_id)
                return True
        return False

    async def finish(self) -> None:
        await super().finish()
        await self.until(self.act, "heard")
        for signal_id in await self.closes():
            self.play.taken.append(signal_id)
            await self.play.until(signal_id, lambda order: order.settled, what="settled")
        if len(await self.closes()) != 1:
            raise WrongEnd(f"{self.tag}: {await self.closes()} closes were asked for, one was meant")

    async def closes(self) -> list[str]:
        await asyncio.sleep(POLL_SECONDS)
        async with self.play.stage.database() as connection:
            return [row["signal_id"] for row in await connection.fetch(sql.CLOSES, self.ticker, self.name)]
