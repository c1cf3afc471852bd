"""An exchange with every kind of asset, for the unmodified SDK."""

from collections.abc import Iterator

import pytest

from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, settings

LISTED = [
    *({"symbol": symbol} for symbol in ("AAPL", "MSFT", "IBM", "NVDA", "SPY", "QQQ", "AMZN", "META", "TSLA")),
    {"symbol": "HALT", "tradable": False},
    {"symbol": "GONE", "status": "inactive"},
    {"symbol": "LONG", "shortable": False},
    {"symbol": "WHOLE", "fractionable": False},
]


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """One exchange for a module; cases use tickers of their own."""
    chosen = settings(tmp_path_factory.mktemp("sdk"), symbols=LISTED, cash=1_000_000)
    with start_in_thread(chosen) as running:
        venue = connect(running)
        for listed in LISTED:
            venue.quote(str(listed["symbol"]), "99.98", "100.02")
        yield venue
