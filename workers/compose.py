"""docker-compose.temporal.yml as we read it: which services are ours, and how each is run.

Only the part of the Compose format that the file uses; what is not understood is an error, so that nothing
written there can be passed over in silence.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[1] / "docker-compose.temporal.yml"
OUR_IMAGE: Final = "trading-interface:"
SECRETS_MOUNT: Final = "/run/secrets"
ON_DEMAND: Final = "tools"
"""The profile of what a person runs; it is none of what is started."""
SECRET_NAME: Final = re.compile(r"[a-z_]+")

_VARIABLE: Final = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Z][A-Z0-9_]*)(?:(?P<operator>:?-)(?P<default>[^}]*))?\})"
)
_SECONDS: Final = re.compile(r"(\d+)s")
_UNDERSTOOD: Final = frozenset({
    "image", "build", "restart", "init", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period",
    "logging", "command", "environment", "secrets", "ports", "volumes", "depends_on", "healthcheck", "profiles",
    "networks",
})  # fmt: skip


class ComposeError(Exception):
    """The file is missing or says something that is not understood; the message names it."""


@dataclass(frozen=True)
class Service:
    """One service of our own image."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    """File in the service's folder of secrets → name of the secret."""
    volumes: tuple[str, ...]
    """Where its named volumes are mounted."""
    needs: Mapping[str, str]
    """Service → the condition it must have reached."""
    health: str | None
    """The address its health check asks; None: it is done when it ends."""
    grace_seconds: float


@dataclass(frozen=True)
class Compose:
    """The file, as far as our own services go."""

    services: Mapping[str, Service]
    others: frozenset[str]
    """Services of other images, and what is run on demand."""
    secrets: frozenset[str]
    """Names of every secret, other images' too."""


def load(file: Path = FILE, environ: Mapping[str, str] = os.environ) -> Compose:
    """Read the file, its variables replaced as Compose does.

    Raises:
        ComposeError: it cannot be read or understood.
    """
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise ComposeError(f"{file} cannot be read: {error.strerror}; run from the repository") from error
    try:
        import yaml
    except ImportError as error:
        raise ComposeError("reading it needs: pip install 'trading-interface[embedded]'") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ComposeError(f"{file} is no YAML: {error}") from error
    try:
        return _compose(_replaced(document, environ))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ComposeError(f"{file} is not as expected: {type(error).__name__}: {error}") from error


def _compose(document: Mapping[str, Any]) -> Compose:
    services: Mapping[str, Any] = document["services"]
    ours = {
        name: each
        for name, each in services.items()
        if str(each["image"]).startswith(OUR_IMAGE) and ON_DEMAND not in each.get("profiles", ())
    }
    secrets = frozenset(document["secrets"])
    found = {name: _service(name, each) for name, each in ours.items()}
    for service in found.values():
        unknown = (service.needs.keys() - services.keys()) | (set(service.secrets.values()) - secrets)
        if unknown:
            raise ComposeError(f"{service.name} names what is not there: {sorted(unknown)}")
    return Compose(found, frozenset(services) - frozenset(ours), secrets)


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    strange = raw.keys() - _UNDERSTOOD
    if strange:
        raise ComposeError(f"{name}: not understood: {sorted(strange)}")
    check = raw.get("healthcheck")
    return Service(
        name=name,
        command=tuple(str(each) for each in raw["command"]),
        environment={key: str(value) for key, value in raw.get("environment", {}).items()},
        secrets={each["target"]: each["source"] for each in raw.get("secrets", ())},
        volumes=tuple(str(each).split(":")[1] for each in raw.get("volumes", ())),
        needs={need: how["condition"] for need, how in raw.get("depends_on", {}).items()},
        health=None if check is None else str(check["test"][-1]),
        grace_seconds=_seconds(raw["stop_grace_period"]),
    )


def _seconds(text: str) -> float:
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ComposeError(f"not a number of seconds: {text}")
    return float(match[1])


def _replaced(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(each, environ) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, environ) for each in value]
    return _VARIABLE.sub(lambda match: _value(match, environ), value) if isinstance(value, str) else value


def _value(match: "re.Match[str]", environ: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    found = environ.get(match["name"])
    if found is None or (match["operator"] == ":-" and not found):
        return match["default"] or ""
    return found
