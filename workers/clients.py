"""How each client is made: database, Temporal, broker, quotes. `workers.parts` says which process has which."""

import os
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from importlib.metadata import version
from typing import Final

from pydantic import SecretStr
from temporalio.client import Client
from temporalio.runtime import Runtime

from audit.cold.mover import Retention
from audit.store.opening import S3Access, open_store
from audit.store.port import ObjectStore
from broker.alpaca.client import AlpacaReader
from broker.alpaca.scope import check_scope
from broker.alpaca.settings import AlpacaSettings
from broker.budget import patiently
from broker.keys import BrokerKeys
from broker.told import BrokerCall, OnCall
from market.alpaca_data import AlpacaDataSettings, AlpacaMarketData
from market.clock import MarketClock
from market.feed import QuoteFeed
from market.latency import FeedLatency
from market.source import QuoteSource
from observability.logging import get_logger, use_mode
from observability.metrics import CallOutcome, Metrics, call_outcome
from observability.steps import StepLog
from observability.temporal import CountedRuntime, counted_runtime, temporal_runtime
from observability.tracing import ended_span, temporal_interceptors
from schemas.audit import AuditEntry
from schemas.broker import Account
from schemas.market import Provider
from security.approvals import ApprovalKeys, ApprovalSigner
from security.payloads import KeyRing, PayloadKeys, data_converter, header_behavior
from storage.database import PLACEMENT_SLOTS, POOL_MAX, Database
from storage.events import append
from storage.migrate import check
from storage.switches import Installation, access_entry, bind_installation, read_installation
from workers.limits import require_limits
from workers.live import may_reach, refuse_plain_payloads, tell_configuration
from workers.settings import (
    AuditSettings,
    BrokerSettings,
    DatabaseSettings,
    ExecutionSettings,
    RetentionSettings,
    SigningSettings,
    TemporalSettings,
    WorkerSettings,
)

UNKNOWN_MODE: Final = "unknown"
VERSION: Final = version("trading-interface")
PROCESS_NAME_MAX: Final = 63
"""PostgreSQL keeps no more of an application_name."""
TOKENS_WAIT_MAX_SECONDS: Final = 60.0
"""Within it some request is free again, whoever else asks."""

_log = get_logger(__name__)
_rings: Final[list[KeyRing]] = []
"""Of this process: no workflow code imports this module."""


def utc_now() -> datetime:
    """Our wall clock."""
    return datetime.now(UTC)


async def connect_temporal(
    settings: TemporalSettings, service: str, metrics: Metrics | None = None, *, lazy: bool = False
) -> Client:
    """One client per process, with our converter; the core logs errors only, and ``metrics`` gets what it counts.

    ``lazy``: connects when first used.

    Raises:
        PayloadKeyError: the keys of payloads cannot be used.
    """
    ring = payload_ring(settings)
    counted = None if metrics is None else _counted(service)
    client = await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=data_converter(ring, writes=settings.payloads == "encrypted"),
        header_codec_behavior=header_behavior(ring),
        interceptors=[*temporal_interceptors(), StepLog()],
        runtime=_runtime(service) if counted is None else counted.runtime,
        lazy=lazy,
    )
    if metrics is not None and counted is not None:
        metrics.add_page(counted.page)
    return client


def payload_ring(settings: TemporalSettings) -> KeyRing | None:
    """The keys of payloads; None: there are none.

    Raises:
        PayloadKeyError: they cannot be used.
    """
    if settings.payload_keys is None:
        return None
    ring = KeyRing(PayloadKeys.parse(settings.payload_keys.get_secret_value()))
    _rings.append(ring)
    return ring


def use_payload_keys(text: str) -> None:
    """From now on every client of this process encrypts and decrypts with these.

    Raises:
        PayloadKeyError: they cannot be used; nothing was changed.
    """
    keys = PayloadKeys.parse(text)
    for ring in _rings:
        ring.use(keys)


