"""Live mode as a process is started with it: what it was asked, where its keys came from, and who may say yes."""

from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from uuid import UUID

from activities.live import LiveGuard
from broker.alpaca.hosts import LiveHostRefused, mode_of
from observability.logging import get_logger
from schemas.live import KeySource, LiveConfiguration, LiveReason, LiveSeen, LiveSetup
from schemas.mode import Mode
from security.approvals import ApprovalKeys
from security.live import LiveDecision, LiveGrantKey, may_trade_live, wrong_setup
from storage.clock import read_clock_health
from storage.live import save_configuration
from storage.switches import Installation
from workers.clock_watch import holder_of
from workers.settings import BrokerSettings, ExecutionSettings, Settings, TemporalSettings, WorkerSettings

if TYPE_CHECKING:
    from storage.database import Connection

COMPONENT: Final = "ExecutionAgent"
SERVICE: Final = "execution"
"""The process that places: whose own clock must be known."""

ENCRYPT: Final = (
    "set TRADING_PAYLOADS=encrypted for every process, give each TRADING_PAYLOAD_KEYS (`trading payloads add` "
    "makes one), then start again; see docs/SECURITY.md, What Temporal holds"
)

_log = get_logger(__name__)


class PlainPayloads(Exception):
    """Real orders would stand in Temporal for whoever reads it; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(f"live mode is refused: {LiveReason.PAYLOADS_PLAIN.value}: {ENCRYPT}")


def refuse_plain_payloads(settings: Settings, bound: str | None = None) -> None:
    """Return unless this process speaks to Temporal in plain words and is asked for live trading, or serves a live
    installation. ``bound``: the mode that the database is bound to, where that is known.

    Raises:
        PlainPayloads: it does.
    """
    speaks = isinstance(settings, TemporalSettings)
    if speaks and not _sealed(settings) and (settings.live_mode or bound == Mode.LIVE):
        raise PlainPayloads


def _sealed(settings: object) -> bool:
    return isinstance(settings, TemporalSettings) and settings.payloads == "encrypted"


def key_source(settings: BrokerSettings) -> KeySource:
    """Where this process' broker keys came from: whoever reads them from a store takes them from nowhere else."""
    return KeySource(settings.secret_source)


def broker_mode(settings: BrokerSettings) -> Mode:
    """By the addresses alone. Raises HostRefused: an order may go to one of them in no mode."""
    return mode_of(settings.broker_trading_url, settings.broker_stream_url)


def may_reach(settings: BrokerSettings) -> bool:
    """Whether this process may read and cancel at the live brokerage; False where it is paper.

    Raises:
        LiveHostRefused: its addresses are the live ones, and it was not started for that.
        HostRefused: an address that orders may not go to.
    """
    if broker_mode(settings) is not Mode.LIVE:
        return False
    wrong = wrong_setup(_setup(settings, installation=None, configuration_hash=""))
    if wrong:
        reasons = "; ".join(reason.value for reason in wrong)
        do = f": {ENCRYPT}" if LiveReason.PAYLOADS_PLAIN in wrong else ""
        raise LiveHostRefused(f"the broker's address is the live brokerage, and it is refused: {reasons}{do}")
    return True


def live_guard(
    settings: ExecutionSettings | WorkerSettings,
    installation: Installation,
    approval_keys: ApprovalKeys,
    *,
    starting: bool = False,
) -> LiveGuard | None:
    """Who is asked before each order; None: it is paper, and nobody needs to be.

    ``starting``: this process has not looked at its own clock yet, so another's look counts too.

    Raises:
        LiveKeyError: the public key of grants cannot be used.
    """
    if installation.mode != Mode.LIVE or not isinstance(settings, ExecutionSettings):
        return None
    configuration = configuration_of(settings, installation, approval_keys)
    setup = _setup(settings, installation=installation, configuration_hash=configuration.hash)
    secret = settings.console_grant_public_key
    key = None if secret is None else LiveGrantKey.from_hex(secret.get_secret_value())

    def decide(setup: LiveSetup, seen: LiveSeen, now: datetime) -> LiveDecision:
        return may_trade_live(setup, seen, key, now)

    own = None if starting else holder_of(SERVICE)
    return LiveGuard(setup, decide, partial(read_clock_health, own=own))


async def tell_configuration(
    connection: "Connection",
    settings: ExecutionSettings | WorkerSettings,
    installation: Installation,
    approval_keys: ApprovalKeys,
    now: datetime,
) -> None:
    """Store what execution starts with, so that two persons can grant it, and whether it may trade live now."""
    configuration = configuration_of(settings, installation, approval_keys)
    guard = live_guard(settings, installation, approval_keys, starting=True)
    reasons: tuple[str, ...] = (LiveReason.NOT_LIVE_HOST.value,)
    if guard is not None:
        reasons = tuple(reason.value for reason in (await guard.ask(connection, now)).reasons)
    mode = Mode.read(installation.mode)
    await save_configuration(
        connection, configuration, mode=mode, reasons=reasons, component=COMPONENT, now=now
    )
    if mode is Mode.LIVE:
        _log.warning("live brokerage", permitted=not reasons, reasons=reasons)


def configuration_of(
    settings: ExecutionSettings | WorkerSettings, installation: Installation, approval_keys: ApprovalKeys
) -> LiveConfiguration:
    """What a grant is bound to."""
    return LiveConfiguration(
        release=version("trading-interface"),
        installation=installation.namespace,
        account=installation.account or "",
        trading_url=settings.broker_trading_url,
        stream_url=settings.broker_stream_url,
        data_url=settings.data_url,
        data_stream_url=settings.data_stream_url,
        data_feed=settings.data_feed,
        secondary_data_url=settings.secondary_data_url,
        secondary_data_stream_url=settings.secondary_data_stream_url,
        secondary_data_feed=settings.secondary_data_feed,
        requests_per_minute=settings.broker_requests_per_minute,
        market_speed=str(settings.market_speed),
        key_source=key_source(settings),
        approval_keys=tuple(sorted(approval_keys.by_id)),
    )


def _setup(
    settings: BrokerSettings, *, installation: Installation | None, configuration_hash: str
) -> LiveSetup:
    return LiveSetup(
        asked_for=settings.live_mode,
        # One process that is every role holds every secret, whatever its queues are called.
        isolated=not isinstance(settings, WorkerSettings),
        key_source=key_source(settings),
        sealed=_sealed(settings),
        mode=broker_mode(settings),
        trading_url=settings.broker_trading_url,
        installation=UUID(int=0) if installation is None else installation.namespace,
        account="" if installation is None else installation.account or "",
        configuration_hash=configuration_hash,
    )
