"""``trading chaos --end-of-day N``: N partly filled orders at the bell, each with a fill that races the cancel.

Many orders, each on a ticker of its own, share a bell. Half are partly filled before the last two minutes and have
their rest cancelled when those begin, half get their first fill in them and are cancelled at once. While the
exchange holds a cancel back, more shares are offered. Judged by the exchange's ledger and books: the position is
exactly what was executed, and when the bell has rung stops for exactly that stand there.
"""

import argparse
import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from market.calendar import TradingCalendar, load_calendar
from workers.chaos.doors import new_signal
from workers.chaos.ledger import ENDED, ZERO
from workers.chaos.report import Report
from workers.chaos.stage import Stage, StageError, staged

PER_BELL: Final = 50
FIRST_DAY: Final = "2026-11-23T09:35:00-05:00"
"""A Monday; with more than three bells Thanksgiving and an early close lie in it."""
CANCEL_LATENCY_MS: Final = 600
"""How long the exchange holds a cancel back: the room for the race."""
RACE_SECONDS_MAX: Final = 0.7
"""A little more, so that some lose it."""
QUANTITY: Final = 10
LIMIT: Final = "99.50"
STOP: Final = "95.00"
RESTING: Final = ("99.98", "100.02")
CROSSING: Final = ("99.41", "99.45")
BEFORE_THE_ALARM: Final = timedelta(seconds=128)
"""Before the bell: the rest of a partial fill is cancelled at 120."""
LATE: Final = timedelta(seconds=112)
AFTER_OPEN: Final = timedelta(minutes=5)
AFTER_BELL: Final = timedelta(seconds=5)
OTHER_CLOCKS_SECONDS: Final = 22.0
"""A process that has no quotes streamed reads the broker's clock every 20 s; ours must know of a jump."""
WITHIN_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.1
DOORS: Final = 8
RACED_LEAST: Final = 0.25
"""Of all runs: executions after the cancel had reached the exchange. Fewer, and it was no race."""

# tidy: sql because the run reads with the owner's rights, and no process of ours runs these
_CLOCK: Final = "select broker_at, read_at from market_clock"
# tidy: sql because the run reads with the owner's rights, and no process of ours runs these
_POSITIONS: Final = "select ticker, sum(quantity) as quantity from positions group by ticker"


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument(
        "--per-bell", type=int, default=PER_BELL, help=f"orders that share a bell ({PER_BELL})"
    )


async def run(options: argparse.Namespace) -> Report:
    """Ring as many bells as it takes."""
    runs, per_bell = options.end_of_day, options.per_bell
    if runs < 1 or per_bell < 1:
        return Report("end_of_day", {}, ("--end-of-day and --per-bell are at least 1",))
    exchange = (
        f"--start={FIRST_DAY}", f"--tickers={runs}", "--cash=10000000", f"--cancel-latency-ms={CANCEL_LATENCY_MS}",
    )  # fmt: skip
    async with staged(topology=options.topology, exchange_options=exchange, keep=options.keep) as stage:
        return await _Run(stage, await load_calendar(), options).report()


