"""What each kind of process is told at its start, and what it may hold: environment variables ``TRADING_…`` and
a folder of secret files. The one table of who holds what is ``PROCESSES``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator

from audit.store.opening import is_bucket
from broker.budget import REQUESTS_PER_MINUTE_MIN
from observability.redaction import SECRET_LENGTH_MIN, register_secret
from schemas.builds import BUILD_PATTERN
from schemas.wire import NAMESPACE
from storage.database import PLACEMENT_SLOTS
from storage.grants import Role
from workers.build_id import own_build
from workers.outgoing import (
    GivenSecret,
    Origin,
    OutgoingSecretUrl,
    OutgoingUrl,
    RedisPassword,
    RedisUrl,
    RoutingKey,
    WakeSecret,
    redis_address,
)
from workers.settings_base import ENV_PREFIX, Port, Settings, TraceUrl
from workers.settings_temporal import CodecDoorSettings, TemporalSettings

__all__ = ["ENV_PREFIX", "CodecDoorSettings", "Port", "Settings", "TemporalSettings"]
"""Others import these from here too."""

SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


class HealthSettings(Settings):
    """The door of a process that has no gateway: ``/healthz``, ``/readyz`` and ``/metrics``."""

    metrics_host: str = "127.0.0.1"
    """Where ``/healthz``, ``/readyz`` and ``/metrics`` are served."""
    metrics_port: Port = 0
    """Their port; 0 takes a free one."""


class WorkflowSettings(Settings):
    """For who runs workflows."""

    cached_workflows: Annotated[int, Field(ge=1)] = 1250
    """Workflows kept in memory: expected open orders × 1.25."""


class BuildSettings(Settings):
    """For who runs workflows as one of several builds, and for who promotes one."""

    build_id: Annotated[str, Field(pattern=f"^{BUILD_PATTERN}$")] | None = None
    """How this build is called where several run side by side; by default its version and a hash of its files."""

    @property
    def build(self) -> str:
        """The build's name."""
        return self.build_id or own_build()


class DatabaseSettings(Settings):
    """For who has a database role."""

    database_url: SecretStr
    """``postgresql://ROLE@HOST:PORT/DATABASE``, with the role of this process."""
    database_password: SecretStr | None = None
    """The role's password, where the address does not hold it."""

    @property
    def dsn(self) -> str:
        """The address with the password in it: a secret."""
        return with_password(self.database_url, self.database_password)


class ApprovalSettings(Settings):
    """For who makes or checks approvals."""

    approval_public_keys: SecretStr
    """The public keys that approvals may be signed with, one in a line; who could write them could approve
    anything. Made and changed by `trading keys`; the same for risk and execution."""


class SigningSettings(ApprovalSettings):
    """For who makes approvals."""

    approval_signing_key: SecretStr
    """The private key that approvals are signed with, in hexadecimal."""


class MarketSettings(Settings):
    """For who judges by the market's clock."""

    market_speed: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Market seconds in a real second: above 1 only with a replayed market."""


class BrokerSettings(MarketSettings):
    """For who holds the broker's keys."""

    broker_trading_url: str
    """``https://paper-api.alpaca.markets``, or a paper exchange on this machine."""
    broker_stream_url: str
    """The update stream of the same."""
    broker_key: SecretStr
    """The broker's API key id."""
    broker_secret: SecretStr
    """The broker's API secret."""
    broker_requests_per_minute: Annotated[int, Field(ge=REQUESTS_PER_MINUTE_MIN)] = 200
    """The account's limit at the broker: 60 % for placements and look-ups, 15 % for reads, 15 % for cancels and
    protective stops, the rest for the kill switch. The same in every process."""
    data_url: str
    """Market data over HTTP."""
    data_stream_url: str
    """Market data as a stream."""
    data_feed: str = "iex"
    """The feed asked for."""
    secondary_data_url: str | None = None
    """A second provider, asked where the first one's quote is stale."""
    secondary_data_stream_url: str | None = None
    """Its stream."""
    secondary_data_feed: str = "sip"
    """Its feed."""


