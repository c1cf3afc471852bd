"""What every scenario of a crash sweep plays with: the stage, its tickers, and waits for what is right."""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from temporalio.exceptions import WorkflowAlreadyStartedError

from observability import crash_points
from schemas import wire
from schemas.orders import OrderStatus
from schemas.reconciliation import Outcome, ReconcileInput, Report
from schemas.risk import CheckName
from schemas.wire import Leg, Queue, order_workflow_id
from storage.orders import OrderNotFound, StoredOrder, read_order
from storage.switches import read_state
from workers.chaos import crash_sql as sql
from workers.chaos.crash_tickers import Tickers
from workers.chaos.doors import new_signal
from workers.chaos.receivers import Receiver
from workers.chaos.stage import WIDE_LIMITS
from workers.chaos.victims import StageError
from workers.children import StartFailedError

if TYPE_CHECKING:
    import asyncpg
    from temporalio.client import Client

    from workers.chaos.stage import Stage

RESTING: Final = "98.50"
"""Below the market of every ticker of the pool."""
END_SECONDS: Final = 600.0
"""For what was under way to come to its end: a dead worker's step is taken up again after up to a minute, and may
die again of the next run."""
POLL_SECONDS: Final = 0.1
NOTHING_FRESH: Final = frozenset(
    {
        CheckName.MARKET_DATA, CheckName.ACCOUNT_SNAPSHOT, CheckName.STALE_MARKET_DATA, CheckName.STALENESS,
        CheckName.SIGNAL_EXPIRED, "RESERVATION_LAPSED",
    }
)  # fmt: skip
NEIGHBOURS: Final = frozenset({CheckName.BROKER_HALT, CheckName.UNKNOWN_OUTCOME, CheckName.DUPLICATE_CONTENT})
"""Refusals that another run, or this one's former play, may have brought about."""
STRANGER: Final = "stranger-"
"""How orders are named that somebody else places with the same account."""


class WrongEnd(Exception):
    """Something did not come to its right end; the message says what."""