class _Run:
    """One run, bell by bell."""

    def __init__(self, stage: Stage, calendar: TradingCalendar, options: argparse.Namespace) -> None:
        self._stage = stage
        self._calendar = calendar
        self._runs: int = options.end_of_day
        self._per_bell: int = options.per_bell
        self._isolated: bool = options.topology == "isolated"
        self._random = Random(options.seed)  # noqa: S311 - it must be repeatable
        self._races = _Races(stage, self._random)
        self._wrong: list[str] = []
        self._counts: Counter[str] = Counter()
        self._figures: dict[str, Any] = {
            "runs": self._runs, "seed": options.seed, "topology": options.topology,
        }  # fmt: skip

    async def report(self) -> Report:
        began = time.monotonic()
        tickers = [f"T{number:04d}" for number in range(1, self._runs + 1)]
        moment = datetime.fromisoformat(FIRST_DAY).astimezone(UTC)
        bells = math.ceil(self._runs / self._per_bell)
        for bell in range(bells):
            session = self._calendar.session_at(moment)
            assert session.close is not None, "it begins within a session"
            await self._bell(bell, tickers[bell * self._per_bell :][: self._per_bell], moment, session.close)
            moment = self._calendar.session_at(session.close + AFTER_BELL).next_open + AFTER_OPEN
        summary = await self._stage.exchange.summary()
        self._figures |= {
            "bells": bells,
            **{
                name: self._counts[name] for name in ("exact", "covered_before", "covered_after", "cancelled")
            },
            "filled_after_all": self._counts["filled"],
            "raced": self._races.raced,
            "duplicates": summary["duplicate_orders"],
            "posts": summary["posts_total"],
            "seconds": round(time.monotonic() - began, 1),
        }
        if summary["duplicate_orders"]:
            self._wrong.append(f"{summary['duplicate_orders']} orders stand twice")
        if self._races.raced < RACED_LEAST * self._runs:
            self._wrong.append(
                f"only {self._races.raced} of {self._runs} had a fill after the cancel: it was no race"
            )
        return Report("end_of_day", self._figures, tuple(self._wrong))

    async def _bell(self, number: int, tickers: Sequence[str], opened: datetime, close: datetime) -> None:
        """One bell: rest, partial fills, cancels, races, cover, and the books after the close."""
        early, late = tickers[::2], tickers[1::2]
        await self._jump(opened)
        await self._quotes(tickers, RESTING, 1000)
        await self._submit(number, tickers)
        await self._until(lambda: self._at_rest(tickers), f"bell {number}: not every order came to rest")
        self._races.watch(tickers)
        racing = asyncio.create_task(self._races.run())
        try:
            await self._jump(close - BEFORE_THE_ALARM)
            await self._offer(early)
            await self._until_time(close - LATE)
            await self._offer(late)
            # A slow machine may come to the bell before it has come this far: that is counted, not judged.
            await self._until(lambda: self._ended(tickers), None)
            await self._until(lambda: self._covered(tickers), None)
        finally:
            racing.cancel()
            await asyncio.gather(racing, return_exceptions=True)
        await self._judge(tickers, "covered_before")
        await self._jump(close + AFTER_BELL)
        await self._until(lambda: self._covered(tickers), f"bell {number}: shares are bare after the bell")
        await self._judge(tickers, "covered_after")

    # --- what is done ----------------------------------------------------------------------------

    async def _jump(self, at: datetime) -> None:
        """Set the exchange's clock, and wait until ours know."""
        control = self._stage.exchange.control
        if datetime.fromisoformat((await self._stage.exchange.ask("GET", "/_exchange/clock"))["at"]) < at:
            await control("clock", {"at": at.isoformat()})
        await self._quotes(("AAPL",), ("180.44", "180.48"), 100)  # The market is never ahead of our clock.
        await self._until(lambda: self._knows(at), "our clock did not follow the exchange's")
        if self._isolated:
            await asyncio.sleep(OTHER_CLOCKS_SECONDS)

    async def _knows(self, at: datetime) -> bool:
        async with self._stage.database() as connection:
            row = await connection.fetchrow(_CLOCK)
        return row is not None and bool(bool(row["broker_at"] + (datetime.now(UTC) - row["read_at"]) >= at))

    async def _until_time(self, at: datetime) -> None:
        now = datetime.fromisoformat((await self._stage.exchange.ask("GET", "/_exchange/clock"))["at"])
        await asyncio.sleep(max(0.0, (at - now).total_seconds()))

    async def _quotes(self, tickers: Iterable[str], prices: tuple[str, str], size: int) -> None:
        doors = asyncio.Semaphore(DOORS)

        async def fix(ticker: str) -> None:
            async with doors:
                await self._stage.exchange.control("quotes", quote(ticker, prices, size))

        await asyncio.gather(*map(fix, tickers))

    async def _submit(self, number: int, tickers: Sequence[str]) -> None:
        doors = asyncio.Semaphore(DOORS)

        async def propose(ticker: str) -> None:
            lifetime = self._random.choice(("DAY", "GTC"))
            signal = new_signal(
                f"bell-{number}-{ticker}", ticker=ticker, order_type="LIMIT", limit_price=LIMIT,
                time_in_force=lifetime, quantity=str(QUANTITY), hard_stop_loss=STOP,
            )  # fmt: skip
            async with doors:
                await self._stage.gateway.submit_until_taken(signal)

        await asyncio.gather(*map(propose, tickers))

    async def _offer(self, tickers: Sequence[str]) -> None:
        """A few shares at a price that each entry takes."""
        doors = asyncio.Semaphore(DOORS)

        async def offer(ticker: str) -> None:
            size = self._random.randint(1, QUANTITY - 1)
            async with doors:
                await self._stage.exchange.control("quotes", quote(ticker, CROSSING, size))

        await asyncio.gather(*map(offer, tickers))

    # --- what is seen ----------------------------------------------------------------------------

    async def _orders(self, tickers: Sequence[str], status: str) -> list[dict[str, Any]]:
        symbols = ",".join(tickers)
        path = f"/v2/orders?status={status}&limit=500&symbols={symbols}"
        found: list[dict[str, Any]] = await self._stage.exchange.ask("GET", path)
        return found

    async def _at_rest(self, tickers: Sequence[str]) -> bool:
        at_rest = [order for order in await self._orders(tickers, "open") if order["status"] == "new"]
        return len(at_rest) == len(tickers)

    async def _ended(self, tickers: Sequence[str]) -> bool:
        orders = await self._orders(tickers, "all")
        ended = [order for order in orders if order["side"] == "buy" and order["status"] in ENDED]
        return len(ended) == len(tickers)

    async def _held(self, tickers: Sequence[str]) -> dict[str, Decimal]:
        wanted = set(tickers)
        rows = await self._stage.exchange.ask("GET", "/v2/positions")
        return {row["symbol"]: Decimal(row["qty"]) for row in rows if row["symbol"] in wanted}

    async def _bare(self, tickers: Sequence[str]) -> dict[str, str]:
        """Tickers whose live stops at the exchange are not exactly the position, and both numbers."""
        stops: Counter[str] = Counter()
        for order in await self._orders(tickers, "open"):
            if order["type"] == "stop" and Decimal(order["stop_price"]) == Decimal(STOP):
                stops[order["symbol"]] += int(Decimal(order["qty"]) - Decimal(order["filled_qty"]))
        held = await self._held(tickers)
        return {
            ticker: f"{held.get(ticker, ZERO)} held, stops for {stops[ticker]}"
            for ticker in tickers
            if held.get(ticker, ZERO) != stops[ticker]
        }

    async def _covered(self, tickers: Sequence[str]) -> bool:
        return not await self._bare(tickers)

    async def _judge(self, tickers: Sequence[str], name: str) -> None:
        bare = await self._bare(tickers)
        self._counts[name] += len(tickers) - len(bare)
        if name != "covered_after":
            return
        self._wrong += [f"{ticker}: {told}" for ticker, told in sorted(bare.items())]
        held, orders = await self._held(tickers), await self._orders(tickers, "all")
        executed = {
            order["symbol"]: Decimal(order["filled_qty"]) for order in orders if order["side"] == "buy"
        }
        self._counts["filled"] += sum(
            order["status"] == "filled" for order in orders if order["side"] == "buy"
        )
        self._counts["cancelled"] += sum(
            order["status"] == "canceled" for order in orders if order["side"] == "buy"
        )
        async with self._stage.database() as connection:
            ours = {row["ticker"]: row["quantity"] for row in await connection.fetch(_POSITIONS)}
        for ticker in tickers:
            books = (executed.get(ticker, ZERO), held.get(ticker, ZERO), ours.get(ticker, ZERO))
            if len(set(books)) == 1 and books[0] > 0:
                self._counts["exact"] += 1
            else:
                self._wrong.append(f"{ticker}: executed {books[0]}, held {books[1]}, in our books {books[2]}")

    async def _until(self, condition: Any, told: str | None) -> None:
        """Wait for it; what does not come is wrong where it is ``told``."""
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                while not await condition():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            if told is not None:
                self._wrong.append(told)


