"""Builds what activities hold: pools, broker, clocks, feeds. The only place where clients are made.

Each kind of process has parts of its own kind, so that what it may not do is not there to be done: risk has no
broker, operations a broker without a way to place.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from temporalio.client import Client

from activities.catch_up import CatchUp
from activities.live import LiveGuard
from activities.notifier import OrderNotifier
from audit.store.port import ObjectStore
from broker.alpaca.client import AlpacaReader
from broker.alpaca.trader import AlpacaTrader
from broker.budget import BrokerBudget
from broker.keys import BrokerKeys, KeyPair
from market.calendar import load_calendar
from market.clock import MarketClock
from market.feed import QuoteFeed
from market.hours import MarketHours
from market.source import QuoteSource
from observability.metrics import Metrics
from schemas.clock import no_fault
from security.approvals import ApprovalKeys, ApprovalSigner
from storage.database import PLACEMENT_SLOTS, Database
from storage.switches import Installation
from workers.audit_sealing import audit_jobs
from workers.broker_budget import SharedBudget
from workers.clients import (
    UNKNOWN_MODE,
    VERSION,
    audit_store,
    bind,
    bound_mode,
    broker_settings,
    connect_temporal,
    open_database,
    process_metrics,
    quote_source,
    reporter,
    signing_keys,
    utc_now,
)
from workers.halt_probe import LOOK_SECONDS, PROBE_EVERY, PROBE_EVERY_IN_RESERVE, HaltProbe
from workers.kill_watch import WATCH_SECONDS, KillWatcher
from workers.limits import require_limits
from workers.live import live_guard
from workers.loops import for_ever
from workers.own_clock import watch_own_clock
from workers.settings import (
    ExecutionSettings,
    GatewaySettings,
    OperationsSettings,
    OrdersSettings,
    RiskSettings,
    WorkerSettings,
)
from workers.stored_clock import RowClock, SharedClock, StoredClock
from workers.waiting import temporal_when_up
from workers.watches import Watched, Watches, start_watches


@dataclass(frozen=True, kw_only=True)
class OrdersParts:
    """Workflows only decide: a way to Temporal, nothing else."""

    client: Client
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class GatewayParts(OrdersParts):
    """Rows, and a way to start workflows."""

    database: Database
    clock_fault: Callable[[], str | None] = no_fault
    """Why this process may judge no times now; None: it may. Who writes its readings into rows asks those."""


@dataclass(frozen=True, kw_only=True)
class TimedParts(GatewayParts):
    """Rows and the market's time."""

    clock: MarketClock


@dataclass(frozen=True, kw_only=True)
class RiskParts(TimedParts):
    """The only parts that can approve. The market's time they are told by a row."""

    signer: ApprovalSigner


@dataclass(frozen=True, kw_only=True)
class BrokerParts(TimedParts):
    """A broker that reads and cancels."""

    broker: AlpacaReader
    kill_broker: AlpacaReader
    """The kill path's own: it takes no token, needs no database to ask, and has connections of its own."""
    budget: BrokerBudget
    hours: MarketHours
    quotes: QuoteSource
    installation: Installation
    keys: BrokerKeys
    """As they are now."""
    watches: Watches


@dataclass(frozen=True, kw_only=True)
class ExecutionParts(BrokerParts):
    """The only parts with a broker that can place, and with the keys that say what it may."""

    broker: AlpacaTrader
    approval_keys: ApprovalKeys
    live: LiveGuard | None
    """Who is asked before an order goes to the live brokerage; None: it is paper."""


@dataclass(frozen=True, kw_only=True)
class OperationsParts(BrokerParts):
    """The streams, and who must hear of what they bring."""

    settings: OperationsSettings | WorkerSettings
    feeds: tuple[QuoteFeed, ...]
    notifier: OrderNotifier
    catch_up: CatchUp
    audit_store: ObjectStore


@dataclass(frozen=True, kw_only=True)
class Parts(RiskParts, ExecutionParts, OperationsParts):
    """Everything, for the process that is every role."""

    settings: WorkerSettings
    broker: AlpacaTrader


B = TypeVar("B", bound=AlpacaReader)


@dataclass(frozen=True)
class _Side(Generic[B]):
    """What every process that holds the broker's keys is made of."""

    client: Client
    metrics: Metrics
    database: Database
    broker: B
    kill_broker: AlpacaReader
    budget: BrokerBudget
    clock: MarketClock
    hours: MarketHours
    installation: Installation
    keys: BrokerKeys
    watches: Watches


