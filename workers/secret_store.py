"""Gives each process what is its own in the store that secrets come from, and nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from broker.alpaca.hosts import is_beside_us
from observability.logging import get_logger
from security.secrets.errors import SecretMissing
from security.secrets.opening import broker_path, open_source
from security.secrets.port import StoredSecret
from security.secrets.settings import BROKER_FIELDS, ENV_PREFIX, LETS_IN, SECRETS_DIR_VARIABLE
from workers.held import SecretNotAllowed
from workers.secret_settings import SecretStoreSettings
from workers.settings import PROCESSES, BrokerSettings, read_settings
from workers.settings_base import Settings, SettingsError

_log = get_logger(__name__)


def read_process_settings(name: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the process of that name, its secrets from where they are to come from.

    Raises:
        SettingsError: something is missing or wrong, or a broker key came a way it must not.
        SecretError: the store does not give what it should.
        SecretNotAllowed: the store has something for this process that is not its own.
    """
    process = PROCESSES[name]
    stored: dict[str, SecretStr] = {}
    if issubclass(process.settings, SecretStoreSettings):
        store = read_settings(SecretStoreSettings)
        if store.secret_source != "embedded":  # noqa: S105 - none
            stored = _stored(name, store)
            _refuse_twice(stored, environ)
    settings = read_settings(process.settings, stored)
    if isinstance(settings, BrokerSettings):
        _refuse_loose_broker_keys(settings)
    return settings


def _stored(name: str, store: SecretStoreSettings) -> dict[str, SecretStr]:
    """What the store has for this process."""
    own = PROCESSES[name].secrets - LETS_IN
    source = open_source(store)
    assert source is not None, "a store is named"
    try:
        found: dict[str, SecretStr] = {}
        try:
            found |= _only(name, source.read(f"{store.secret_prefix}/{name}"), own - set(BROKER_FIELDS))
        except SecretMissing:
            _log.info(
                "no document of this process's own", place=source.place(f"{store.secret_prefix}/{name}")
            )
        if own.issuperset(BROKER_FIELDS):
            document = source.read(broker_path(store))
            _only(name, document, frozenset(BROKER_FIELDS))
            found |= {field: document.text(field) for field in BROKER_FIELDS}
        return found
    finally:
        source.close()


def _only(name: str, document: StoredSecret, own: frozenset[str]) -> dict[str, SecretStr]:
    """A document of a process holds its own: more than that is too much, as in the folder of secrets."""
    for field in sorted(document.fields.keys() - own):
        raise SecretNotAllowed(name, field, document.place)
    return dict(document.fields)


def _refuse_twice(stored: Mapping[str, SecretStr], environ: Mapping[str, str]) -> None:
    given = {name.upper() for name, value in environ.items() if value}
    for field in sorted(stored):
        variable = f"{ENV_PREFIX}{field.upper()}"
        if variable in given:
            raise SettingsError(
                f"settings: {variable}: given twice, here and in the secret store: unset it here"
            )
    folder = environ.get(SECRETS_DIR_VARIABLE)
    for field in sorted(stored) if folder else ():
        file = Path(str(folder)) / f"{ENV_PREFIX.lower()}{field}"
        if file.exists():
            _log.warning("not used, the secret store has it: take it away", file=str(file))


def _refuse_loose_broker_keys(settings: BrokerSettings) -> None:
    """Keys that reach beyond this machine come from a store that can rotate, audit and revoke access to them."""
    if settings.secret_source == "embedded" and not is_beside_us(settings.broker_trading_url):  # noqa: S105 - none
        raise SettingsError(
            "settings: TRADING_BROKER_KEY: keys of a broker beyond this machine come from a secret store, not from "
            "variables or files: set TRADING_SECRET_SOURCE=vault or aws and put broker_key and broker_secret into "
            f"{broker_path(settings)} there; see docs/SECRETS.md"
        )
