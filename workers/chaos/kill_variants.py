"""The kill switch while something else is broken: Temporal, workers, database, exchange, a session, a process.

Each leaves the stage as it found it: everything up, the switch released.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from schemas import wire
from schemas.kill import KillState
from storage.placement import FENCE_KEY
from workers.chaos.doors import new_signal
from workers.chaos.kill_operator import Done, Operator
from workers.chaos.ledger import POST_ROUTE
from workers.chaos.stage import Stage, StageError
from workers.chaos.victims import DATABASE, EXCHANGE, GATEWAY, TEMPORAL, WORKERS

SLOW_MS: Final = 3000
WITHIN_SECONDS: Final = 120.0
UNCONFIRMED_WITHIN_SECONDS: Final = 60.0
"""How long nobody may know what became of the orders."""
STOPPED_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
RESTING_PRICE: Final = "1.00"
FRESH_PRICE: Final = "1.01"
APPROVED_WITHIN_SECONDS: Final = 5.0
TRIES_MAX: Final = 5
TICKER: Final = "AAPL"
OTHER_TICKER: Final = "MSFT"


@dataclass
class Variant:
    """One of them on its way; what it finds wrong is kept."""

    name: str
    stage: Stage
    operator: Operator
    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def must(self, condition: object, what: str) -> None:
        """Note ``what`` where ``condition`` does not hold."""
        if not condition:
            self.wrong.append(what)

    async def submit(self, **fields: Any) -> str:
        """A signal that the gateway has taken; its id."""
        name = f"{self.name.replace('_', '-')}-{time.monotonic_ns()}"
        await self.stage.gateway.submit_until_taken(new_signal(name, **fields))
        return name

    async def rest(self) -> str:
        """An order that rests at the exchange; its client_order_id."""
        name = await self.submit(ticker=OTHER_TICKER, order_type="LIMIT", limit_price=RESTING_PRICE)
        return str(await self.until_order(name, "broker_order_id is not null"))

    async def until_order(self, signal_id: str, condition: str) -> str | None:
        """Wait until a signal's order is so; its client_order_id.

        Raises:
            StageError: it did not become so.
        """
        # tidy: sql because the judge reads with the owner's rights, and no process of ours asks this
        sql = f"select client_order_id from orders where signal_id = $1 and {condition}"  # noqa: S608 - our own
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                while (row := await (await self.operator.rows).fetchrow(sql, signal_id)) is None:
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StageError(f"{signal_id} did not become: {condition}") from None
        found: str | None = row["client_order_id"]
        return found

    async def slow_post(self) -> str:
        """An order whose POST the exchange holds for a while; its client_order_id, once it is out."""
        fault = {
            "match": {"method": "POST", "path": "/v2/orders"}, "action": "latency_ms", "times": 1,
            "latency_ms": SLOW_MS,
        }  # fmt: skip
        await self.stage.exchange.control("faults", fault)
        name = await self.submit(ticker=TICKER, order_type="LIMIT", limit_price=RESTING_PRICE)
        return str(await self.until_order(name, "post_open"))

    async def seq(self) -> int:
        """The newest record on the exchange's disk."""
        return int((await self.stage.exchange.ask("GET", "/_exchange/health"))["ledger_seq"])

    async def posts_after(self, seq: int) -> list[str]:
        """Who posted an order after that record."""
        return [
            str(each.get("client_order_id"))
            for each in await self.stage.exchange.records(seq)
            if each["kind"] == "request" and f"{each['method']} {each['route']}" == POST_ROUTE
        ]

    async def none_open(self) -> bool:
        return not await self.stage.exchange.ask("GET", "/v2/orders?status=open")

    async def swept(self, seconds: float = WITHIN_SECONDS) -> KillState:
        """The sweep's last word; what is not confirmed is noted."""
        state = await self.operator.until_swept(seconds)
        self.must(state.sweep_confirmed, f"the sweep was not confirmed: {state.fates}")
        self.must(await self.none_open(), "orders stayed open at the exchange")
        self.figures["fates"] = {
            fate.value: list(state.fates.values()).count(fate) for fate in state.fates.values()
        }
        return state

    async def quiet_until_release(self, returned_seq: int) -> None:
        """One more signal, which must be refused; then nothing may have been posted, and it is released."""
        name = await self.submit(ticker=TICKER)
        await self.until_order(name, "status = 'REJECTED' and reason = 'KILL_SWITCH'")
        late = await self.posts_after(returned_seq)
        self.figures["posts_after_return"] = len(late)
        self.must(not late, f"received after the activation had returned: {late}")
        await self.operator.release()

    def engaged(self, done: Done, code: int = 0) -> Any:
        """What `trading kill --json` said; another exit code is noted."""
        self.must(
            done.code == code, f"trading kill ended with {done.code}, not {code}: {done.out} {done.err}"
        )
        return done.json