class PlacementSettings(Settings):
    """For who places orders."""

    placement_slots: Annotated[int, Field(ge=1, le=64)] = PLACEMENT_SLOTS
    """Orders that this process places at the same time, each with a database connection of its own."""


class ReconciliationSettings(Settings):
    """For who compares our books with the broker's."""

    reconcile_pause_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Between two readings in which a difference must stand."""
    reconcile_fill_grace_seconds: Annotated[float, Field(ge=0, le=10)] = 10.0
    """An execution younger than this may still be on its way to us."""
    reconcile_order_grace_seconds: Annotated[float, Field(ge=0, le=60)] = 60.0
    """So may the news of an order."""


class AlertSettings(Settings):
    """For who tells people of alerts. Without a channel they are rows only."""

    alert_slack_url: OutgoingSecretUrl = None
    """Address of a Slack incoming webhook."""
    alert_slack_from: Literal["critical", "high", "medium"] = "medium"
    """The least severity that Slack is told of."""
    alert_pagerduty_routing_key: RoutingKey = None
    """Integration key of a PagerDuty service with Events API v2."""
    alert_pagerduty_url: OutgoingUrl = "https://events.pagerduty.com/v2/enqueue"
    """Where its events go; `https://events.eu.pagerduty.com/v2/enqueue` in the EU region."""
    alert_pagerduty_from: Literal["critical", "high", "medium"] = "high"
    """The least severity that opens an incident."""


class AuditSettings(Settings):
    """For who seals the audit log."""

    audit_key: SecretStr
    """The private key that checkpoints of the audit log are signed with, in hexadecimal; `trading keys` shows an
    auditor its public half."""
    audit_s3_key: GivenSecret = None
    """Access key id of the bucket, where checkpoints and cold storage go to one."""
    audit_s3_secret: GivenSecret = None
    """Its secret key. It needs no right to delete, and none to change locks."""
    audit_s3_region: str = "us-east-1"
    """The bucket's region."""
    audit_s3_endpoint: OutgoingUrl | None = None
    """Address of another service than Amazon's that speaks S3."""
    audit_target: str
    """Where checkpoints and cold storage go, the same for every operations process: the absolute path of a folder,
    best one that nobody can write who can write the database, or `s3://BUCKET/PREFIX`, with object lock."""
    audit_failure_kills: bool = True
    """Whether the kill switch is engaged when the audit log is found changed or rolled back."""

    @field_validator("audit_target")
    @classmethod
    def _can_be_opened(cls, value: str, info: ValidationInfo) -> str:
        if is_bucket(value) and not (info.data.get("audit_s3_key") and info.data.get("audit_s3_secret")):
            raise ValueError("a bucket needs TRADING_AUDIT_S3_KEY and TRADING_AUDIT_S3_SECRET")
        return value


class RetentionSettings(Settings):
    """For who moves what is old to cold storage."""

    retention_days: Annotated[int, Field(ge=30, le=2557)] = 30
    """Payloads of audit rows stay in the database for so long; the rows themselves for seven years."""
    retention_events_days: Annotated[int, Field(ge=30, le=2557)] = 30
    """So do events, as far as every consumer group has acknowledged them."""


class EventBusSettings(Settings):
    """For who publishes events."""

    event_bus: Literal["postgres", "redis"] = "postgres"
    """Where groups of consumers are told of events: from the rows, or from Redis Streams beside them."""
    event_redis_url: RedisUrl = None
    """``redis://HOST:PORT/DATABASE`` or ``rediss://…``, with `redis`; a database of its own."""
    event_redis_password: RedisPassword = None
    """Its password, where it has one."""

    @property
    def event_redis(self) -> str | None:
        """The address with the password in it: a secret. None: events go to no Redis."""
        if self.event_bus != "redis" or self.event_redis_url is None:
            return None
        return redis_address(self.event_redis_url, self.event_redis_password)