@cache
def _runtime(service: str) -> Runtime:
    """One for the process, however often it has to connect: each has threads of its own."""
    return temporal_runtime(service)


@cache
def _counted(service: str) -> CountedRuntime:
    return counted_runtime(service)


async def process_metrics(service: str, database: Database | None = None) -> Metrics:
    """A process's metrics, with what it is: its mode as the database says at its start."""
    mode = None if database is None else await bound_mode(database)
    metrics = Metrics()
    metrics.set_build(version=VERSION, service=service, mode=mode or UNKNOWN_MODE)
    return metrics


async def bound_mode(database: Database) -> str | None:
    """What the database is bound to; None: nothing yet."""
    async with database.connection() as connection:
        return (await read_installation(connection)).mode


async def open_database(
    stack: AsyncExitStack,
    settings: DatabaseSettings,
    service: str,
    *,
    fences: bool = False,
    slots: int = PLACEMENT_SLOTS,
    most: int = POOL_MAX,
) -> Database:
    """Open the pools, closed with the stack, of at most ``most``; ``fences``: those of ``slots`` placements too.

    Raises:
        BadDatabaseAddress, DatabaseUnavailable, MigrationError: there is none, or of another release.
        PlainPayloads: it is a live installation's, and this process would write plain payloads.
    """
    process = f"trading {service} {os.getpid()}@{socket.gethostname()}"
    database = await Database.connect(
        settings.dsn, fences=fences, slots=slots, process=process[:PROCESS_NAME_MAX], most=most
    )
    stack.push_async_callback(database.close)
    await check(settings.dsn)
    bound = await bound_mode(database)
    if bound is not None:
        use_mode(bound)
        refuse_plain_payloads(settings, bound)
    return database


def signing_keys(settings: SigningSettings) -> tuple[ApprovalSigner, ApprovalKeys]:
    """Risk's key, and the keys that execution accepts.

    Raises:
        ApprovalKeyError: one cannot be used, or the two do not belong together.
    """
    signer = ApprovalSigner.from_hex(settings.approval_signing_key.get_secret_value())
    keys = ApprovalKeys.parse(settings.approval_public_keys.get_secret_value())
    keys.require_current(signer)
    _log.info("approvals are signed", key_id=signer.key_id)
    return signer, keys


def audit_store(settings: AuditSettings) -> ObjectStore:
    """Where checkpoints and cold storage are."""
    access = S3Access(
        region=settings.audit_s3_region,
        endpoint_url=settings.audit_s3_endpoint,
        access_key=settings.audit_s3_key,
        secret_key=settings.audit_s3_secret,
    )
    return open_store(settings.audit_target, access)


def retention_of(settings: RetentionSettings) -> Retention:
    """How long what is kept where."""
    return Retention(
        audit=timedelta(days=settings.retention_days), events=timedelta(days=settings.retention_events_days)
    )


def broker_settings(settings: BrokerSettings) -> AlpacaSettings:
    """Raises HostRefused, KeyScopeRefused."""
    check_scope(settings.broker_key.get_secret_value(), settings.broker_trading_url)
    return AlpacaSettings(
        key_id=settings.broker_key,
        secret_key=settings.broker_secret,
        trading_url=settings.broker_trading_url,
        stream_url=settings.broker_stream_url,
        live_set_up=may_reach(settings),
    )


def reporter(metrics: Metrics) -> OnCall:
    """Counts each broker call, and makes it a span."""

    def report(call: BrokerCall) -> None:
        outcome = call_outcome(None if call.outcome == "OK" else call.outcome, http_status=call.http_status)
        metrics.broker_call(call.operation, outcome, call.latency_ms)
        if call.operation == "place_order":
            metrics.order_post(outcome)
        told = {**call.as_json(), "latency_ms": round(call.latency_ms, 1)}
        if call.method == "GET" and outcome is CallOutcome.OK:
            _log.debug("broker call", **told)  # The market's clock alone is asked some thousand times a day.
        else:
            _log.info("broker call", **told)
        ended_span(
            f"broker.{call.operation}",
            call.latency_ms,
            None if outcome is CallOutcome.OK else call.outcome,
            method=call.method,
            path=call.path,
            outcome=call.outcome,
            http_status=call.http_status or 0,
            request_id=call.request_id or "",
        )

    return report