async def temporal_down(run: Variant) -> None:
    """The row alone stops trading, and the watchers sweep."""
    resting = await run.rest()
    await run.stage.down(TEMPORAL)
    told = run.engaged(await run.operator.trading("kill", "--json", "--wait-seconds", "60"))
    seq = await run.seq()
    run.must(told["signalled"] is False and told["fenced"], f"signalled or not fenced: {told}")
    run.must(
        told["fates"].get(resting) == "cancelled", f"{resting} is not told as cancelled: {told['fates']}"
    )
    await run.swept()
    await run.stage.up(TEMPORAL)
    await run.quiet_until_release(seq)


async def workers_down(run: Variant) -> None:
    """Orders and operations are dead: execution takes a raw signal from the kill switch's queue."""
    await run.rest()
    for name in ("orders", "operations"):
        await run.stage.down(name)
    epoch = (await run.operator.state()).epoch
    await run.operator.by_temporal()
    await run.operator.until_returned(epoch)
    seq = await run.seq()
    await run.swept()
    for name in ("orders", "operations"):
        await run.stage.up(name)
    await run.quiet_until_release(seq)


async def database_down(run: Variant) -> None:
    """Nothing can be placed, and the command line cancels by itself; it says NOT ENGAGED until it is."""
    resting = await run.rest()
    await run.stage.down(DATABASE)
    seq = await run.seq()
    with suppress(Exception):
        await run.stage.gateway.submit(new_signal("while-the-database-is-down", ticker=TICKER))
    told = run.engaged(await run.operator.trading("kill", "--direct", "--json", "--wait-seconds", "3"), 3)
    run.must(not told["engaged"], "it said to be engaged without a database")
    run.must(told["fates"].get(resting) == "cancelled", f"{resting} is not told as cancelled: {told}")
    run.must(await run.none_open(), "orders stayed open at the exchange")
    waiting = asyncio.create_task(
        run.operator.trading("kill", "--direct", "--json", "--wait-seconds", str(WITHIN_SECONDS / 2))
    )
    await asyncio.sleep(1)  # It tries in vain before the database is back.
    run.must(not await run.posts_after(seq), "an order was posted without a database")
    await run.stage.up(DATABASE)
    told = run.engaged(await waiting)
    run.must(told["engaged"] and told["fenced"], f"not engaged once the database was back: {told}")
    await run.swept()
    await run.quiet_until_release(seq)


async def exchange_down(run: Variant) -> None:
    """Nobody can cancel: the orders are named at once, and it is tried until somebody can."""
    resting = await run.rest()
    await run.stage.down(EXCHANGE)
    run.engaged(await run.operator.trading("kill", "--json", "--wait-seconds", "0"))
    began = time.monotonic()
    state = await run.operator.state()
    while resting not in state.fates and time.monotonic() - began < UNCONFIRMED_WITHIN_SECONDS:
        await asyncio.sleep(POLL_SECONDS)
        state = await run.operator.state()
    run.figures["named_after_seconds"] = round(time.monotonic() - began, 1)
    run.must(resting in state.fates, f"{resting} is not named while the exchange is down: {state.fates}")
    run.must(not state.sweep_confirmed, "called confirmed while the exchange is down")
    await run.stage.up(EXCHANGE)
    seq = await run.seq()
    state = await run.swept()
    run.must(state.fates[resting] == "cancelled", f"{resting} became {state.fates[resting]}")
    await run.quiet_until_release(seq)


