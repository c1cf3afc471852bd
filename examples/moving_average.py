"""A strategy as small as it can be: long while the fast average of a price is above the slow one.

It reads quotes with unmodified alpaca-py and proposes to the gateway, nothing more: whether, when and at which
price an order goes out is not its business, and it holds no right to place one. Not financial advice.

Beside a ``trading up`` it finds gateway and quotes by itself; elsewhere TRADING_GATEWAY_URL, TRADING_TOKEN,
MARKET_DATA_URL, MARKET_DATA_KEY and MARKET_DATA_SECRET say where they are. docs/TUTORIAL.md walks through it.
"""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx2
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockLatestQuoteRequest

from console.addresses import Addresses, find
from console.demo_exchange import paper_secret
from console.errors import CommandFailed

NEW_YORK = ZoneInfo("America/New_York")
STRATEGY = "moving-average"
LOOK_SECONDS = 0.2
"""Real time between two looks at the market."""
ASK_SECONDS, ASK_SECONDS_MAX = 0.1, 2.0
"""Real time between two questions after a signal: twice as long each time. Asking keeps this example short; whoever
wants to be told follows `/v1/events`."""
TOO_MANY_REQUESTS = 429
QUIET_SECONDS = 15
"""Market time for which nothing more is proposed after a refusal: whoever insists is disabled in the end."""
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


class Refused(Exception):
    """The gateway does not take it; the message is its own."""


class Gateway:
    """The one door a strategy has."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )

    def propose(self, **signal: Any) -> dict[str, Any]:
        """Send one signal and wait for what became of it: the order, when it has ended.

        Raises:
            Refused: nothing was stored; the message names what is wrong.
        """
        body = {
            "signal_id": f"{STRATEGY}-{uuid4().hex[:12]}",
            "strategy": STRATEGY,
            "created_at": datetime.now(UTC).isoformat(),
            **signal,
        }
        self._ask("POST", "/v1/signals", body)
        pause = ASK_SECONDS
        while True:
            order = self._ask("GET", f"/v1/signals/{body['signal_id']}")["order"]
            if order["status"] in ENDED:
                return dict(order)
            time.sleep(pause)
            pause = min(2 * pause, ASK_SECONDS_MAX)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request, sent again when the token may make the next one; to repeat it is safe."""
        while True:
            answer = self._http.request(method, path, json=body)
            if answer.status_code != TOO_MANY_REQUESTS:
                break
            time.sleep(float(answer.headers["Retry-After"]))  # The gateway says for how long.
        if answer.is_client_error:
            error = answer.json()["error"]
            raise Refused(f"{error['code']}: {error['message']}")
        return dict(answer.raise_for_status().json())


class Trader:
    """Holds ``quantity`` shares or none."""

    def __init__(self, gateway: Gateway, ticker: str, quantity: int) -> None:
        self._gateway = gateway
        self._ticker = ticker
        self._quantity = quantity
        self._quiet_until = datetime.min.replace(tzinfo=UTC)
        self.held = Decimal(0)

    def want(self, *, long: bool, at: datetime, why: str) -> None:
        """Propose what is missing, if anything is."""
        if long == bool(self.held) or at < self._quiet_until:
            return
        action, quantity = ("BUY_TO_OPEN", Decimal(self._quantity)) if long else ("SELL_TO_CLOSE", self.held)
        order = self._gateway.propose(
            ticker=self._ticker, action=action, order_type="MARKET", quantity=str(quantity), rationale=why
        )
        filled = Decimal(order["filled_quantity"])
        self.held += filled if long else -filled
        if not filled:
            self._quiet_until = at + timedelta(seconds=QUIET_SECONDS)
        told = f"{filled} at {order['average_price']}" if filled else order["reason"]
        print(f"{at:%H:%M:%S} {action:<13} {quantity} {self._ticker}: {order['status']} {told}", flush=True)


def trade(look: Callable[[], tuple[datetime, Decimal]], trader: Trader, options: argparse.Namespace) -> None:
    """Follow the market until it is ``--until``, or for ``--seconds`` of it; then hold nothing."""
    averages = Averages(options.fast, options.slow)
    began = look()[0]
    while True:
        at, mid = look()
        now = at.astimezone(NEW_YORK)
        averages.add(at, mid)
        if options.seconds is not None:
            over, begun = at - began >= timedelta(seconds=options.seconds), True
        else:
            over, begun = f"{now:%H:%M}" >= options.until, f"{now:%H:%M}" >= options.begin
        if over:
            break
        if begun:
            fast, slow = f"{options.fast} s average", f"{options.slow} s average"
            long = averages.is_up()
            trader.want(long=long, at=now, why=f"{fast} {'above' if long else 'not above'} {slow}")
        time.sleep(LOOK_SECONDS)
    while trader.held:
        trader.want(long=False, at=look()[0].astimezone(NEW_YORK), why="the day is over")
        time.sleep(LOOK_SECONDS)


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Propose trades of a moving-average crossover.")
    parser.add_argument("--ticker", default="SPY")
    parser.add_argument("--quantity", type=int, default=20)
    parser.add_argument("--fast", type=int, default=60, help="seconds of market time (60)")
    parser.add_argument("--slow", type=int, default=300, help="seconds of market time (300)")
    parser.add_argument("--begin", default="09:31", help="New York time (09:31)")
    parser.add_argument("--until", default="15:40", help="New York time (15:40)")
    parser.add_argument(
        "--seconds", type=int, help="trade so many seconds of market time from now, whatever time it is"
    )
    return parser.parse_args()


def quotes(here: Addresses) -> StockHistoricalDataClient:
    """Where quotes come from: as the environment says, else the paper exchange of this machine."""
    found = os.environ
    if "MARKET_DATA_URL" in found:
        key, secret, url = (found[f"MARKET_DATA_{name}"] for name in ("KEY", "SECRET", "URL"))
    else:
        key, secret = (paper_secret(here, f"trading_broker_{name}") for name in ("key", "secret"))
        url = here.need("exchange_url")
    return StockHistoricalDataClient(key, secret, url_override=url)


def main() -> int:
    """Trade one day, or ``--seconds`` of it. Exit 1: refused, 3: nothing runs here."""
    options = read_options()
    try:
        run(options, find(None))
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace, here: Addresses) -> None:
    """Look at the market and trade until it is over."""
    data = quotes(here)
    asked = StockLatestQuoteRequest(symbol_or_symbols=options.ticker, feed=DataFeed.IEX)

    def look() -> tuple[datetime, Decimal]:
        quote = data.get_stock_latest_quote(asked)[options.ticker]
        return quote.timestamp, (Decimal(str(quote.bid_price)) + Decimal(str(quote.ask_price))) / 2

    gateway = Gateway(here.need("gateway_url"), here.need("token"))
    trade(look, Trader(gateway, options.ticker, options.quantity), options)


if __name__ == "__main__":
    sys.exit(main())
