"""A strategy as small as it can be: long while the fast average of a price is above the slow one.

It reads quotes with unmodified alpaca-py and proposes to the gateway, nothing more: whether, when and at which
price an order goes out is not its business, and it holds no right to place one. Not financial advice.

Needs TRADING_GATEWAY_URL, TRADING_TOKEN, MARKET_DATA_URL, MARKET_DATA_KEY and MARKET_DATA_SECRET;
``make day`` starts it with all of them.
"""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx2
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockLatestQuoteRequest

NEW_YORK = ZoneInfo("America/New_York")
STRATEGY = "moving-average"
LOOK_SECONDS, ASK_SECONDS = 0.2, 0.1
"""Real time between two looks at the market, and between two questions after a signal."""
ENDED = ("FILLED", "REJECTED", "CANCELED", "FATAL_ERROR")


@dataclass
class Averages:
    """Mid prices of the last ``slow`` seconds of market time."""

    fast: int
    slow: int
    mids: deque[tuple[datetime, Decimal]] = field(default_factory=deque)

    def add(self, at: datetime, mid: Decimal) -> None:
        """Take one quote; the same one again adds nothing."""
        if not self.mids or at > self.mids[-1][0]:
            self.mids.append((at, mid))
        while (at - self.mids[0][0]).total_seconds() > self.slow:
            self.mids.popleft()

    def is_up(self) -> bool:
        """Whether the fast average is above the slow one."""
        return self._over(self.fast) > self._over(self.slow)

    def _over(self, seconds: int) -> Decimal:
        newest = self.mids[-1][0]
        found = [mid for at, mid in self.mids if (newest - at).total_seconds() <= seconds]
        return sum(found, Decimal(0)) / len(found)


class Gateway:
    """The one door a strategy has."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )

    def propose(self, **signal: Any) -> dict[str, Any]:
        """Send one signal and wait for what became of it."""
        body = {
            "signal_id": f"{STRATEGY}-{uuid4().hex[:12]}",
            "strategy": STRATEGY,
            "created_at": datetime.now(UTC).isoformat(),
            **signal,
        }
        self._http.post("/v1/signals", json=body).raise_for_status()
        while True:
            found = self._http.get(f"/v1/signals/{body['signal_id']}").raise_for_status().json()
            if found["order"]["status"] in ENDED:
                return dict(found["order"])
            time.sleep(ASK_SECONDS)


class Trader:
    """Holds ``quantity`` shares or none."""

    def __init__(self, gateway: Gateway, ticker: str, quantity: int) -> None:
        self._gateway = gateway
        self._ticker = ticker
        self._quantity = quantity
        self.held = Decimal(0)

    def want(self, *, long: bool, at: datetime, why: str) -> None:
        """Propose what is missing, if anything is."""
        if long == bool(self.held):
            return
        action, quantity = ("BUY_TO_OPEN", Decimal(self._quantity)) if long else ("SELL_TO_CLOSE", self.held)
        order = self._gateway.propose(
            ticker=self._ticker, action=action, order_type="MARKET", quantity=str(quantity), rationale=why
        )
        filled = Decimal(order["filled_quantity"])
        self.held += filled if long else -filled
        told = f"{filled} at {order['average_price']}" if filled else order["reason"]
        print(f"{at:%H:%M:%S} {action:<13} {quantity} {self._ticker}: {order['status']} {told}", flush=True)


def trade(look: Callable[[], tuple[datetime, Decimal]], trader: Trader, options: argparse.Namespace) -> None:
    """Follow the market until it is ``--until``; then hold nothing."""
    averages = Averages(options.fast, options.slow)
    while True:
        at, mid = look()
        now = at.astimezone(NEW_YORK)
        averages.add(at, mid)
        if f"{now:%H:%M}" >= options.until:
            break
        if f"{now:%H:%M}" >= options.begin:
            fast, slow = f"{options.fast} s average", f"{options.slow} s average"
            long = averages.is_up()
            trader.want(long=long, at=now, why=f"{fast} {'above' if long else 'not above'} {slow}")
        time.sleep(LOOK_SECONDS)
    while trader.held:
        trader.want(long=False, at=look()[0].astimezone(NEW_YORK), why="the day is over")


def main() -> int:
    """Trade one day."""
    parser = argparse.ArgumentParser(description="Propose trades of a moving-average crossover.")
    parser.add_argument("--ticker", default="SPY")
    parser.add_argument("--quantity", type=int, default=20)
    parser.add_argument("--fast", type=int, default=60, help="seconds of market time (60)")
    parser.add_argument("--slow", type=int, default=300, help="seconds of market time (300)")
    parser.add_argument("--begin", default="09:31", help="New York time (09:31)")
    parser.add_argument("--until", default="15:40", help="New York time (15:40)")
    options = parser.parse_args()
    data = StockHistoricalDataClient(
        os.environ["MARKET_DATA_KEY"],
        os.environ["MARKET_DATA_SECRET"],
        url_override=os.environ["MARKET_DATA_URL"],
    )
    asked = StockLatestQuoteRequest(symbol_or_symbols=options.ticker, feed=DataFeed.IEX)

    def look() -> tuple[datetime, Decimal]:
        quote = data.get_stock_latest_quote(asked)[options.ticker]
        return quote.timestamp, (Decimal(str(quote.bid_price)) + Decimal(str(quote.ask_price))) / 2

    gateway = Gateway(os.environ["TRADING_GATEWAY_URL"], os.environ["TRADING_TOKEN"])
    trade(look, Trader(gateway, options.ticker, options.quantity), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
