"""Scenarios of who is stopped and enabled: strategies by a person, everything by a loss."""

import asyncio
import shutil
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar, Final

from security.approval_files import PUBLIC_KEYS, SIGNING_KEY, read_files
from security.payload_files import ensure_file
from security.payload_files import read_file as read_payload_keys
from workers.build_id import own_build
from workers.chaos import crash_sql as sql
from workers.chaos.crash_books import EXIT_REFUSED, PROGRAM, TRIES_MAX, Kill
from workers.chaos.crash_play import WrongEnd
from workers.chaos.crash_scenario import Scenario
from workers.chaos.stage import WIDE_LIMITS

REASON = ("--reason", "crash sweep")
LEFT = Decimal("0.96")
"""Of the equity at the session's start."""
ALLOWED = {"max_daily_loss_pct": "2"}


_READ: Final = """
import asyncio, sys
from console.codec_audit import PayloadReads, Reading
from storage.database import Database

async def main():
    database = await Database.connect(sys.argv[1])
    await PayloadReads(database).record(Reading("crash sweep", decoded=1))
    await database.close()

asyncio.run(main())
"""


class Person(Scenario):
    """A command of a person, given again by whoever's died."""

    command: ClassVar[tuple[str, ...]]

    async def provoke(self) -> None:
        await self.give(*self.command)

    async def give(self, *command: str) -> int:
        return await self.play.run(PROGRAM, *command, *REASON, **self.play.console())

    async def give_until(self, *command: str, ends: tuple[int, ...] = (0,)) -> None:
        """Again while it dies at a point that another run had ordered."""
        code = 0
        for _ in range(TRIES_MAX):
            if (code := await self.give(*command)) in ends:
                return
        raise WrongEnd(f"{self.tag}: `trading {' '.join(command)}` ended with exit code {code}")

    @property
    def strategy(self) -> str:
        """One that nobody else disables."""
        return f"stopped-{self.tag}".lower()

    async def until_opens(self, *, approved: bool) -> None:
        """Propose as that strategy. Raises WrongEnd: it is not decided as it should be."""
        signal_id = self.new_id()
        await self.play.submit(signal_id, ticker=self.ticker, strategy=self.strategy)
        order = await self.play.until(signal_id, lambda order: order.settled, what="decided")
        if approved is ("STRATEGY_DISABLED" in (order.reason or "")):
            raise WrongEnd(f"{signal_id} of {self.strategy} ended with {order.status} {order.reason}")


class StrategyDisabled(Person):
    """Whose command died is not sure; given again, it stays disabled and opens nothing."""

    covers = ("commit console.strategy_disabled",)

    async def provoke(self) -> None:
        await self.give("strategy", "disable", self.strategy)

    async def finish(self) -> None:
        await self.give_until("strategy", "disable", self.strategy)
        await self.until_opens(approved=False)


class StrategyEnabled(Person):
    """It trades again, whether the command died before or after it was done."""

    covers = ("commit console.strategy_enabled",)

    async def prepare(self) -> None:
        await self.give_until("strategy", "disable", self.strategy)

    async def provoke(self) -> None:
        await self.give("strategy", "enable", self.strategy)

    async def finish(self) -> None:
        await self.give_until("strategy", "enable", self.strategy, ends=(0, EXIT_REFUSED))
        await self.until_opens(approved=True)


class PeakReset(Person):
    """The drawdown is measured from now on."""

    covers = ("commit console.peak_reset",)
    command = ("equity", "reset-peak")

    async def finish(self) -> None:
        await self.give_until(*self.command)


class BuildPromoted(Person):
    """A build is given new work, which it has: whoever's command died gives it again."""

    covers = ("commit console.build_promoted", "call temporal.promote")

    @property
    def command(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one build that runs."""
        return ("promote", own_build())

    async def finish(self) -> None:
        await self.give_until(*self.command)


class KeysRotated(Person):
    """The keys of approvals are changed, in a folder of this run's own: those in use stay."""

    covers = ("commit console.approval_keys",)

    async def prepare(self) -> None:
        keys = self.play.stage.data_dir.keys
        self.folder = keys.parent / f"keys-{self.tag}"
        self.folder.mkdir(exist_ok=True)
        for name in (SIGNING_KEY, PUBLIC_KEYS):
            shutil.copy(keys / name, self.folder)

    async def provoke(self) -> None:
        await self.give("keys", "rotate", "--folder", str(self.folder))

    async def finish(self) -> None:
        """Whether it was done or not, the files can be used, and the next time is recorded."""
        await self.give_until("keys", "rotate", "--folder", str(self.folder))
        signer, keys = read_files(self.folder)
        keys.require_current(signer)


class PayloadKeysAdded(Person):
    """The keys of payloads are changed, in a folder of this run's own: those in use stay."""

    covers = ("commit console.payload_keys",)

    async def prepare(self) -> None:
        self.folder = self.play.stage.data_dir.keys.parent / f"payload-keys-{self.tag}"
        self.folder.mkdir(exist_ok=True)
        self.before = set(ensure_file(self.folder, now=datetime.now(UTC)).by_id)

    async def provoke(self) -> None:
        await self.give("payloads", "add", "--folder", str(self.folder))

    async def finish(self) -> None:
        """Whether it was done or not, every former key is there, and the next time is recorded."""
        await self.give_until("payloads", "add", "--folder", str(self.folder))
        if not self.before < set(read_payload_keys(self.folder).by_id):
            raise WrongEnd(f"{self.tag}: a key of payloads is lost, or none was added")


class PayloadsRead(Scenario):
    """Payloads are shown to a person: nothing is, before a row says so."""

    covers = ("commit console.payloads_read",)

    async def provoke(self) -> None:
        await self._read()

    async def finish(self) -> None:
        for _ in range(TRIES_MAX):
            if await self._read() == 0:
                return
        raise WrongEnd(f"{self.tag}: what is read is not recorded after all")

    async def _read(self) -> int:
        return await self.play.run(sys.executable, "-c", _READ, self.play.stage.console_dsn)


class LossKill(Kill):
    """So much is lost in a day that trading stops by itself."""

    covers = ("commit equity.judged", "commit kill.carried_out")

    async def provoke(self) -> None:
        """Whoever dies between the readings, or before the switch is engaged, another goes on."""
        for number in range(TRIES_MAX):
            await self.play.stage.save_limits({**WIDE_LIMITS, **ALLOWED})
            lost = await self._lose()
            await self.play.catch_up_soon()
            await self.play.until_killed()
            await self.play.reset_limits()
            await self.play.stage.exchange.control("adjust", {"cash": f"{-lost:.2f}"})
            await self.play.reconcile(f"{self.tag}-{number}")
            await self.play.reconciled(f"{self.tag}-{number}")
            await self.play.catch_up_soon()
            if not await self.play.until_answer(0, sql.BREACHES):
                raise WrongEnd(f"{self.tag}: a loss that is made good counts for ever")
            await self.release()
            if not self.play.ordered(self.points):
                return
            await asyncio.sleep(1)

    async def _lose(self) -> Decimal:
        """Leave less of the session's start than may be; how much went, negative."""
        account = await self.play.stage.exchange.ask("GET", "/v2/account")
        amount = (Decimal(account["last_equity"]) * LEFT - Decimal(account["equity"])).quantize(
            Decimal("0.01")
        )
        await self.play.stage.exchange.control("adjust", {"cash": f"{amount:.2f}"})
        return amount
