"""A strategy for fault runs: what it proposes, and how it insists on an answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from simulation.settings import synthetic_symbols
from workers.chaos.doors import GatewayDoor, new_signal

TICKERS: Final = 220
RESTING_TICKERS: Final = 30
"""Of those, the last ones: only orders that rest far below the market."""
RESTING_SHARE: Final = 0.12
SELLING_SHARE: Final = 0.15
SELL_AFTER: Final = 80
"""A buy so many signals ago is filled: its shares can be sold."""
RESTING_BELOW: Final = 0.8
"""Times the price of the start."""
DOORS: Final = 16
"""Requests at once, as a handful of strategies would send them."""
TAKEN: Final = 202


def propose(count: int, random: Random) -> list[dict[str, Any]]:
    """So many signals: buys at market, sales of what was bought long before, and buys that rest."""
    symbols = synthetic_symbols(TICKERS)
    trading, resting = symbols[:-RESTING_TICKERS], symbols[-RESTING_TICKERS:]
    signals: list[dict[str, Any]] = []
    bought: list[tuple[int, str]] = []
    for number in range(count):
        name, chance = f"chaos-{number:05d}", random.random()
        if chance < RESTING_SHARE:
            symbol = resting[number % RESTING_TICKERS]
            price = (
                f"{float(symbol.price) * RESTING_BELOW:.2f}"  # tidy: float because a price far away will do
            )
            fields = {
                "order_type": "LIMIT",
                "limit_price": price,
                "time_in_force": random.choice(("DAY", "GTC")),
            }
            signals.append(_signal(name, symbol.symbol, str(random.randint(1, 9)), **fields))
        elif chance < RESTING_SHARE + SELLING_SHARE and bought and bought[0][0] <= number - SELL_AFTER:
            _, ticker = bought.pop(0)
            signals.append(_signal(name, ticker, "1", action="SELL_TO_CLOSE"))
        else:
            ticker = trading[number % len(trading)].symbol
            bought.append((number, ticker))
            signals.append(_signal(name, ticker, str(random.randint(2, 9))))
    return signals


def _signal(name: str, ticker: str, quantity: str, **fields: Any) -> dict[str, Any]:
    signal = new_signal(name, ticker=ticker, quantity=quantity, **fields)
    del signal["created_at"]  # that of its first sending
    return signal


class Trader:
    """Sends signals as they fall due; each until it has an answer that is final."""

    def __init__(self, gateway: GatewayDoor, signals: Sequence[dict[str, Any]], random: Random) -> None:
        self._gateway = gateway
        self._signals = signals
        self._random = random
        self._doors = asyncio.Semaphore(DOORS)
        self._due = 0
        self._more = asyncio.Event()
        self.answers: Counter[int] = Counter()
        self.taken: set[str] = set()

    def fall_due(self, count: int) -> None:
        """So many of them may have been sent by now."""
        self._due = max(self._due, min(count, len(self._signals)))
        self._more.set()

    async def run(self, spread_seconds: float) -> None:
        """Send all; those that fall due together within ``spread_seconds`` of each other."""
        sent = 0
        async with asyncio.TaskGroup() as sending:
            while sent < len(self._signals):
                self._more.clear()
                for signal in self._signals[sent : self._due]:
                    sending.create_task(self._send(signal, self._random.uniform(0, spread_seconds)))
                sent = max(sent, self._due)
                if sent < len(self._signals):
                    await self._more.wait()

    async def _send(self, signal: dict[str, Any], after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        async with self._doors:
            stamped = signal | {"created_at": datetime.now(UTC).isoformat()}
            answer = await self._gateway.submit_until_taken(stamped)
        self.answers[answer.status_code] += 1
        if answer.status_code == TAKEN:
            self.taken.add(signal["signal_id"])
