"""What watches beside the work of whoever holds the broker's keys: the keys themselves, and the clock."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from broker.alpaca.client import AlpacaReader
from broker.alpaca.hosts import PAPER_TRADING_URL, is_beside_us
from broker.budget import BrokerBudget
from broker.keys import BrokerKeys
from market.ntp import NtpServers
from observability.metrics import Metrics
from security.secrets.opening import broker_path, open_source
from security.secrets.reader import SecretReader
from storage.database import Database
from storage.switches import Installation
from workers.clients import broker_settings, reporter, utc_now
from workers.clock_watch import CHECK_SECONDS, ClockWatch, holder_of
from workers.key_rotation import KeyRefresher, Venue
from workers.loops import for_ever
from workers.settings import BrokerSettings


@dataclass(frozen=True)
class Watches:
    """What a process follows for as long as it runs."""

    clock: ClockWatch
    rotation: KeyRefresher | None
    """None: its keys came in a way that nothing can change."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What they look at and write to."""

    settings: BrokerSettings
    keys: BrokerKeys
    broker: AlpacaReader
    installation: Installation
    database: Database
    budget: BrokerBudget
    metrics: Metrics
    service: str


async def start_watches(stack: AsyncExitStack, watched: Watched) -> Watches:
    """Look at the clock now and every minute, and follow the store of the keys, until the stack closes.

    Raises:
        ClockRefused: this machine's clock is off; or live and nobody can say.
    """
    return Watches(await _watch_clock(stack, watched), _watch_keys(stack, watched))


def _watch_keys(stack: AsyncExitStack, watched: Watched) -> KeyRefresher | None:
    settings, account = watched.settings, watched.installation.account
    source = open_source(settings)
    if source is None:
        return None
    assert account is not None, "bound before"
    reader = SecretReader(source)
    stack.push_async_callback(reader.close)

    def client(keys: BrokerKeys) -> AlpacaReader:
        return AlpacaReader(broker_settings(settings), on_call=reporter(watched.metrics), keys=keys)

    refresher = KeyRefresher(
        reader,
        broker_path(settings),
        watched.keys,
        Venue(settings.broker_trading_url, account, client),
        database=watched.database,
        budget=watched.budget,
        metrics=watched.metrics,
        holder=watched.service,
        now=utc_now,
    )
    _run(stack, refresher.look, 0)
    return refresher


async def _watch_clock(stack: AsyncExitStack, watched: Watched) -> ClockWatch:
    url = watched.settings.broker_trading_url
    is_local = is_beside_us(url)
    servers = NtpServers(watched.settings.time_servers(is_local=is_local))
    stack.callback(servers.close)
    watch = ClockWatch(
        watched.database,
        servers,
        None if is_local else watched.broker,
        watched.metrics,
        holder=holder_of(watched.service),
        is_live=not is_local and url != PAPER_TRADING_URL,
        now=utc_now,
    )
    await watch.refuse_wrong_clock()
    _run(stack, watch.look, CHECK_SECONDS, first=CHECK_SECONDS)
    return watch


def _run(
    stack: AsyncExitStack, job: Callable[[], Awaitable[None]], seconds: float, *, first: float = 0
) -> None:
    async def run() -> None:
        await asyncio.sleep(first)
        await for_ever(job, seconds)

    stack.callback(asyncio.create_task(run(), name=job.__qualname__).cancel)