async def session_lost(run: Variant) -> None:
    """The fence's database session is ended while its POST is out: the posting deadline takes its place."""
    order = await run.slow_post()
    # tidy: sql because no process of ours ends sessions
    sql = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid = $1"
    ended = await (await run.operator.rows).fetch(sql, FENCE_KEY)
    run.must(ended, "no session held the fence")
    epoch, began = (await run.operator.state()).epoch, time.monotonic()
    await run.operator.by_sdk(reason="a session was lost")
    await run.operator.until_returned(epoch)
    run.figures["returned_seconds"] = round(time.monotonic() - began, 1)
    seq = await run.seq()
    state = await run.swept()
    run.must(order in state.fates, f"{order} is not named: {state.fates}")
    await run.quiet_until_release(seq)


async def cancelled_in_mid_post(run: Variant) -> None:
    """The worker is told to stop and the workflow is ended while a POST is out: the fence waits for its thread."""
    order = await run.slow_post()
    # tidy: sql because no process of ours asks this
    sql = "select signal_id from orders where client_order_id = $1"
    signal_id = await (await run.operator.rows).fetchval(sql, order)
    client = await run.operator.client()
    await client.get_workflow_handle(wire.order_workflow_id(signal_id)).terminate("a fault run")
    stopping = asyncio.create_task(run.stage.kill("execution", signal.SIGTERM))
    epoch, began = (await run.operator.state()).epoch, time.monotonic()
    await run.operator.by_sdk(reason="a worker was stopped")
    await run.operator.until_returned(epoch)
    run.figures["returned_seconds"] = round(time.monotonic() - began, 1)
    seq = await run.seq()
    state = await run.swept()
    run.must(order in state.fates, f"{order} is not named: {state.fates}")
    await stopping
    await run.stage.until_ready("execution")
    await run.quiet_until_release(seq)


async def second_activation(run: Variant) -> None:
    """Two at once and one later: one activation with its first reason, and the last one is swept too."""
    resting = await run.rest()
    before = await run.operator.state()
    both = await asyncio.gather(
        *(run.operator.trading("kill", "--json", "--reason", each) for each in ("one", "two"))
    )
    epochs = {run.engaged(done)["epoch"] for done in both}
    first = await run.swept()
    run.must(resting in first.fates, f"{resting} is not named: {first.fates}")
    run.must(epochs == {before.epoch + 1}, f"epochs {epochs} after {before.epoch}")
    again = run.engaged(await run.operator.trading("kill", "--json", "--reason", "three"))
    seq = await run.seq()
    run.must(again["epoch"] == first.epoch, "the second activation changed the epoch")
    run.must(again["reason"] == first.reason, "the second activation changed the reason")
    await run.swept()
    await run.quiet_until_release(seq)


async def _stopped_before_its_post(run: Variant) -> str:
    """A signal that risk has approved while execution is stopped; its id.

    Risk asks execution for a quote where none is fresh: that of an order just sent is.

    Raises:
        StageError: risk never had one.
    """
    rows = await run.operator.rows
    # tidy: sql because no process of ours asks this
    held = "select from reservations where signal_id = $1 and state = 'held'"
    for number in range(TRIES_MAX):
        resting = {"ticker": TICKER, "order_type": "LIMIT", "quantity": str(1 + number)}
        fresh = await run.submit(**resting, limit_price=FRESH_PRICE)
        await run.until_order(fresh, "broker_order_id is not null")
        run.stage.stop("execution")
        name = await run.submit(**resting, limit_price=RESTING_PRICE)
        with suppress(TimeoutError):
            async with asyncio.timeout(APPROVED_WITHIN_SECONDS):
                while not await rows.fetch(held, name):
                    await asyncio.sleep(POLL_SECONDS)
                return name
        run.stage.cont("execution")
        await run.until_order(name, "post_count > 0 or settled_at is not null")
    raise StageError("risk approved nothing while execution was stopped")


