"""What settings of every process begin with: environment variables ``TRADING_…`` and a folder of secret files; and
the groups that name no secret."""

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.builds import BUILD_PATTERN
from schemas.live import LIVE_MODE_WORD
from security.secrets.settings import ENV_PREFIX
from storage.database import PLACEMENT_SLOTS
from workers.build_id import own_build

Port = Annotated[int, Field(ge=0, le=65535)]

_ENDPOINT: Final = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:/[A-Za-z0-9._~%/-]*)?"
)

_TEMPLATE: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#=&%{}\[\]@+,-]+")


def _endpoint(value: str | None) -> str | None:
    if value is not None and not _ENDPOINT.fullmatch(value):
        raise ValueError("no address like http://HOST:4318, without user, query or fragment")
    return value


def _template(value: str | None) -> str | None:
    if value is not None and not (_TEMPLATE.fullmatch(value) and value.count("{trace_id}") == 1):
        raise ValueError("no address like https://traces.example.com/trace/{trace_id}")
    return value


TraceUrl = Annotated[str | None, AfterValidator(_template)]
OtlpEndpoint = Annotated[str | None, AfterValidator(_endpoint)]


def _asks_for_live(value: object) -> bool:
    """Nothing that is not exactly the word asks for it; nothing is an error, which would be no paper either."""
    return value in (True, LIVE_MODE_WORD) and os.environ.get("LIVE_MODE", LIVE_MODE_WORD) == LIVE_MODE_WORD


LiveMode = Annotated[bool, BeforeValidator(_asks_for_live)]


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


class Settings(BaseSettings):
    """Settings of every process. Secrets are files like ``trading_broker_key`` in ``$TRADING_SECRETS_DIR``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        # Compose can only empty a variable, not leave it out.
        env_ignore_empty=True,
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``."""
    log_file: Path | None = None
    """Where logs go instead of standard error."""
    live_mode: LiveMode = Field(default_factory=lambda: os.environ.get("LIVE_MODE") == LIVE_MODE_WORD)
    """``true`` asks for live trading, which takes much more than this: docs/RUNBOOK.md. Every other text is paper.
    ``LIVE_MODE`` may stand for it; where both are set, both must say so."""
    otlp_endpoint: OtlpEndpoint = None
    """A collector that takes traces by OTLP over HTTP: ``http://collector:4318``, or with the path."""
    trace_file: Path | None = None
    """A file that gets one JSON object for each span; several processes may share it."""


class HealthSettings(Settings):
    """The door of a process that has no gateway: ``/healthz``, ``/readyz`` and ``/metrics``."""

    metrics_host: str = "127.0.0.1"
    """Where ``/healthz``, ``/readyz`` and ``/metrics`` are served."""
    metrics_port: Port = 0
    """Their port; 0 takes a free one."""


class BuildSettings(Settings):
    """For who runs workflows as one of several builds, and for who promotes one."""

    build_id: Annotated[str, Field(pattern=f"^{BUILD_PATTERN}$")] | None = None
    """How this build is called where several run side by side; by default its version and a hash of its files."""

    @property
    def build(self) -> str:
        """The build's name."""
        return self.build_id or own_build()


class PlacementSettings(Settings):
    """For who places orders."""

    placement_slots: Annotated[int, Field(ge=1, le=64)] = PLACEMENT_SLOTS
    """Orders that this process places at the same time, each with a database connection of its own."""
