"""A running exchange with an unmodified alpaca-py client for it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient

from simulation.server import RunningExchange, start_in_thread
from simulation.settings import ExchangeSettings

MONDAY_TEN = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
WAIT_SECONDS = 10.0


@dataclass
class Venue:
    """An exchange, the official client for it, and a plain HTTP session for what the client hides."""

    running: RunningExchange
    client: TradingClient
    data: StockHistoricalDataClient
    http: requests.Session

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", WAIT_SECONDS)
        return self.http.request(method, self.running.url + path, **options)

    def quote(self, symbol: str, bid: str, ask: str, bid_size: int = 1000, ask_size: int = 1000) -> None:
        body = {"symbol": symbol, "bid": bid, "ask": ask, "bid_size": bid_size, "ask_size": ask_size}
        assert self.call("POST", "/_exchange/quotes", json=body).status_code == 200

    def order(
        self, symbol: str = "AAPL", *, request_timeout: float = WAIT_SECONDS, **fields: Any
    ) -> requests.Response:
        body = {"symbol": symbol, "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        merged = {name: value for name, value in (body | fields).items() if value is not None}
        return self.call("POST", "/v2/orders", json=merged, timeout=request_timeout)

    def status(self, order_id: str) -> str:
        return str(self.call("GET", f"/v2/orders/{order_id}").json()["status"])

    def reaches(self, order_id: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.status(order_id) == status)
        return dict(self.call("GET", f"/v2/orders/{order_id}").json())

    def summary(self) -> dict[str, Any]:
        return dict(self.call("GET", "/_exchange/ledger/summary").json())

    def fault(self, action: str, *, method: str = "POST", path: str = "/v2/orders", **options: Any) -> None:
        body = {"match": {"method": method, "path": path}, "action": action, **options}
        assert self.call("POST", "/_exchange/faults", json=body).status_code == 200


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the awaited state did not come"
        time.sleep(0.01)


def settings(data_dir: Path, **chosen: Any) -> ExchangeSettings:
    chosen.setdefault("start", MONDAY_TEN)
    chosen.setdefault("requests_per_minute", 6_000)
    return ExchangeSettings(key="TESTKEY", secret="TESTSECRET", data_dir=data_dir, **chosen)


def connect(running: RunningExchange) -> Venue:
    client = TradingClient(running.key, running.secret, url_override=running.url)
    data = StockHistoricalDataClient(running.key, running.secret, url_override=running.url)
    http = requests.Session()
    http.trust_env = False
    http.headers.update({"APCA-API-KEY-ID": running.key, "APCA-API-SECRET-KEY": running.secret})
    return Venue(running, client, data, http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """One exchange for a whole module: tests use symbols and ids of their own."""
    with start_in_thread(settings(tmp_path_factory.mktemp("exchange"), cash=10_000_000)) as running:
        yield connect(running)


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    """An exchange of the test's own, with $100,000."""
    with start_in_thread(settings(tmp_path)) as running:
        yield connect(running)


def refusal(call: Callable[[], object]) -> APIError:
    with pytest.raises(APIError) as caught:
        call()
    return caught.value