async def bind(
    database: Database,
    broker: AlpacaReader,
    settings: BrokerSettings,
    approval_keys: ApprovalKeys | None = None,
) -> Installation:
    """Prove the keys, tie the database to the account and to what the broker's addresses are, paper or live, and
    refuse to start without limits.

    Whoever places says with ``approval_keys`` whose approvals it takes from now on: an audit row of every start.
    """
    account = await _authenticated(broker)
    async with database.transaction("start.bound") as connection:
        installation = await bind_installation(
            connection, account=account.account_id, mode=broker.mode.value, now=utc_now()
        )
        await require_limits(connection, utc_now())
        if approval_keys is not None:
            await append(connection, _trusted(approval_keys, utc_now()))
            if isinstance(settings, ExecutionSettings | WorkerSettings):
                await tell_configuration(connection, settings, installation, approval_keys, utc_now())
    use_mode(broker.mode.value)
    return installation


def _trusted(keys: ApprovalKeys, now: datetime) -> AuditEntry:
    states = {key_id: keys.states[key].value for key_id, key in keys.by_id.items()}
    before = keys.unsigned_before
    evidence = {"keys": states, "unsigned_before": None if before is None else before.isoformat()}
    detail = ", ".join(f"{key_id} {state}" for key_id, state in states.items())
    return access_entry(
        "APPROVAL_KEYS_TRUSTED", "ExecutionAgent", f"approvals by: {detail}", evidence, now, actor="system"
    )


async def _authenticated(broker: AlpacaReader) -> Account:
    """Processes that are started again and again use the budget up: a start waits for its turn."""
    with patiently(TOKENS_WAIT_MAX_SECONDS):
        return await broker.authenticate()


def quote_source(
    settings: BrokerSettings, clock: MarketClock, metrics: Metrics, keys: BrokerKeys, *, streamed: bool
) -> tuple[tuple[QuoteFeed, ...], QuoteSource]:
    """Both providers; with ``streamed`` the feeds too, which their holder runs. Close the source."""
    primary = _provider(
        settings, keys, settings.data_url, settings.data_stream_url, settings.data_feed, Provider.PRIMARY
    )

    def feed(data: AlpacaMarketData, provider: Provider) -> QuoteFeed:
        told = partial(metrics.market_data_received, provider.value)
        return QuoteFeed(data, provider, FeedLatency(clock, told=told))

    feeds = [feed(primary, Provider.PRIMARY)] if streamed else []
    secondary = None
    if settings.secondary_data_url is not None:
        secondary = _provider(
            settings,
            keys,
            settings.secondary_data_url,
            settings.secondary_data_stream_url or "",
            settings.secondary_data_feed,
            Provider.SECONDARY,
        )
        if streamed and settings.secondary_data_stream_url is not None:
            feeds.append(feed(secondary, Provider.SECONDARY))
    return tuple(feeds), QuoteSource(clock, primary, secondary, feeds=feeds)


def _provider(
    settings: BrokerSettings, keys: BrokerKeys, url: str, stream_url: str, feed: str, provider: Provider
) -> AlpacaMarketData:
    def current() -> tuple[SecretStr, SecretStr]:
        pair = keys.current
        return pair.key_id, pair.secret_key

    made = AlpacaMarketData(
        AlpacaDataSettings(
            url=url,
            stream_url=stream_url,
            feed=feed,
            key_id=settings.broker_key,
            secret_key=settings.broker_secret,
            provider=provider,
        ),
        current,
    )
    keys.on_replaced(made.drop_stream)
    return made
