"""The broker's keys for a command that runs while anything else may be down: from where the processes have them.

From the secret store that ``TRADING_SECRET_SOURCE`` names, or the folder of secrets. Only `trading kill --direct`
and `trading doctor` read them, with the rights of whoever runs it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.addresses import Addresses
from console.errors import BadUsage, DependencyDown, Refused

if TYPE_CHECKING:
    from pydantic import SecretStr

    from security.secrets.errors import SecretError
    from security.secrets.settings import StoreSettings

SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"
KEY_FILE: Final = "trading_broker_key"
SECRET_FILE: Final = "trading_broker_secret"  # noqa: S105 - its name


@dataclass(frozen=True)
class BrokerPair:
    """Both halves, and where they came from."""

    key_id: "SecretStr"
    secret_key: "SecretStr"
    place: str
    from_store: bool


def broker_pair(addresses: Addresses) -> BrokerPair:
    """The pair that the processes use.

    A store that does not answer is no reason to cancel nothing: a pair in ``TRADING_SECRETS_DIR`` is taken then.

    Raises:
        Refused: there is none, or the store does not give it.
        DependencyDown: the store does not answer.
        BadUsage: the store is not named whole.
    """
    store = store_settings()
    if store.secret_source == "embedded":  # noqa: S105 - none
        return _of_folder(Path(os.environ.get(SECRETS_DIR_VARIABLE) or addresses.data_dir / "keys"))
    from security.secrets.errors import SecretError

    try:
        return _of_store(store)
    except SecretError as error:
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if folder and (Path(folder) / KEY_FILE).exists():
            return _of_folder(Path(folder))
        raise _told(error) from error


def store_settings() -> "StoreSettings":
    """Which store it is.

    Raises:
        BadUsage: a variable is missing or wrong.
    """
    from pydantic import ValidationError

    from security.secrets.settings import StoreSettings

    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    try:
        return StoreSettings(_secrets_dir=folder if folder and Path(folder).is_dir() else None)
    except ValidationError as error:
        wrong = "; ".join(
            f"TRADING_{each['loc'][0]!s}".upper() + f": {each['msg']}" for each in error.errors()
        )
        raise BadUsage(
            f"the secret store is not named whole: {wrong}", do="set what execution is started with"
        ) from None


def _of_store(store: "StoreSettings") -> BrokerPair:
    from security.secrets.opening import broker_path, open_source
    from security.secrets.settings import BROKER_FIELDS

    source = open_source(store)
    assert source is not None, "a store is named"
    try:
        found = source.read(broker_path(store))
        # As for the processes: a document of the broker holds its pair and nothing else.
        more = sorted(found.fields.keys() - set(BROKER_FIELDS))
        if more:
            raise Refused(
                f"{found.place} holds {more[0]} too", do="take it out: it is the broker's pair alone"
            )
        key, secret = (found.text(name) for name in BROKER_FIELDS)
        return BrokerPair(key, secret, found.place, from_store=True)
    finally:
        source.close()


def _of_folder(folder: Path) -> BrokerPair:
    from pydantic import SecretStr

    key, secret = (SecretStr(_text(folder / name)) for name in (KEY_FILE, SECRET_FILE))
    return BrokerPair(key, secret, str(folder), from_store=False)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Refused(
            f"the broker's keys cannot be read: {path}: {why}",
            do=f"use the account that holds the installation's secrets, or set {SECRETS_DIR_VARIABLE}",
        ) from error


def _told(error: "SecretError") -> Refused | DependencyDown:
    do = (
        f"mend the store; meanwhile put both halves into a folder in memory ({KEY_FILE}, {SECRET_FILE}) and name "
        f"it in {SECRETS_DIR_VARIABLE}"
    )
    text = f"the secret store does not give the broker's keys: {error.message}"
    return DependencyDown(text, do=do) if error.retryable else Refused(text, do=do)