class Play:
    """One sweep's stage, and who uses what of it."""

    def __init__(
        self,
        stage: "Stage",
        folder: Path,
        pool: "asyncpg.Pool[Any]",
        client: "Client",
        receiver: Receiver,
    ) -> None:
        self.stage = stage
        self.receiver = receiver
        """Slack and PagerDuty."""
        self.folder = folder
        self.pool = pool
        self.client = client
        self.children: set[int] = set()
        """Processes that were run beside the stage's own."""
        self.refused: set[str] = set()
        """Signals of which nothing fresh was known when their turn came: refused before they left."""
        self.strange: set[str] = set()
        """client_order_ids of orders that others have placed with the same account."""
        self.taken: list[str] = []
        """Signals that the gateway has answered for."""
        self.tickers = Tickers(stage.exchange)
        self._down: set[str] = set()
        self._starting = asyncio.Lock()
        compact = stage.installation.topology == "compact"
        self._operations_queue = Queue.TRADING if compact else Queue.OPERATIONS

    async def submit(self, signal_id: str, **fields: Any) -> None:
        """Propose as a strategy does, again until there is an answer.

        Raises:
            WrongEnd: the gateway refuses it.
        """
        signal = new_signal(signal_id, **({"quantity": "1"} | fields))
        answer = await self.stage.gateway.submit_until_taken(signal)
        if answer.status_code != 202:
            raise WrongEnd(f"{signal_id}: the gateway answers {answer.status_code} {answer.text[:200]}")
        self.taken.append(signal_id)

    async def order(self, signal_id: str, leg: Leg = Leg.ENTRY) -> StoredOrder:
        """Raises OrderNotFound: a leg that is not there yet."""
        async with self.pool.acquire() as connection:
            return await read_order(connection, signal_id, leg)

    async def until(
        self,
        signal_id: str,
        condition: Callable[[StoredOrder], bool],
        *,
        seconds_max: float = END_SECONDS,
        what: str = "settled",
        leg: Leg = Leg.ENTRY,
    ) -> StoredOrder:
        """Wait for a state of an order, or of what protects it.

        Raises:
            WrongEnd: it did not come.
        """
        order: StoredOrder | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while True:
                    with suppress(OrderNotFound):
                        order = await self.order(signal_id, leg)
                        if condition(order):
                            return order
                    await asyncio.sleep(POLL_SECONDS)
        told = "nothing" if order is None else f"{order.status.value} {sorted(order.flags)} {order.reason}"
        raise WrongEnd(f"{signal_id} is not {what} after {seconds_max:.0f} s: {told}")

    async def settled(self, signal_id: str, *statuses: OrderStatus) -> StoredOrder:
        """Wait for the end; it must be one of these.

        Raises:
            WrongEnd: it is another one, or none came.
        """
        order = await self.until(signal_id, lambda order: order.settled)
        if order.status not in statuses:
            wanted = " or ".join(each.value for each in statuses)
            raise WrongEnd(f"{signal_id} ended as {order.status.value} ({order.reason}), not as {wanted}")
        return order

    async def filled(self, signal_id: str) -> StoredOrder:
        """Wait for a fill. Refused because nothing fresh was known when its turn came is right too;
        whether it had left before is the judge's to ask.

        Raises:
            WrongEnd: it ended otherwise.
        """
        order = await self.settled(signal_id, OrderStatus.FILLED, OrderStatus.REJECTED)
        if order.status is OrderStatus.REJECTED:
            if not set((order.reason or "").split(",")) <= NOTHING_FRESH:
                raise WrongEnd(f"{signal_id} was refused for {order.reason}")
            self.refused.add(signal_id)
        return order

    async def decided(self, signal_id: str, *, seconds_max: float) -> bool:
        """Wait until risk has decided; whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while True:
                    if await self.ask(sql.DECIDED, signal_id):
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        return False

    async def lapse(self, signal_id: str) -> None:
        """Take its reservation away."""
        await self.ask(sql.LAPSE, signal_id)

    async def grow_old(self) -> None:
        """Let the last good reconciliation be too long ago."""
        await self.ask(sql.GROW_OLD)

    async def catch_up_soon(self) -> None:
        """Let the next catch-up and its account snapshot be due."""
        await self.ask(sql.ACCOUNT_OLD)
        await self.ask(sql.CATCH_UP_DUE)

    async def until_answer(self, wanted: Any, statement: str, *arguments: Any) -> bool:
        """Wait until a statement answers that; whether it did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while True:
                    if await self.ask(statement, *arguments) == wanted:
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        return False

    async def has_alert(self, subject: str, *, raised: bool = True, seconds_max: float) -> bool:
        """Wait until an alert about it lasts, or none does; whether that came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while True:
                    if (await self.ask(sql.RAISED, subject) is not None) is raised:
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        return False

    async def until_alert(self, subject: str) -> None:
        """Raises WrongEnd: there never is one."""
        if not await self.has_alert(subject, seconds_max=END_SECONDS):
            raise WrongEnd(f"no alert about {subject}")

    async def until_alert_ends(self, subject: str) -> None:
        """Raises WrongEnd: it never does."""
        if not await self.has_alert(subject, raised=False, seconds_max=END_SECONDS):
            raise WrongEnd(f"the alert about {subject} stays")

    async def until_stands(self, signal_id: str) -> None:
        """Wait until the broker has it, or it has ended without."""
        await self.until(
            signal_id, lambda order: order.broker_order_id is not None or order.settled, what="at the broker"
        )

    async def until_cancel_waits(self, signal_id: str) -> None:
        """Wait until its workflow has asked for the cancel.

        Raises:
            WrongEnd: it never does.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while True:
                    told = await self.workflow(signal_id).describe()
                    if wire.ACTIVITY_CANCEL_ORDER in str(told.raw_description.pending_activities):
                        return
                    await asyncio.sleep(POLL_SECONDS)
        raise WrongEnd(f"{signal_id}: its workflow never asked for the cancel")

    async def ask(self, statement: str, *arguments: Any) -> Any:
        """One value, with the owner's rights."""
        async with self.pool.acquire() as connection:
            return await connection.fetchval(statement, *arguments)

    async def fault(self, action: str, match: Mapping[str, str], times: int = 1) -> None:
        body = {"match": dict(match), "action": action, "times": times}
        await self.stage.exchange.control("faults", body)

    async def on_post(self, action: str, ticker: str, times: int = 1) -> None:
        """What becomes of the next POST for this ticker."""
        await self.fault(action, {"method": "POST", "path": "/v2/orders", "symbol": ticker}, times)

    def workflow(self, signal_id: str) -> Any:
        return self.client.get_workflow_handle(order_workflow_id(signal_id))

    async def reconcile(self, name: str) -> None:
        """Start a run, unless the one of that name goes on."""
        with suppress(WorkflowAlreadyStartedError):
            await self.client.start_workflow(
                wire.WORKFLOW_RECONCILIATION,
                ReconcileInput(trigger="crash sweep"),
                id=f"reconcile-{name}",
                task_queue=self._operations_queue.value,
            )

    async def reconciled(self, name: str) -> Report:
        """Wait until that run has told its report.

        Raises:
            WrongEnd: it failed, or goes on for ever.
        """
        try:
            async with asyncio.timeout(END_SECONDS):
                handle = self.client.get_workflow_handle(f"reconcile-{name}", result_type=Report)
                report: Report = await handle.result()
                return report
        except Exception as error:  # whatever ended it, it is no report
            raise WrongEnd(f"reconciliation {name}: {type(error).__name__}: {error}") from error

    async def reconciled_as(self, name: str) -> Outcome:
        """Start a run and wait for its report. Raises WrongEnd as `reconciled`."""
        await self.reconcile(name)
        return (await self.reconciled(name)).outcome

    def ordered(self, points: Collection[str], *, but: str = "") -> list[str]:
        """Those of the points at which nobody has died yet; ``but``: a name not to look at."""
        return [each for each in points if (self.folder / each).exists() and each.split()[1] != but]

    async def until_used(self, points: Collection[str], *, but: str = "") -> None:
        """Wait until somebody has died at each.

        Raises:
            WrongEnd: not at all of them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while True:
                    if not self.ordered(points, but=but):
                        return
                    await asyncio.sleep(POLL_SECONDS)
        if left := self.ordered(points, but=but):
            raise WrongEnd(f"nobody came to {', '.join(left)}")

    async def until_killed(self, *, engaged: bool = True) -> None:
        """Wait until the kill switch is engaged, or released.

        Raises:
            WrongEnd: it never is.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while True:
                    async with self.pool.acquire() as connection:
                        if (await read_state(connection)).engaged is engaged:
                            return
                    await asyncio.sleep(POLL_SECONDS)
        raise WrongEnd("the kill switch was never engaged" if engaged else "the kill switch stays engaged")

    async def reset_limits(self) -> None:
        await self.stage.save_limits(WIDE_LIMITS)

    async def kill(self, name: str) -> None:
        """Kill a process as soon as it is ready."""
        while True:
            await self.stage.until_ready(name)
            with suppress(StageError, ProcessLookupError):
                return await self.stage.kill(name)

    async def down(self, name: str) -> None:
        """Kill a process, which then stays down."""
        self._down.add(name)
        await self.stage.down(name, kill=True)

    async def up(self, name: str) -> None:
        """Start it if it is down, again if it dies before it is ready."""
        async with self._starting:
            while name in self._down:
                with suppress(StartFailedError):
                    await self.stage.up(name)
                    self._down.discard(name)

    def console(self) -> dict[str, str]:
        """The variables that point the command line at the stage."""
        return {"TRADING_DATA_DIR": str(self.stage.data_dir.root)}

    async def run(self, *argv: str, **variables: str) -> int:
        """Run a process that may die at an ordered point; its exit code, negative for a signal."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **variables, crash_points.VARIABLE: str(self.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.children.add(process.pid)
        return await process.wait()
