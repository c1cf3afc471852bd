"""What settings of every process begin with: environment variables ``TRADING_…`` and a folder of secret files."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.live import LIVE_MODE_WORD

ENV_PREFIX: Final = "TRADING_"
SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"

Port = Annotated[int, Field(ge=0, le=65535)]


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
