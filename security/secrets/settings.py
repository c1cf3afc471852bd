"""Which store secrets come from, and what is shown to it to be let in: variables ``TRADING_…`` and secret files."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from security.outgoing import GivenSecret, check_outgoing_url, none_if_empty

ENV_PREFIX: Final = "TRADING_"
SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"
BROKER_DOCUMENT: Final = "broker"
BROKER_FIELDS: Final = ("broker_key", "broker_secret")
"""In a document of their own: execution and operations hold the same pair, and a rotation changes both at once."""
LETS_IN: Final = frozenset({"vault_secret_id", "vault_token", "aws_access_key", "aws_secret_key"})
"""Shown to a store, so never in it."""


def _needed_for(source: str, value: str | None, info: ValidationInfo) -> str | None:
    if value is None and info.data.get("secret_source") == source:
        raise ValueError(f"needed with TRADING_SECRET_SOURCE={source}")
    return value


def _vault_address(value: str | None, info: ValidationInfo) -> str | None:
    return _needed_for("vault", check_outgoing_url(value) if value is not None else None, info)


def _endpoint(value: str | None) -> str | None:
    return None if value is None else check_outgoing_url(value)


Given = Annotated[str | None, BeforeValidator(none_if_empty)]


class StoreSettings(BaseSettings):
    """Where the store is and who asks it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
    )

    secret_source: Literal["embedded", "vault", "aws"] = "embedded"  # noqa: S105 - none
    """Where secrets come from: files of the folder of secrets, where the exchange is on this machine; HashiCorp
    Vault or OpenBao; Amazon's Secrets Manager."""
    secret_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*$")] = (
        "trading-interface"  # noqa: S105 - none
    )
    """In the store each process has a document `PREFIX/NAME` with its secrets, and who holds the broker's keys
    `PREFIX/broker`."""
    vault_address: Annotated[Given, AfterValidator(_vault_address), Field(validate_default=True)] = None
    """`https://HOST:PORT` of the vault."""
    vault_namespace: Given = None
    """Its namespace, where it has any."""
    vault_mount: str = "secret"
    """Where its key-value engine, version 2, is mounted."""
    vault_ca_file: Path | None = None
    """The authority that signed its certificate; else those of the system."""
    vault_role_mount: str = "approle"
    """Where its AppRole method is mounted."""
    vault_role_id: Given = None
    """This process's AppRole; without it a token is used."""
    vault_secret_id: GivenSecret = None
    """Its secret id. As a file it may be replaced at any time."""
    vault_token: GivenSecret = None
    """A token, where there is no AppRole. As a file it may be replaced at any time."""
    aws_region: Annotated[
        Given,
        AfterValidator(lambda value, info: _needed_for("aws", value, info)),
        Field(validate_default=True),
    ] = None
    """The region of Secrets Manager."""
    aws_endpoint: Annotated[Given, AfterValidator(_endpoint)] = None
    """Its address, where it is not the region's own."""
    aws_access_key: GivenSecret = None
    """Access key id. Without it Amazon's own way: the role of instance, task or pod."""
    aws_secret_key: GivenSecret = None
    """Its secret key."""
