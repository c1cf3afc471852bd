"""Scenarios of everything that is not one order: books, start-up, set-up, kill switch."""

import asyncio
import sys
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from schemas import wire
from schemas.kill import OrderFate
from schemas.orders import OrderStatus
from storage.grants import Role
from workers.chaos import crash_sql as sql
from workers.chaos.crash_orders import PlaceAndFill, cancel
from workers.chaos.crash_play import STRANGER, WrongEnd
from workers.chaos.crash_scenario import Scenario

BIG_DRIFT: Final = Decimal("0.08")
"""Of the equity: above the 5 % at which a reconciliation stops trading."""
REPLACED_FRAMES: Final = 4
"""What the broker tells of a replacement: pending_replace, pending_new, replaced, new."""
TRIES_MAX: Final = 20
EXIT_REFUSED: Final = 1
COMPONENT: Final = "crash-sweep"
PROGRAM: Final = str(Path(sys.executable).with_name("trading"))
_ALLOW: Final = """
import asyncio, asyncpg, sys
from console.demo_market import allow_early
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await allow_early(connection)
    await connection.close()
asyncio.run(main())
"""


class Books(Scenario):
    """One at a time: each moves the account."""

    again_seconds = 8.0

    async def reconcile(self) -> None:
        """Start this run's next reconciliation."""
        await self.play.reconcile(self.new_id())

    async def finish(self) -> None:
        for name in self.made:
            await self.play.reconciled(name)


class CleanReading(Books):
    """Nothing differs."""

    covers = (
        "commit reconciliation.opened", "commit reconciliation.finished", "call get_positions",
        "call get_cash_activities", "call get_open_orders",
    )  # fmt: skip

    async def provoke(self) -> None:
        await self.reconcile()


class Drift(Books):
    """Cash that nothing explains, in two readings: overwritten."""

    covers = (
        "commit reconciliation.reading",
        "commit reconciliation.asked",
        "commit reconciliation.overwritten",
        "commit alerts.drift_told",
    )

    async def provoke(self) -> None:
        await self.play.stage.exchange.control("adjust", {"cash": f"-{len(self.made) + 1}.25"})
        await self.reconcile()


class Unsettled(Books):
    """Each reading shows another difference: the run comes to nothing, the books stay."""

    covers = ("commit reconciliation.in_vain",)
    again_seconds = 20.0

    async def provoke(self) -> None:
        await self.reconcile()
        for _ in range(60):
            await self.play.stage.exchange.control("adjust", {"cash": "-0.01"})
            await asyncio.sleep(0.1)


class StrangersOrder(Books):
    """An order that somebody else has placed is seen, kept apart, and seen to end."""

    covers = ("commit reconciliation.finished", "commit evidence.taken_in")

    async def provoke(self) -> None:
        name = f"{STRANGER}{self.tag}.{len(self.made)}"
        order = {"symbol": self.ticker, "side": "buy", "qty": "1", "type": "limit", "time_in_force": "day"}
        placed = await self.play.stage.exchange.ask(
            "POST", "/v2/orders", order | {"limit_price": "50.00", "client_order_id": name}
        )
        await self.reconcile()
        await self.play.stage.exchange.ask("DELETE", f"/v2/orders/{placed['id']}")


class EndedUnheard(Books):
    """An order of ours is cancelled at the broker and nobody tells us: the reconciliation adopts its end."""

    covers = ("commit reconciliation.adopted",)
    again_seconds = 15.0

    async def provoke(self) -> None:
        order = await self.rest()
        await self.play.fault("drop_frame", {"stream": "trade_updates", "symbol": self.ticker}, 3)
        await self.play.stage.exchange.ask("DELETE", f"/v2/orders/{order.broker_order_id}")
        await asyncio.sleep(0.3)
        await self.play.reconcile(order.signal_id)

    async def finish(self) -> None:
        await super().finish()
        for name in self.made:
            await self.play.settled(name, OrderStatus.CANCELED)


class ReplacedThere(Books):
    """An order of ours is replaced by hand at the broker: what replaced it is ours from then on."""

    covers = ("commit reconciliation.adopted",)
    again_seconds = 15.0

    async def provoke(self) -> None:
        order = await self.rest()
        await self.play.fault(
            "drop_frame", {"stream": "trade_updates", "symbol": self.ticker}, REPLACED_FRAMES
        )
        changed = {"limit_price": "98.40"}
        after = await self.play.stage.exchange.ask("PATCH", f"/v2/orders/{order.broker_order_id}", changed)
        self.play.strange.add(after["client_order_id"])
        await asyncio.sleep(0.3)
        await self.play.reconcile(order.signal_id)

    async def finish(self) -> None:
        await super().finish()
        for name in self.made:
            await cancel(self.play, name)
            await self.play.settled(name, OrderStatus.CANCELED)


class BooksTooOld(Books):
    """The last good reconciliation is too old: orders wait, a new one is started, they go out."""

    covers = ("call temporal.start_reconciliation",)
    again_seconds = 15.0

    async def provoke(self) -> None:
        await self.play.grow_old()
        await self.play.submit(self.new_id(), ticker=self.ticker)

    async def finish(self) -> None:
        for name in self.made:
            await self.play.filled(name)


class StartOfExecution(PlaceAndFill):
    """A worker that holds the broker's keys starts, dies, starts."""

    covers: ClassVar[tuple[str, ...]] = ("commit start.bound", "commit clock.checked", "call get_clock")
    again_seconds = 40.0
    at_start = True
    process = "execution"

    async def provoke(self) -> None:
        if self.play.stage.is_up(self.process):  # Else it starts just now, after the last run's death.
            await self.play.kill(self.process)
        await super().provoke()


