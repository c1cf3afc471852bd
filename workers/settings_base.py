"""What settings of every process begin with: environment variables ``TRADING_…`` and a folder of secret files."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX: Final = "TRADING_"

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
    otlp_endpoint: OtlpEndpoint = None
    """A collector that takes traces by OTLP over HTTP: ``http://collector:4318``, or with the path."""
    trace_file: Path | None = None
    """A file that gets one JSON object for each span; several processes may share it."""
