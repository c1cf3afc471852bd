"""Builds what activities hold: pools, broker, clocks, feeds. The only place where clients are made."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.catch_up import CatchUp
from activities.notifier import OrderNotifier
from broker.alpaca.settings import AlpacaSettings, BrokerCall, OnCall
from broker.alpaca.trader import AlpacaTrader
from market.alpaca_data import AlpacaDataSettings, AlpacaMarketData
from market.calendar import load_calendar
from market.clock import MarketClock
from market.feed import QuoteFeed
from market.hours import MarketHours
from market.latency import FeedLatency
from market.source import QuoteSource
from observability.metrics import CallOutcome, Metrics, call_outcome
from observability.temporal import temporal_runtime
from observability.tracing import ended_span, temporal_interceptors
from schemas.market import Provider
from storage.database import Database
from storage.migrate import check
from storage.switches import Installation, bind_installation
from workers.limits import require_limits
from workers.settings import WorkerSettings

MODE: Final = "paper"


def utc_now() -> datetime:
    """Our wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Parts:
    """Everything a process of the compact topology works with."""

    settings: WorkerSettings
    database: Database
    client: Client
    broker: AlpacaTrader
    clock: MarketClock
    hours: MarketHours
    quotes: QuoteSource
    feeds: tuple[QuoteFeed, ...]
    installation: Installation
    metrics: Metrics
    notifier: OrderNotifier
    catch_up: CatchUp


@asynccontextmanager
async def build(settings: WorkerSettings) -> AsyncIterator[Parts]:
    """Connect to everything, check what must hold before the first order, close in reverse.

    Raises:
        DatabaseUnavailable, MigrationError, LimitsMissing, WrongInstallation, BrokerError: do not start.
    """
    async with AsyncExitStack() as stack:
        dsn = settings.database_url.get_secret_value()
        database = await Database.connect(dsn, fences=True)
        stack.push_async_callback(database.close)
        await check(dsn)
        metrics = Metrics()
        broker = AlpacaTrader(_broker_settings(settings), on_call=_reporter(metrics))
        stack.push_async_callback(broker.close)
        installation = await _bind(database, broker)
        client = await connect_temporal(settings)
        clock = await stack.enter_async_context(MarketClock(broker, speed=settings.market_speed))
        hours = MarketHours(clock, await load_calendar(), broker)
        feeds, quotes = _quotes(settings, clock)
        stack.push_async_callback(quotes.close)
        notifier = OrderNotifier(client, database)
        stack.push_async_callback(notifier.close)
        yield Parts(
            settings=settings,
            database=database,
            client=client,
            broker=broker,
            clock=clock,
            hours=hours,
            quotes=quotes,
            feeds=feeds,
            installation=installation,
            metrics=metrics,
            notifier=notifier,
            catch_up=CatchUp(database, broker, clock, notifier, now=utc_now),
        )


async def connect_temporal(settings: WorkerSettings) -> Client:
    """One client per process, with our converter; the core logs errors only."""
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=pydantic_data_converter,
        interceptors=temporal_interceptors(),
        runtime=temporal_runtime(settings.topology),
    )


def _broker_settings(settings: WorkerSettings) -> AlpacaSettings:
    return AlpacaSettings(
        key_id=settings.broker_key,
        secret_key=settings.broker_secret,
        trading_url=settings.broker_trading_url,
        stream_url=settings.broker_stream_url,
    )


def _reporter(metrics: Metrics) -> OnCall:
    def report(call: BrokerCall) -> None:
        outcome = call_outcome(None if call.outcome == "OK" else call.outcome, http_status=call.http_status)
        metrics.broker_call(call.operation, outcome, call.latency_ms)
        if call.operation == "place_order":
            metrics.order_post(outcome)
        ended_span(
            f"broker.{call.operation}",
            call.latency_ms,
            failed=None if outcome is CallOutcome.OK else call.outcome,
            method=call.method,
            path=call.path,
            outcome=call.outcome,
            http_status=call.http_status or 0,
            request_id=call.request_id or "",
        )

    return report


async def _bind(database: Database, broker: AlpacaTrader) -> Installation:
    """Prove the keys, tie the database to the account, and refuse to start without limits."""
    account = await broker.authenticate()
    async with database.transaction() as connection:
        installation = await bind_installation(
            connection, account=account.account_id, mode=MODE, now=utc_now()
        )
        await require_limits(connection)
    return installation


def _quotes(settings: WorkerSettings, clock: MarketClock) -> tuple[tuple[QuoteFeed, ...], QuoteSource]:
    primary = _provider(
        settings, settings.data_url, settings.data_stream_url, settings.data_feed, Provider.PRIMARY
    )
    feeds = [QuoteFeed(primary, Provider.PRIMARY, FeedLatency(clock))]
    secondary = None
    if settings.secondary_data_url is not None:
        secondary = _provider(
            settings,
            settings.secondary_data_url,
            settings.secondary_data_stream_url or "",
            settings.secondary_data_feed,
            Provider.SECONDARY,
        )
        if settings.secondary_data_stream_url is not None:
            feeds.append(QuoteFeed(secondary, Provider.SECONDARY, FeedLatency(clock)))
    return tuple(feeds), QuoteSource(clock, primary, secondary, feeds=feeds)


def _provider(
    settings: WorkerSettings, url: str, stream_url: str, feed: str, provider: Provider
) -> AlpacaMarketData:
    return AlpacaMarketData(
        AlpacaDataSettings(
            url=url,
            stream_url=stream_url,
            feed=feed,
            key_id=settings.broker_key,
            secret_key=settings.broker_secret,
            provider=provider,
        )
    )
