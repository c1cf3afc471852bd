"""What operations alone is told: whom to tell of alerts, where the audit log is sealed, how long rows stay, where
events go."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from audit.store.opening import is_bucket
from security.outgoing import (
    GivenSecret,
    OutgoingSecretUrl,
    OutgoingUrl,
    RedisPassword,
    RedisUrl,
    RoutingKey,
    redis_address,
)
from workers.settings_base import Settings


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
