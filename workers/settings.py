"""What one process is told at its start: from environment variables ``TRADING_…`` and a folder of secret files."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.wire import NAMESPACE

SECRETS_DIR_VARIABLE = "TRADING_SECRETS_DIR"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


class WorkerSettings(BaseSettings):
    """Settings of every worker. Secrets are files like ``trading_broker_key`` in ``$TRADING_SECRETS_DIR``."""

    model_config = SettingsConfigDict(env_prefix="TRADING_", frozen=True, extra="ignore")

    database_url: SecretStr
    temporal_address: str
    temporal_namespace: str = NAMESPACE
    topology: Literal["compact", "isolated"] = "compact"

    broker_trading_url: str
    broker_stream_url: str
    broker_key: SecretStr
    broker_secret: SecretStr

    data_url: str
    data_stream_url: str
    data_feed: str = "iex"
    secondary_data_url: str | None = None
    secondary_data_stream_url: str | None = None
    secondary_data_feed: str = "sip"
    market_speed: Annotated[float, Field(gt=0, le=20)] = 1.0

    reconcile_pause_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Between two readings in which a difference must stand."""
    reconcile_fill_grace_seconds: Annotated[float, Field(ge=0, le=10)] = 10.0
    """An execution younger than this may still be on its way to us."""
    reconcile_order_grace_seconds: Annotated[float, Field(ge=0, le=60)] = 60.0
    """So may the news of an order."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    log_level: str = "INFO"
    log_file: Path | None = None
    cached_workflows: Annotated[int, Field(ge=1)] = 1250
    """Expected open orders × 1.25."""


def read_settings() -> WorkerSettings:
    """The settings of this process.

    Raises:
        SettingsError: naming every field that is missing or wrong, without its value.
    """
    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    try:
        return WorkerSettings(_secrets_dir=folder)
    except ValidationError as error:
        problems = "; ".join(f"TRADING_{each['loc'][0]!s}: {each['msg']}".upper() for each in error.errors())
        raise SettingsError(f"settings: {problems}") from None