@asynccontextmanager
async def build(settings: WorkerSettings) -> AsyncIterator[Parts]:
    """Connect to everything, check what must hold before the first order, close in reverse.

    Raises:
        DatabaseUnavailable, MigrationError, LimitsMissing, WrongInstallation, BrokerError, ApprovalKeyError,
            LiveKeyError, ClockRefused, HostRefused, KeyScopeRefused: do not start.
    """
    async with AsyncExitStack() as stack:
        signer, approval_keys = signing_keys(settings)
        side = await _side(
            stack, settings, AlpacaTrader, fences=True, service=settings.topology, approval_keys=approval_keys
        )
        feeds, quotes = quote_source(settings, side.clock, side.metrics, side.keys, streamed=True)
        stack.push_async_callback(quotes.close)
        notifier = _notifier(stack, side)
        yield Parts(
            settings=settings,
            signer=signer,
            approval_keys=approval_keys,
            live=live_guard(settings, side.installation, approval_keys),
            database=side.database,
            client=side.client,
            broker=side.broker,
            kill_broker=side.kill_broker,
            budget=side.budget,
            clock=side.clock,
            hours=side.hours,
            quotes=quotes,
            feeds=feeds,
            installation=side.installation,
            keys=side.keys,
            watches=side.watches,
            metrics=side.metrics,
            notifier=notifier,
            catch_up=CatchUp(side.database, side.broker, side.clock, notifier, now=utc_now),
            audit_store=audit_store(settings),
        )


@asynccontextmanager
async def build_gateway(settings: GatewaySettings) -> AsyncIterator[GatewayParts]:
    """Rows and Temporal. Raises as `build`, save for the broker's errors."""
    async with AsyncExitStack() as stack:
        database = await open_database(stack, settings, "gateway")
        metrics = await process_metrics("gateway", database)
        own = await watch_own_clock(stack, settings, metrics, mode=await bound_mode(database))
        client = await connect_temporal(settings, "gateway", metrics)
        yield GatewayParts(client=client, metrics=metrics, database=database, clock_fault=own.fault)


@asynccontextmanager
async def build_orders(settings: OrdersSettings) -> AsyncIterator[OrdersParts]:
    """Temporal alone."""
    metrics = await process_metrics("orders")
    yield OrdersParts(client=await connect_temporal(settings, "orders", metrics), metrics=metrics)


@asynccontextmanager
async def build_risk(settings: RiskSettings) -> AsyncIterator[RiskParts]:
    """Rows, and a clock that reads them. Raises as `build`, save for the broker's errors."""
    async with AsyncExitStack() as stack:
        signer, _ = signing_keys(settings)
        database = await open_database(stack, settings, "risk")
        async with database.connection() as connection:
            await require_limits(connection, utc_now())
        metrics = await process_metrics("risk", database)
        own = await watch_own_clock(stack, settings, metrics, mode=await bound_mode(database))
        client = await connect_temporal(settings, "risk", metrics)
        reader = StoredClock(database, now=utc_now)
        clock = await stack.enter_async_context(RowClock(reader, speed=settings.market_speed))
        yield RiskParts(
            client=client,
            metrics=metrics,
            database=database,
            clock=clock,
            signer=signer,
            clock_fault=own.fault,
        )


@asynccontextmanager
async def build_execution(
    settings: ExecutionSettings, stop: asyncio.Event | None = None
) -> AsyncIterator[ExecutionParts]:
    """A broker that can place. Quotes are asked for: the one stream an account has is the operations'.

    Raises as `build`; with ``stop`` it waits for Temporal, and raises StoppedWaiting when that comes first.
    """
    async with AsyncExitStack() as stack:
        approval_keys = ApprovalKeys.parse(settings.approval_public_keys.get_secret_value())
        side = await _side(
            stack,
            settings,
            AlpacaTrader,
            fences=True,
            service="execution",
            stop=stop,
            approval_keys=approval_keys,
        )
        _, quotes = quote_source(settings, side.clock, side.metrics, side.keys, streamed=False)
        stack.push_async_callback(quotes.close)
        yield ExecutionParts(
            database=side.database,
            client=side.client,
            broker=side.broker,
            approval_keys=approval_keys,
            live=live_guard(settings, side.installation, approval_keys),
            kill_broker=side.kill_broker,
            budget=side.budget,
            clock=side.clock,
            hours=side.hours,
            quotes=quotes,
            installation=side.installation,
            keys=side.keys,
            watches=side.watches,
            metrics=side.metrics,
        )


