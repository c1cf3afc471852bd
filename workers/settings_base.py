"""What settings of every kind are made on."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX: Final = "TRADING_"
SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"

Port = Annotated[int, Field(ge=0, le=65535)]


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