class _Races:
    """Reads the exchange's ledger as it grows, and offers shares when a cancel of an entry has reached it."""

    def __init__(self, stage: Stage, random: Random) -> None:
        self._stage = stage
        self._random = random
        self._seq = 0
        self._entries: dict[str, str] = {}
        self._tickers: frozenset[str] = frozenset()
        self._cancelling: set[str] = set()
        self._won: set[str] = set()
        self._offers: set[asyncio.Task[None]] = set()

    @property
    def raced(self) -> int:
        """Entries with an execution after the exchange had their cancel."""
        return len(self._won)

    def watch(self, tickers: Sequence[str]) -> None:
        """The entries of the next bell."""
        self._tickers = frozenset(tickers)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            async for record in self._stage.exchange.read(self._seq):
                self._seq = record["seq"]
                self._hear(record)
            await asyncio.sleep(POLL_SECONDS / 2)

    def _hear(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "order_created" if record["order"]["side"] == "buy":
                self._entries[record["order"]["id"]] = record["order"]["symbol"]
            case "order_changed" if record["changes"].get("status") == "pending_cancel":
                ticker = self._entries.get(record["order_id"])
                if ticker in self._tickers and record["order_id"] not in self._cancelling:
                    self._cancelling.add(record["order_id"])
                    offer = asyncio.create_task(self._offer(ticker))
                    self._offers.add(offer)
                    offer.add_done_callback(self._offers.discard)
            case "order_executed" if record["order_id"] in self._cancelling:
                self._won.add(record["order_id"])

    async def _offer(self, ticker: str) -> None:
        """The race: all of the rest, or a part of it, at some moment while the cancel is held back."""
        await asyncio.sleep(self._random.uniform(0, RACE_SECONDS_MAX))
        size = self._random.choice((1, 2, QUANTITY))
        with suppress(StageError):
            await self._stage.exchange.control("quotes", quote(ticker, CROSSING, size))


def quote(ticker: str, prices: tuple[str, str], size: int) -> dict[str, Any]:
    """A quote fixed by hand."""
    return {"symbol": ticker, "bid": prices[0], "ask": prices[1], "bid_size": size, "ask_size": size}
