"""The account's request limit under three processes that want more, judged by the exchange's ledger."""

import asyncio
import json
import sys
from typing import Any

import pytest

from broker.budget import Share, allowance, share_size
from tests.servers.exchange import Exchange, ExchangeFactory

LIMIT = 200
PROCESSES = 3
SECONDS = 130
"""Two windows, the first of which has every burst in it."""
MOMENT_SECONDS = 4
WINDOW_NS = 60_000_000_000


async def hammer(settings: dict[str, Any], seconds: float) -> dict[str, int]:
    """One process that asks as often as it is let."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.load.hammer", str(seconds),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(json.dumps(settings).encode())
    assert process.returncode == 0
    counts: dict[str, int] = json.loads(out)
    return counts


def requests(exchange: Exchange) -> list[dict[str, Any]]:
    """What reached the trading host with a key, in order; not the harness's own question for the clock."""
    records = [json.loads(line) for line in exchange.ledger.read_text().splitlines()]
    return [each for each in records if each["kind"] == "request" and "clock" not in each["path"]]


async def hammered(database: str, exchanges: ExchangeFactory, seconds: float) -> tuple[int, list[int]]:
    """When the first of them began to ask, and when the exchange received each request, in nanoseconds.

    The exchange would take far more than our own budget gives.
    """
    exchange = await exchanges(requests_per_minute=100_000)
    settings = {
        "dsn": database, "url": exchange.url, "ws": f"{exchange.ws_url}/stream", "key": exchange.key,
        "secret": exchange.secret, "limit": LIMIT,
    }  # fmt: skip
    counts = await asyncio.gather(*(hammer(settings, seconds) for _ in range(PROCESSES)))
    print(f"sent {counts}")
    assert all(each["none_left"] for each in counts), "each wanted more than it got"
    began_ns = min(each["began_ns"] for each in counts)
    return began_ns, sorted(each["monotonic_ns"] for each in requests(exchange))


async def test_three_processes_share_one_burst(database: str, exchange_factory: ExchangeFactory) -> None:
    """How: a moment of the same. A budget for each process would give out three bursts at once."""
    # Not from the first arrival on: on a slow machine more is refilled between the asking and that.
    began_ns, times = await hammered(database, exchange_factory, MOMENT_SECONDS)
    shares = [allowance(share, LIMIT) for share in Share]
    seconds = (times[-1] - began_ns) / 1_000_000_000
    burst = sum(each.burst for each in shares)
    refilled = sum(int(seconds / float(each.interval_seconds)) + 1 for each in shares)
    assert burst <= len(times) <= burst + refilled


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
async def test_three_processes_never_send_more_than_the_limit_in_any_minute(
    database: str, exchange_factory: ExchangeFactory
) -> None:
    _, times = await hammered(database, exchange_factory, SECONDS)
    most = max(sum(start <= each < start + WINDOW_NS for each in times) for start in times)
    shares = sum(share_size(share, LIMIT) for share in Share)
    print(f"at the exchange {len(times)}, most in any 60 s: {most} of {LIMIT}, {shares} given out")
    assert most <= LIMIT
    assert most >= 0.9 * shares, "it gives out what it may"