class StartOfOperations(StartOfExecution):
    """The one worker that sees to what must run once."""

    covers = (
        "call temporal.start_kill_switch", "call temporal.start_trade_updates", "call temporal.schedule",
        "commit market.clock", "commit alerts.delivery_channels", "commit builds.seen",
    )  # fmt: skip
    process = "operations"


class SetUp(Scenario):
    """A new database is set up, which dies in the middle, and once more."""

    covers = (
        "commit start.migrated", "commit start.granted", "commit start.passwords", "commit start.set_up",
    )  # fmt: skip

    @property
    def database(self) -> str:
        return self.tag.replace("-", "_").replace(".", "_")

    async def prepare(self) -> None:
        await self.play.ask(sql.CREATE_DATABASE.format(name=self.database))

    async def provoke(self) -> None:
        # Another run's second try may have died in our place.
        if await self._migrate() == 0 and self.play.ordered(self.points):
            raise WrongEnd(f"{self.tag}: it was set up without dying")

    async def finish(self) -> None:
        code = None
        for _ in range(TRIES_MAX):
            # It may die at a point that another run had ordered, or meet that run at a role's row.
            if (code := await self._migrate()) in (0, EXIT_REFUSED):
                break
        if code != 0:
            raise WrongEnd(f"{self.tag}: set up anew, it ended with exit code {code}")
        owner = urlsplit(self.play.stage.owner_dsn)
        connection = await asyncpg.connect(urlunsplit(owner._replace(path=f"/{self.database}")))
        try:
            if not await connection.fetchval(sql.LIMITS):
                raise WrongEnd(f"{self.tag}: a database without limits")
        finally:
            await connection.close()

    async def _migrate(self) -> int:
        stage = self.play.stage
        url = urlsplit(stage.owner_dsn)._replace(path=f"/{self.database}")
        variables = {"TRADING_DATABASE_URL": urlunsplit(url)}
        for role in Role:
            # Roles are the server's, not the database's: theirs must stay as they are.
            file = stage.data_dir.keys / f"{role.value}_password"
            password = file.read_text().strip() if file.exists() else COMPONENT
            variables[f"TRADING_{role.value}_password".upper()] = password
        return await self.play.run(sys.executable, "-m", "workers.run", "migrate", **variables)


class NewLimits(Scenario):
    """The demonstration stores a version of the limits."""

    covers = ("commit console.limits",)

    async def hold(self) -> None:
        await self.play.reset_limits()

    async def provoke(self) -> None:
        await self._allow()

    async def finish(self) -> None:
        while (code := await self._allow()) < 0:
            pass  # It died at a point that another run had ordered.
        if code != 0:
            raise WrongEnd(f"{self.tag}: the limits could not be stored after all")

    async def _allow(self) -> int:
        return await self.play.run(sys.executable, "-c", _ALLOW, self.play.stage.console_dsn)


class Kill(Scenario):
    """The kill switch by the command line, with an order at rest; swept, released, and an order placed."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit console.kill", "commit kill.engaged", "call cancel_all", "commit kill.swept",
        "commit kill.noted", "commit kill.released", "commit alerts.kept",
    )  # fmt: skip
    alone = True
    together = True

    async def prepare(self) -> None:
        await self.rest()

    async def provoke(self) -> None:
        await self._until_done("kill", "--reason", "crash sweep")
        switch = self.play.client.get_workflow_handle(wire.ID_KILL_SWITCH)
        await switch.signal(wire.SIGNAL_RELEASE)
        await self.play.until_used(self.points, but="kill.released")
        await self.named()
        await self.release()

    async def named(self) -> None:
        """Whoever died in mid-sweep: the switch says what became of the order."""
        if not await self.play.until_answer(OrderFate.CANCELED, sql.FATE, self.signal_id):
            raise WrongEnd(f"{self.tag}: the sweep does not tell what became of {self.signal_id}")

    async def release(self) -> None:
        """Once the open orders are gone: one who releases before keeps what no sweep has cancelled yet."""
        if not await self.play.until_answer(True, sql.SWEEP_CONFIRMED):
            raise WrongEnd(f"{self.tag}: the sweep is never confirmed")
        await self._until_done("release", "--reason", "crash sweep")

    async def _until_done(self, *command: str) -> None:
        """Again until it says that it is done, as a person would."""
        for _ in range(TRIES_MAX):
            if await self.play.run(PROGRAM, *command, **self.play.console()) == 0:
                return
            await asyncio.sleep(1)
        raise WrongEnd(f"{self.tag}: `trading {command[0]}` never came to its end")

    async def finish(self) -> None:
        await self.play.settled(self.signal_id, OrderStatus.CANCELED)
        await self.play.submit(self.new_id(), ticker=self.ticker)
        await self.play.filled(self.signal_id)


class KillDirect(Kill):
    """The kill switch with the command line asking the broker itself."""

    covers = ("commit console.kill_direct",)

    async def provoke(self) -> None:
        await self._until_done("kill", "--direct", "--reason", "crash sweep")
        await self.named()
        await self.release()


class DriftKill(Kill):
    """So much drift that trading stops by itself."""

    covers = ("commit reconciliation.kill", "commit reconciliation.kill_due")

    async def provoke(self) -> None:
        """Between a run's end and its kill the housekeeping of the next process takes over."""
        for number in range(TRIES_MAX):
            account = await self.play.stage.exchange.ask("GET", "/v2/account")
            amount = Decimal(account["equity"]) * BIG_DRIFT * (-1) ** number
            await self.play.stage.exchange.control("adjust", {"cash": f"{amount:.2f}"})
            await self.play.reconcile(f"{self.tag}-{number}")
            await self.play.until_killed()
            await self.play.reconciled(f"{self.tag}-{number}")
            await self.release()
            if not self.play.ordered(self.points):
                return