class DoorSettings(Settings):
    """For who serves HTTP to strategies."""

    gateway_host: str = "127.0.0.1"
    """Where signals are taken."""
    gateway_port: Port = 8080
    """Its port; 0 takes a free one."""
    broker_wake_secret: WakeSecret = None
    """With it a broker signs its pushes to ``/v1/broker/wake``; 32 characters or more. Without it none is taken."""


class GatewaySettings(DoorSettings, DatabaseSettings, TemporalSettings):
    """Takes signals over HTTP and starts their workflows."""


class OrdersSettings(BuildSettings, WorkflowSettings, HealthSettings, TemporalSettings):
    """Runs order workflows, which do no I/O: holds nothing."""


class RiskSettings(SigningSettings, DatabaseSettings, MarketSettings, HealthSettings, TemporalSettings):
    """The risk manager: decides from rows."""


class ExecutionSettings(
    PlacementSettings, ApprovalSettings, BrokerSettings, DatabaseSettings, HealthSettings, TemporalSettings
):
    """The execution agent: the only one that can place an order."""


class OperationsSettings(
    AlertSettings,
    AuditSettings,
    RetentionSettings,
    EventBusSettings,
    ReconciliationSettings,
    BuildSettings,
    WorkflowSettings,
    BrokerSettings,
    DatabaseSettings,
    HealthSettings,
    TemporalSettings,
):
    """Update stream, kill switch, catch-up, restarts, alerts: reads and cancels at the broker, places nothing."""


class WorkerSettings(
    DoorSettings,
    CodecDoorSettings,
    AlertSettings,
    AuditSettings,
    RetentionSettings,
    EventBusSettings,
    ReconciliationSettings,
    WorkflowSettings,
    PlacementSettings,
    SigningSettings,
    BrokerSettings,
    DatabaseSettings,
    TemporalSettings,
):
    """Gateway and every role in one process, on one machine."""

    topology: Literal["compact", "isolated"] = "compact"
    """``isolated`` gives each role its own queue, still in this one process."""


class ConsoleSettings(DatabaseSettings, TemporalSettings):
    """The operator console: a web app for people. Reads rows, asks workflows; reaches no broker."""

    console_host: str = "127.0.0.1"
    """Where the console is served."""
    console_port: Annotated[int, Field(ge=1, le=65535)] = 8081
    """Its port."""
    console_origin: Origin = None
    """``https://HOST`` as browsers see the console, behind whatever speaks TLS for it; by default
    ``http://localhost:PORT``. Passkeys are bound to its host; nothing sent from another origin changes anything."""
    console_key: SecretStr
    """What TOTP secrets are sealed with in the database: 64 hexadecimal digits. To change it, put a new one in a
    line above the old one."""
    temporal_ui_url: OutgoingUrl | None = None
    """Where people find the Temporal Web UI, for links to runs."""
    trace_url: TraceUrl = None
    """Where people read the trace of a signal, with ``{trace_id}`` in it."""
    audit_checkpoints: Path | None = None
    """The folder with the audit log's checkpoints, or a copy that is kept up to date, for proofs in the page:
    reading it is enough. Where they are in a bucket, `trading audit prove` makes proofs."""

    @property
    def origin(self) -> str:
        """Where browsers find it."""
        return self.console_origin or f"http://localhost:{self.console_port}"


class CodecSettings(CodecDoorSettings, HealthSettings, DatabaseSettings):
    """Decrypts payloads for Temporal's Web UI and command line, for who may read them."""

    payload_keys: SecretStr
    """As for every process that speaks to Temporal."""
    temporal_namespace: str = NAMESPACE
    """The installation's namespace."""