@asynccontextmanager
async def build_operations(
    settings: OperationsSettings, stop: asyncio.Event | None = None
) -> AsyncIterator[OperationsParts]:
    """A broker that reads and cancels, and the streams. Raises and waits as `build_execution`."""
    async with AsyncExitStack() as stack:
        side = await _side(stack, settings, AlpacaReader, fences=False, service="operations", stop=stop)
        feeds, quotes = quote_source(settings, side.clock, side.metrics, side.keys, streamed=True)
        stack.push_async_callback(quotes.close)
        notifier = _notifier(stack, side)
        yield OperationsParts(
            settings=settings,
            database=side.database,
            client=side.client,
            broker=side.broker,
            kill_broker=side.kill_broker,
            budget=side.budget,
            clock=side.clock,
            hours=side.hours,
            quotes=quotes,
            feeds=feeds,
            installation=side.installation,
            keys=side.keys,
            watches=side.watches,
            metrics=side.metrics,
            notifier=notifier,
            catch_up=CatchUp(side.database, side.broker, side.clock, notifier, now=utc_now),
            audit_store=audit_store(settings),
        )


async def _side(
    stack: AsyncExitStack,
    settings: "WorkerSettings | ExecutionSettings | OperationsSettings",
    make: type[B],
    *,
    fences: bool,
    service: str,
    stop: asyncio.Event | None = None,
    approval_keys: ApprovalKeys | None = None,
) -> _Side[B]:
    """With ``stop`` Temporal is waited for until then; the kill switch and the audit log are seen to meanwhile, and
    ever after.
    """
    # Before anything is reached: an address that orders may not go to.
    alpaca = broker_settings(settings)
    slots = PLACEMENT_SLOTS if isinstance(settings, OperationsSettings) else settings.placement_slots
    database = await open_database(stack, settings, service, fences=fences, slots=slots)
    metrics = Metrics()
    budget = SharedBudget(database, metrics, requests_per_minute=settings.broker_requests_per_minute)
    keys = BrokerKeys(KeyPair(settings.broker_key, settings.broker_secret))
    broker = make(alpaca, on_call=reporter(metrics), budget=budget, keys=keys)
    kill_broker = AlpacaReader(alpaca, on_call=reporter(metrics), keys=keys)
    stack.push_async_callback(kill_broker.close)
    stack.push_async_callback(broker.close)
    installation = await bind(database, broker, settings, approval_keys)
    metrics.set_build(version=VERSION, service=service, mode=installation.mode or UNKNOWN_MODE)
    watched = Watched(
        settings=settings, keys=keys, broker=broker, installation=installation, database=database,
        budget=budget, metrics=metrics, service=service,
    )  # fmt: skip
    watches = await start_watches(stack, watched)
    every = PROBE_EVERY_IN_RESERVE if service == "execution" else PROBE_EVERY
    watcher = KillWatcher(database, kill_broker, metrics)
    probe = HaltProbe(database, kill_broker, budget, metrics, every=every)
    jobs = ((watcher.look, WATCH_SECONDS), (probe.look, LOOK_SECONDS))
    audit = audit_jobs(settings, database, installation, metrics)
    for job, seconds in (*jobs, *audit):
        stack.callback(asyncio.create_task(for_ever(job, seconds), name=job.__qualname__).cancel)
    if stop is None or isinstance(settings, WorkerSettings):
        client = await connect_temporal(settings, service, metrics)
    else:
        client = await temporal_when_up(settings, service, stop, database=database, metrics=metrics)
    clock = await stack.enter_async_context(_clock(settings, broker, database))
    hours = MarketHours(clock, await load_calendar(), broker)
    return _Side(
        client, metrics, database, broker, kill_broker, budget, clock, hours, installation, keys, watches
    )


def _clock(
    settings: "WorkerSettings | ExecutionSettings | OperationsSettings",
    broker: AlpacaReader,
    database: Database,
) -> MarketClock:
    """Execution goes on with what operations read; who keeps the row reads the broker."""
    if isinstance(settings, ExecutionSettings):
        return SharedClock(broker, database, speed=settings.market_speed, now=utc_now)
    return MarketClock(broker, speed=settings.market_speed)


def _notifier(stack: AsyncExitStack, side: _Side[B]) -> OrderNotifier:
    notifier = OrderNotifier(side.client, side.database)
    stack.push_async_callback(notifier.close)
    return notifier