async def stopped_worker(run: Variant) -> None:
    """SIGSTOP of execution between its reading of the switch and its POST; after SIGCONT nothing may leave.

    How it is caught there: its order's reservation is locked by us, so that storing the intent waits, in the fence.
    """
    rows = await run.operator.rows
    name = await _stopped_before_its_post(run)
    async with rows.transaction():
        # tidy: sql because no process of ours holds this lock for longer than a statement
        lock = "select signal_id from reservations where signal_id = $1 and state = 'held' for update"
        run.must(await rows.fetch(lock, name), f"{name} holds nothing")
        run.stage.cont("execution")
        # tidy: sql because no process of ours asks this
        waits = """select from pg_stat_activity a join pg_locks fence using (pid)
            where a.usename = 'ti_execution' and pg_backend_pid() = any (pg_blocking_pids(a.pid))
                and (fence.locktype, fence.mode, fence.granted) = ('advisory', 'ShareLock', true)"""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await rows.fetch(waits):
                await asyncio.sleep(POLL_SECONDS)
        run.stage.stop("execution")
    stopped = time.monotonic()
    told = run.engaged(await run.operator.trading("kill", "--json", "--wait-seconds", "0"), 1)
    run.must(not told["fenced"], "the fence was called free while a stopped process held it")
    holders = [each["process"] for each in told["fence_held_by"]]
    run.must(any("execution" in each for each in holders), f"the holder is not named: {holders}")
    status = (await run.operator.trading("status")).out
    run.must("held by trading execution" in status, f"`trading status` does not name the holder: {status}")
    seq = await run.seq()
    await asyncio.sleep(max(0.0, STOPPED_SECONDS - (time.monotonic() - stopped)))
    run.figures["stopped_seconds"] = round(time.monotonic() - stopped, 1)
    run.stage.cont("execution")
    await run.until_order(name, "settled_at is not null")
    state = await run.swept()
    run.must(state.sweep_confirmed, "not confirmed after SIGCONT")
    await run.quiet_until_release(seq)


ALL: Final[dict[str, Callable[[Variant], Awaitable[None]]]] = {
    each.__name__: each
    for each in (
        second_activation, session_lost, cancelled_in_mid_post, exchange_down, temporal_down, workers_down,
        database_down, stopped_worker,
    )
}  # fmt: skip
NAMES: Final = tuple(ALL)


async def make_variants(stage: Stage, operator: Operator, names: Sequence[str]) -> list[Variant]:
    """Each in its turn; one that cannot be made is wrong, and the next one begins on a stage that is up."""
    made = []
    for name in names:
        run = Variant(name, stage, operator)
        try:
            await stage.until_trading()
            await ALL[name](run)
        except (StageError, TimeoutError, OSError) as error:
            run.wrong.append(f"not made: {str(error) or type(error).__name__}")
            await _tidy_up(stage, operator)
        run.figures["seconds"] = round(time.monotonic() - run.began, 1)
        await stage.exchange.clear_faults()
        made.append(run)
    return made


async def _tidy_up(stage: Stage, operator: Operator) -> None:
    """Everything up again and the switch released, whatever became of the last one."""
    for name in (*WORKERS, GATEWAY):
        stage.cont(name)
    for name in (DATABASE, TEMPORAL, EXCHANGE, *WORKERS, GATEWAY):
        if stage.name(name) not in stage.pids:
            await stage.up(name)
    if (await operator.state()).engaged:
        await operator.release()