class MigrateSettings(DatabaseSettings):
    """Runs once with the owner's rights: schema, roles and their passwords, and what a first start needs."""

    ti_gateway_password: SecretStr
    """The password that the gateway's role gets."""
    ti_risk_password: SecretStr
    """The password that the risk manager's role gets."""
    ti_execution_password: SecretStr
    """The password that the execution agent's role gets."""
    ti_operations_password: SecretStr
    """The password that the operations' role gets."""
    ti_console_password: SecretStr
    """The password that the command line's role gets."""
    demo_token: SecretStr | None = None
    """A token for strategies named ``demo``."""
    operator_public_key: SecretStr | None = None
    """The operator's public key, in hexadecimal: whose grants release the kill switch."""


class PromoteSettings(BuildSettings, TemporalSettings):
    """Runs once for each release, when its workers have started: new work goes to their build from then on."""


@dataclass(frozen=True)
class Process:
    """One kind of process: its settings name all that it may hold."""

    settings: type[Settings]
    role: Role | None = None
    """The one database role it may connect as; None: no database, or the owner's."""
    alone: bool = True
    """It refuses to start with any secret but its own."""

    @property
    def secrets(self) -> frozenset[str]:
        """The settings that are secrets, by name."""
        return frozenset(
            name for name, field in self.settings.model_fields.items() if is_secret(field.annotation)
        )


def is_secret(annotation: Any) -> bool:
    """Whether a setting of this type is never to be shown."""
    return annotation in (SecretStr, SecretStr | None)


PROCESSES: Final[Mapping[str, Process]] = MappingProxyType({
    "gateway": Process(GatewaySettings, Role.GATEWAY),
    "orders": Process(OrdersSettings),
    "risk": Process(RiskSettings, Role.RISK),
    "execution": Process(ExecutionSettings, Role.EXECUTION),
    "operations": Process(OperationsSettings, Role.OPERATIONS),
    "console": Process(ConsoleSettings, Role.CONSOLE),
    "codec": Process(CodecSettings, Role.CONSOLE),
    "migrate": Process(MigrateSettings),
    "promote": Process(PromoteSettings),
    "compact": Process(WorkerSettings, alone=False),
})  # fmt: skip

PUBLIC: Final = frozenset({"approval_public_keys", "operator_public_key"})
"""Kept like secrets, so that nobody changes them, but told to anybody."""

S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S]) -> S:
    """The settings of this process.

    Raises:
        SettingsError: naming every field that is missing or wrong, without its value.
    """
    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    try:
        settings = kind(_secrets_dir=folder)
        register_secrets(settings)
        return settings
    except ValidationError as error:
        problems = "; ".join(f"TRADING_{each['loc'][0]!s}: {each['msg']}".upper() for each in error.errors())
        raise SettingsError(f"settings: {problems}") from None


def register_secrets(settings: Settings) -> None:
    """Have the values of its secrets cut out of whatever leaves this process: logs, spans, failures.

    Of an address its password alone, of payload keys each; public keys are no secrets of that kind.
    """
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if not is_secret(field.annotation) or value is None or name in PUBLIC:
            continue
        for text in _parts(name, value.get_secret_value()):
            if len(text.strip()) >= SECRET_LENGTH_MIN:
                register_secret(text)


def _parts(name: str, text: str) -> list[str]:
    if name == "database_url":
        try:
            found = urlsplit(text)
            return [part for part in (found.password, unquote(found.password or "")) if part]
        except ValueError:
            return [text]
    if name == "payload_keys":
        return [line.partition(":")[2] for line in text.splitlines()]
    if text.startswith(("http://", "https://")):
        # Who calls it may tell of the path alone, or of its end.
        path = urlsplit(text).path
        return [text, path, path.rpartition("/")[2]]
    return [text, *text.splitlines()]


def with_password(url: SecretStr, password: SecretStr | None) -> str:
    """A database's address with the password in it.

    Raises:
        SettingsError: the address names no user to whom the password could belong.
    """
    text = url.get_secret_value()
    if password is None:
        return text
    parts = urlsplit(text)
    if parts.username is None or parts.password is not None:
        raise SettingsError(
            "settings: TRADING_DATABASE_URL: name a user and no password beside a password file"
        )
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{parts.username}:{quote(password.get_secret_value(), safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))
