"""What each kind of process is told at its start, and what it may hold: environment variables ``TRADING_…`` and
a folder of secret files. The one table of who holds what is ``PROCESSES``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError

from broker.budget import REQUESTS_PER_MINUTE_MIN
from observability.redaction import SECRET_LENGTH_MIN, register_secret
from schemas.wire import NAMESPACE
from security.outgoing import (
    GivenSecret,
    Origin,
    OutgoingUrl,
    WakeSecret,
)
from security.secrets.settings import ENV_PREFIX, SECRETS_DIR_VARIABLE
from storage.grants import Role
from workers.secret_settings import ClockSettings, SecretStoreSettings
from workers.settings_base import (
    BuildSettings,
    HealthSettings,
    PlacementSettings,
    Port,
    Settings,
    SettingsError,
    TraceUrl,
)
from workers.settings_operations import AlertSettings, AuditSettings, EventBusSettings, RetentionSettings
from workers.settings_temporal import CodecDoorSettings, TemporalSettings

__all__ = [
    "ENV_PREFIX",
    "SECRETS_DIR_VARIABLE",
    "AlertSettings",
    "AuditSettings",
    "CodecDoorSettings",
    "EventBusSettings",
    "HealthSettings",
    "Port",
    "RetentionSettings",
    "Settings",
    "SettingsError",
    "TemporalSettings",
]
"""Others import these from here too."""


class WorkflowSettings(Settings):
    """For who runs workflows."""

    cached_workflows: Annotated[int, Field(ge=1)] = 1250
    """Workflows kept in memory: expected open orders × 1.25."""


class DatabaseSettings(SecretStoreSettings):
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


class BrokerSettings(MarketSettings, ClockSettings, SecretStoreSettings):
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


class ReconciliationSettings(Settings):
    """For who compares our books with the broker's."""

    reconcile_pause_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Between two readings in which a difference must stand."""
    reconcile_fill_grace_seconds: Annotated[float, Field(ge=0, le=10)] = 10.0
    """An execution younger than this may still be on its way to us."""
    reconcile_order_grace_seconds: Annotated[float, Field(ge=0, le=60)] = 60.0
    """So may the news of an order."""


class DoorSettings(Settings):
    """For who serves HTTP to strategies."""

    gateway_host: str = "127.0.0.1"
    """Where signals are taken."""
    gateway_port: Port = 8080
    """Its port; 0 takes a free one."""
    broker_wake_secret: WakeSecret = None
    """With it a broker signs its pushes to ``/v1/broker/wake``; 32 characters or more. Without it none is taken."""


class GatewaySettings(DoorSettings, ClockSettings, DatabaseSettings, TemporalSettings):
    """Takes signals over HTTP and starts their workflows."""


class OrdersSettings(BuildSettings, WorkflowSettings, HealthSettings, TemporalSettings):
    """Runs order workflows, which do no I/O: holds nothing."""


class RiskSettings(
    SigningSettings, ClockSettings, DatabaseSettings, MarketSettings, HealthSettings, TemporalSettings
):
    """The risk manager: decides from rows."""


class ExecutionSettings(
    PlacementSettings, ApprovalSettings, BrokerSettings, DatabaseSettings, HealthSettings, TemporalSettings
):
    """The execution agent: the only one that can place an order."""

    console_grant_public_key: GivenSecret = None
    """The console's public key, in hexadecimal, with which grants of live trading are signed: who could write it
    could grant. Without it nothing is ever sent to the live brokerage."""


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
    console_grant_key: SecretStr | None = None
    """What the console signs releases of the kill switch with, in the name of an Admin: 64 hexadecimal digits. The
    set-up makes its public half known. Without it the kill switch is released by the operator's key file alone."""
    console_gateway_url: str | None = None
    """The gateway, where a person's closing of positions is proposed as any signal is."""
    console_gateway_token: SecretStr | None = None
    """The console's own token there. Without it nothing is closed from the console."""
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


class TwoPersonsSettings(Settings):
    """For who sets an installation up, with the owner's rights."""

    two_persons: Literal["live", "always"] = "live"
    """When a raise of limits, and a live grant, need a second person: in live mode, or `always`."""


class MigrateSettings(TwoPersonsSettings, DatabaseSettings):
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
    console_grant_public_key: SecretStr | None = None
    """The public half of the console's grant key, in hexadecimal."""
    console_gateway_token: SecretStr | None = None
    """The console's own token, for the closing signals of persons."""


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

PUBLIC: Final = frozenset({"approval_public_keys", "operator_public_key", "console_grant_public_key"})
"""Kept like secrets, so that nobody changes them, but told to anybody."""

S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S], stored: Mapping[str, Any] | None = None) -> S:
    """The settings of this process. ``stored``: what a secret store has for it, which outranks everything else.

    Raises:
        SettingsError: naming every field that is missing or wrong, without its value.
    """
    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    try:
        settings = kind(_secrets_dir=folder, **(stored or {}))
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
