"""Settings of what goes out and comes in beside the broker: where alerts may be sent, and their and its secrets."""

import ipaddress
import re
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

WAKE_SECRET_LENGTH_MIN: Final = 32
_ROUTING_KEY: Final = re.compile(r"[0-9A-Za-z]{32}")

_ORIGIN: Final = re.compile(r"https://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::\d{1,5})?|http://localhost(?::\d{1,5})?")
"""As browsers send it."""

_REDIS: Final = re.compile(r"rediss?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:/\d{1,4})?")

# As text, so that no trick of spelling has to be recognised: no user info, blank, backslash or control character.
_SHAPE: Final = re.compile(
    r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:/[A-Za-z0-9._~%/+=-]*)?"
)


def check_outgoing_url(url: str) -> str:
    """Return ``url`` if alerts may go there.

    Raises:
        ValueError: they may not; the message does not repeat the address, which may be a secret.
    """
    if not _SHAPE.fullmatch(url):
        raise ValueError("no plain address: https://HOST/PATH, without user, query or fragment")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("no plain address: its port is none") from None
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("an address without TLS must be one of this machine: use https://")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(origin: str | None) -> str | None:
    if origin is not None and not _ORIGIN.fullmatch(origin):
        raise ValueError(
            "https://HOST or https://HOST:PORT in small letters, without a path; http for localhost only"
        )
    return origin


def none_if_empty(value: Any) -> Any:
    """A file that Compose names must be there: an empty one says that nothing is wanted."""
    return None if isinstance(value, str) and not value.strip() else value


def _secret_url(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        check_outgoing_url(value.get_secret_value())
    return value


def _routing_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not _ROUTING_KEY.fullmatch(value.get_secret_value()):
        raise ValueError("an integration key has 32 letters and digits")
    return value


def _wake_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < WAKE_SECRET_LENGTH_MIN:
        raise ValueError(
            f"at least {WAKE_SECRET_LENGTH_MIN} characters: whoever guesses it wakes the catch-up"
        )
    return value


def _redis_url(value: str | None, info: ValidationInfo) -> str | None:
    if value is None:
        if info.data.get("event_bus") == "redis":
            raise ValueError("needed with TRADING_EVENT_BUS=redis")
        return None
    if not _REDIS.fullmatch(value):
        raise ValueError("no address like redis://HOST:PORT/DATABASE; the password is a setting of its own")
    return value


def redis_address(url: str, password: SecretStr | None) -> str:
    """A Redis' address with the password in it: a secret."""
    if password is None:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://:{quote(password.get_secret_value(), safe='')}@{rest}"


OutgoingUrl = Annotated[str, AfterValidator(check_outgoing_url)]
"""Over TLS to anywhere, without it only to this machine."""
OutgoingSecretUrl = Annotated[SecretStr | None, BeforeValidator(none_if_empty), AfterValidator(_secret_url)]
"""The same, where knowing it is the right to use it."""
RoutingKey = Annotated[SecretStr | None, BeforeValidator(none_if_empty), AfterValidator(_routing_key)]
GivenSecret = Annotated[SecretStr | None, BeforeValidator(none_if_empty)]
"""One that others make."""
WakeSecret = Annotated[SecretStr | None, BeforeValidator(none_if_empty), AfterValidator(_wake_secret)]
Origin = Annotated[str | None, BeforeValidator(none_if_empty), AfterValidator(_origin)]
"""Where browsers find us."""
RedisUrl = Annotated[
    str | None, BeforeValidator(none_if_empty), AfterValidator(_redis_url), Field(validate_default=True)
]
"""A Redis server, without user or password."""
RedisPassword = Annotated[SecretStr | None, BeforeValidator(none_if_empty)]
