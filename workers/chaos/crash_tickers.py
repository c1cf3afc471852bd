"""The tickers of a crash sweep: one for each run that is on its way, and some that nobody has watched before."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from workers.chaos.doors import ExchangeDoor

POOL_TICKERS: Final = 120
"""Each run that is on its way has one of its own, so that no order waits for another's fate."""
FRESH_TICKERS: Final = 200
"""Beyond the pool: never watched before."""
HALTED_TICKERS: Final = 12
EXCHANGE_OPTIONS: Final = (
    f"--tickers={POOL_TICKERS + FRESH_TICKERS}",
    "--cash=10000000",
    *(
        option
        for number in range(HALTED_TICKERS)
        for option in (
            "--symbol",
            json.dumps({"symbol": f"HALT{chr(ord('A') + number)}", "price": "50", "tradable": False}),
        )
    ),
    "--symbol",
    json.dumps({"symbol": "WIDE", "price": "20", "spread_bps": "400"}),
)
BID: Final = "100.00"
ASK: Final = "100.02"
SIZE: Final = 1_000_000


class Tickers:
    """Who uses which."""

    def __init__(self, exchange: "ExchangeDoor") -> None:
        self._exchange = exchange
        self._pool: asyncio.Queue[str] = asyncio.Queue()
        for number in range(1, POOL_TICKERS + 1):
            self._pool.put_nowait(_name(number))
        self._fresh = itertools.count(POOL_TICKERS + 1)
        self._halted = itertools.count()
        self._left: set[str] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """One that nobody else uses for the length of the block."""
        taken = await self._pool.get()
        try:
            await self._stand_still(taken)
            yield taken
        finally:
            self._pool.put_nowait(taken if taken not in self._left else _name(next(self._fresh)))

    def leave(self, ticker: str) -> None:
        """Nobody gets it again: an order of a run that was cut off may go on there, and meet others' faults."""
        self._left.add(ticker)

    async def fresh(self) -> str:
        """One that was never asked for."""
        ticker = _name(next(self._fresh))
        await self._stand_still(ticker)
        return ticker

    def halted(self) -> str:
        """One that the broker does not trade."""
        return f"HALT{chr(ord('A') + next(self._halted) % HALTED_TICKERS)}"

    async def _stand_still(self, ticker: str) -> None:
        """A market that does not move, so that what rests rests."""
        body = {"symbol": ticker, "bid": BID, "ask": ASK, "bid_size": SIZE, "ask_size": SIZE}
        await self._exchange.control("quotes", body)


def _name(number: int) -> str:
    return f"T{number:04d}"
