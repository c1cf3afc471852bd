"""The update stream taken from its holder in every way, with two operations workers: nothing lost or doubled."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from schemas.wire import ID_TRADE_UPDATES
from simulation.settings import DEFAULT_SYMBOLS
from tests.servers.processes import needs_proc
from workers.chaos.doors import new_signal
from workers.chaos.stage import Stage, staged
from workers.datadir import free_port
from workers.healthy import problem

pytestmark = [needs_proc, pytest.mark.slow, pytest.mark.timeout(900)]

SECOND = "operations-2"
TICKERS = tuple(each for each in DEFAULT_SYMBOLS if each.symbol not in ("WIDE", "STALE"))
TAKEN_OVER_WITHIN_SECONDS = 30
BY_CATCH_UP_WITHIN_SECONDS = 10
BY_STREAM_WITHIN_SECONDS = 4
MUTE_FOUND_WITHIN_SECONDS = 70
REFUSED_SECONDS = 90
POLL_SECONDS = 0.1
KEEP = Path(os.environ["KEEP"]) if "KEEP" in os.environ else None
"""A folder that gets the logs and the exchange's ledger."""
RESTING_WITHIN_SECONDS = 180


async def until(condition: Callable[[], Awaitable[Any]], seconds: float, what: str) -> float:
    """Wait for something to be true; returns how long that took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


@dataclass
class Scene:
    """A stage with two operations workers and one resting order on each ticker."""

    stage: Stage
    temporal: Client
    resting: list[str] = field(default_factory=lambda: [each.symbol for each in TICKERS])
    filled: int = 0

    async def holder(self) -> int:
        """The process id of who holds the stream; 0 where nobody does."""
        described = await self.temporal.get_workflow_handle(ID_TRADE_UPDATES).describe()
        pending = described.raw_description.pending_activities
        return int(pending[0].last_worker_identity.partition("@")[0]) if pending else 0

    async def connected_at(self) -> datetime | None:
        async with self.stage.database() as rows:
            at: datetime | None = await rows.fetchval("select connected_at from trade_stream")
        return at

    async def connected_anew(self, since: datetime | None, seconds: float, what: str) -> float:
        async def anew() -> bool:
            at = await self.connected_at()
            return at is not None and at != since

        return await until(anew, seconds, what)

    async def fill(self, within: float, what: str) -> float:
        """Let the market reach the next order; how long after its execution our row of it was written."""
        ticker = self.resting.pop(0)
        price = str(limit(ticker) - Decimal("0.01"))
        quote = {"symbol": ticker, "bid": price, "ask": price, "bid_size": 1000, "ask_size": 1000}
        await self.stage.exchange.control("quotes", quote)
        self.filled += 1

        async def stored() -> bool:
            async with self.stage.database() as rows:
                found = await rows.fetchrow("select * from executions where ticker = $1", ticker)
            return found is not None

        await until(stored, within + 60, f"{what}: the execution is stored")
        async with self.stage.database() as rows:
            # Executions are on the market's clock, which runs beside ours.
            late = await rows.fetchval(
                "select extract(epoch from recorded_at - (executed_at + (read_at - broker_at)))"
                " from executions, market_clock where ticker = $1",
                ticker,
            )
        assert late <= within, f"{what}: {late} s"
        print(f"{what}: {late:.2f} s after its execution")
        return float(late)

    async def fault(self, **fault: Any) -> None:
        await self.stage.exchange.control("faults", {"match": {"stream": "trade_updates"}, **fault})

    async def alerts(self) -> set[str]:
        async with self.stage.database() as rows:
            return {
                row["code"] for row in await rows.fetch("select code from alerts where cleared_at is null")
            }

    async def judge(self) -> None:
        """Each execution of the exchange is in our books, once, and each filled order is settled."""
        executed = [each for each in await self.stage.exchange.records() if each["kind"] == "order_executed"]
        assert len(executed) == self.filled

        async def settled() -> bool:
            async with self.stage.database() as rows:
                count = await rows.fetchval("select count(*) from orders where settled_at is not null")
            return int(count) == self.filled

        await until(settled, 60, "every filled order is settled")
        async with self.stage.database() as rows:
            ours = await rows.fetch(
                "select execution_id, quantity from executions where execution_id is not null"
            )
            count = await rows.fetchval("select count(*) from executions")
            held = await rows.fetchval("select sum(quantity) from positions")
        assert int(count) == self.filled
        assert {each["execution_id"] for each in ours} <= {each["execution_id"] for each in executed}
        assert held == sum(Decimal(each["qty"]) for each in executed)


def limit(ticker: str) -> Decimal:
    """Where its order rests."""
    price = next(each.price for each in TICKERS if each.symbol == ticker)
    return (price * Decimal("0.8")).quantize(Decimal("0.01"))


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    options = ("--partial-fills=none", "--cash=1000000")
    async with staged(exchange_options=options, keep=KEEP) as stage:
        first = stage.supervisor.specs["operations"]
        port = free_port()

        async def ready() -> str | None:
            return await asyncio.to_thread(problem, f"http://127.0.0.1:{port}/readyz", 1.0)

        second = replace(
            first, name=SECOND, env={**first.env, "TRADING_METRICS_PORT": str(port)},
            log_path=stage.data_dir.log(SECOND), ready=ready,
        )  # fmt: skip
        await stage.supervisor.start(second)
        for each in TICKERS:
            price = str(limit(each.symbol))
            body = new_signal(
                f"rests-{each.symbol}", ticker=each.symbol, order_type="LIMIT", limit_price=price,
                quantity="1", time_in_force="GTC",
            )  # fmt: skip
            answer = await stage.gateway.submit_until_taken(body)
            assert answer.status_code == 202, answer.text
        found = Scene(stage, await stage.temporal_client())

        async def rest() -> bool:
            async with stage.database() as rows:
                states = await rows.fetch("select ticker, status, reason from orders")
            refused = {each["ticker"]: each["reason"] for each in states if each["reason"]}
            assert not refused
            return {each["status"] for each in states} == {"ACKNOWLEDGED"}

        await until(rest, RESTING_WITHIN_SECONDS, "every order rests")
        yield found


async def test_nothing_is_lost_or_applied_twice_however_the_stream_ends() -> None:
    async with scene() as on:
        await on.fill(BY_STREAM_WITHIN_SECONDS, "by the stream")

        before, killed = await on.connected_at(), await on.holder()
        os.kill(killed, signal.SIGKILL)
        await on.fill(BY_CATCH_UP_WITHIN_SECONDS, "while the holder is dead")
        took = await on.connected_anew(before, TAKEN_OVER_WITHIN_SECONDS, "taken over after kill -9")
        print(f"kill -9: taken over within {took:.1f} s")
        for name in ("operations", SECOND):  # The killed one is back: what follows is about one of two.
            await on.stage.until_ready(name)

        before, stopped = await on.connected_at(), await on.holder()
        await on.fault(action="refuse_socket", lasts_ms=REFUSED_SECONDS * 1000)
        os.kill(stopped, signal.SIGSTOP)
        began = datetime.now(UTC)
        for number in range(2):
            await on.fill(
                BY_CATCH_UP_WITHIN_SECONDS, f"hung holder, second socket refused, fill {number + 1}"
            )
            await asyncio.sleep(15)
        await until(lambda: _has(on, "UPDATE_STREAM_DOWN"), REFUSED_SECONDS, "UPDATE_STREAM_DOWN is raised")
        await on.connected_anew(before, REFUSED_SECONDS + TAKEN_OVER_WITHIN_SECONDS, "held again")
        print(f"hung holder and {REFUSED_SECONDS} s of refusals: {datetime.now(UTC) - began}")
        os.kill(stopped, signal.SIGCONT)
        await until(lambda: _has_not(on, "UPDATE_STREAM_DOWN"), 30, "UPDATE_STREAM_DOWN is cleared")

        for action, within in (
            ("mute_socket", MUTE_FOUND_WITHIN_SECONDS),
            ("deaf_socket", MUTE_FOUND_WITHIN_SECONDS),
            ("corrupt_frame", BY_CATCH_UP_WITHIN_SECONDS),
            ("cut_socket", BY_CATCH_UP_WITHIN_SECONDS),
        ):
            before = await on.connected_at()
            await on.fault(action=action)
            await on.fill(within, action)
            await on.connected_anew(before, MUTE_FOUND_WITHIN_SECONDS, f"connected anew after {action}")
            await on.fill(BY_STREAM_WITHIN_SECONDS, f"by the stream after {action}")
        await on.judge()
        assert not await on.alerts()


async def _has(on: Scene, code: str) -> bool:
    return code in await on.alerts()


async def _has_not(on: Scene, code: str) -> bool:
    return code not in await on.alerts()
