"""One POST to Slack or PagerDuty, and what its answer means."""

import asyncio
import contextlib
import email.utils
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Protocol
from uuid import UUID

import httpx2
from pydantic import SecretStr

from observability.crash_points import calling
from observability.redaction import SECRET_LENGTH_MIN, redact_text, register_secret
from schemas.alerts import Channel, Delivery, Severity
from storage.switches import Installation
from workers.alert_messages import pagerduty_event, slack_message
from workers.settings import AlertSettings

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 5.0
BODY_SECONDS: Final = 1.0
"""For what stands below the answer's status, which decides alone."""
TOTAL_SECONDS: Final = 10.0
"""Of one try, from the look-up of the name to the end of the answer."""
ANSWER_BYTES_MAX: Final = 4096
TOLD_MAX: Final = 300
"""Characters kept of an answer or an error."""
RETRY_AFTER_MAX_SECONDS: Final = 900.0
TRY_AGAIN: Final = frozenset({408, 429})
"""With these and every 5xx the same message may be taken later. Any other refusal is for ever."""
TOO_MANY: Final = 429

_NEVER_MORE: Final = httpx2.Limits(max_keepalive_connections=0)
"""Alerts are rare: a connection that was kept is one that the other end may just be closing."""


@dataclass(frozen=True)
class Outcome:
    """What became of one try."""

    taken: bool
    told: str
    """The answer or the error, without anything secret."""
    again: bool = False
    """Not taken, and the same message may be taken later."""
    wait_seconds: float = 0.0
    """The receiver's own wish before the next."""
    too_many: bool = False
    """No other message is wanted there before that either."""


class AlertChannel(Protocol):
    """A place where people are told."""

    @property
    def channel(self) -> Channel: ...
    @property
    def severities(self) -> Sequence[Severity]: ...
    async def send(self, delivery: Delivery) -> Outcome:
        """Try once. Never raises for what the other end does."""


@dataclass(frozen=True)
class Slack:
    """An incoming webhook: its address is the secret. The same message twice is two messages."""

    url: SecretStr
    severities: tuple[Severity, ...]
    source: str
    channel: Channel = field(default=Channel.SLACK, init=False)

    async def send(self, delivery: Delivery) -> Outcome:
        """Try once. Never raises for what Slack does."""
        message = slack_message(delivery, source=self.source)
        url = self.url.get_secret_value()
        with calling("slack.post"):
            return await _post(url, message, secrets=(url, httpx2.URL(url).path))


@dataclass(frozen=True)
class PagerDuty:
    """Events API v2. The same event twice is one incident: it is named by the alert."""

    url: str
    routing_key: SecretStr
    severities: tuple[Severity, ...]
    source: str
    installation: UUID
    channel: Channel = field(default=Channel.PAGERDUTY, init=False)

    async def send(self, delivery: Delivery) -> Outcome:
        """Try once. Never raises for what PagerDuty does."""
        key = self.routing_key.get_secret_value()
        event = pagerduty_event(delivery, routing_key=key, source=self.source, installation=self.installation)
        with calling("pagerduty.enqueue"):
            return await _post(self.url, event, secrets=(key,))


def configured(settings: AlertSettings, installation: Installation) -> tuple[Slack | PagerDuty, ...]:
    """The channels that the settings name; from here on no log line holds their secrets."""
    source = f"trading-interface ({installation.mode}) on {socket.gethostname()}"
    found: list[Slack | PagerDuty] = []
    if settings.alert_slack_url is not None:
        url = settings.alert_slack_url.get_secret_value()
        for secret in (url, httpx2.URL(url).path):
            if len(secret) >= SECRET_LENGTH_MIN:
                register_secret(secret)
        slack = Slack(settings.alert_slack_url, _from(settings.alert_slack_from), source)
        found.append(slack)
    if settings.alert_pagerduty_routing_key is not None:
        key = settings.alert_pagerduty_routing_key
        register_secret(key.get_secret_value())
        severities = _from(settings.alert_pagerduty_from)
        found.append(PagerDuty(settings.alert_pagerduty_url, key, severities, source, installation.namespace))
    return tuple(found)


def _from(least: str) -> tuple[Severity, ...]:
    """The severities from the most severe one down to that."""
    ranked = tuple(Severity)
    return ranked[: ranked.index(Severity(least)) + 1]


async def _post(url: str, body: Mapping[str, Any], *, secrets: Sequence[str]) -> Outcome:
    def told(text: str) -> str:
        for secret in secrets:
            if len(secret) > 1:
                text = text.replace(secret, "[redacted]")
        # No column takes a NUL: what was sent could not be noted as sent, and would be sent again for ever.
        return redact_text(text.replace("\0", ""))[:TOLD_MAX]

    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            httpx2.AsyncClient(
                timeout=timeout,
                verify=_trusted(),
                follow_redirects=False,
                trust_env=False,
                limits=_NEVER_MORE,
            ) as http,
            http.stream("POST", url, json=dict(body)) as answer,
        ):
            text = await _text(answer)
    except TimeoutError:
        return Outcome(taken=False, told=f"no whole answer within {TOTAL_SECONDS:g} s", again=True)
    except httpx2.HTTPError as error:
        return Outcome(taken=False, told=told(f"{type(error).__name__}: {error}"), again=True)
    status = answer.status_code
    said = told(f"{status} {text}".strip())
    if answer.is_success:
        return Outcome(taken=True, told=said)
    wait = min(_retry_after(answer.headers.get("retry-after")), RETRY_AFTER_MAX_SECONDS)
    return Outcome(
        taken=False,
        told=said,
        again=status in TRY_AGAIN or status >= 500,
        wait_seconds=wait,
        too_many=status == TOO_MANY,
    )


async def _text(answer: httpx2.Response) -> str:
    """The beginning of the answer. It is not needed: one that breaks off has its status all the same."""
    found = bytearray()
    with contextlib.suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in answer.aiter_bytes():
                found += piece
                if len(found) >= ANSWER_BYTES_MAX:
                    break
    return " ".join(found[:ANSWER_BYTES_MAX].decode("utf-8", "replace").split())


def _retry_after(value: str | None) -> float:
    """Seconds of the header in either of its forms; 0 where it is not there or no such thing."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


@cache
def _trusted() -> ssl.SSLContext:
    """Certificates are verified. One for the process: it takes a while to make."""
    return ssl.create_default_context()
