"""What a process must not be given. Who finds a secret that is not his refuses to start: least privilege that
nobody checks is none."""

import os
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from workers.settings import (
    ENV_PREFIX,
    PROCESSES,
    SECRETS_DIR_VARIABLE,
    DatabaseSettings,
    Settings,
    SettingsError,
)

FOREIGN: Final = (
    "APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "DATABASE_URL", "EXCHANGE_KEY", "EXCHANGE_SECRET", "PGPASSFILE",
    "PGPASSWORD", "PGSERVICE", "PGSERVICEFILE", "TRADING_OPERATOR_KEY_FILE", "TRADING_TOKEN",
)  # fmt: skip
"""Variables of others that hold or lead to a secret: alpaca-py's, the exchange's, libpq's, the command line's."""
_LOOKS_SECRET: Final = re.compile(r"TRADING_\w*(?:KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL)\w*|APCA_\w+")
"""A secret of a later release is none of an earlier one's either."""
NO_SECRETS: Final = frozenset({SECRETS_DIR_VARIABLE, "TRADING_SECRET_SOURCE", "TRADING_SECRET_PREFIX"})
"""They say where secrets are."""
_LAYOUT: Final = ".."
"""How the folders begin that Kubernetes keeps a volume's files in; each of its files is a link into one."""


class SecretNotAllowed(Exception):
    """This process was given a secret that it may not hold; the message names both and no value."""

    def __init__(self, process: str, name: str, where: str) -> None:
        super().__init__(f"{process} may not hold {name} (found in {where}): refusing to start")


def refuse_what_is_not_ours(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Return if the process of that name was given no secret but its own.

    Raises:
        SecretNotAllowed: naming the first one found, in the environment or in the folder of secret files.
    """
    process = PROCESSES[name]
    if not process.alone:
        return
    own = {ENV_PREFIX + each.upper() for each in process.secrets}
    known = {ENV_PREFIX + each.upper() for other in PROCESSES.values() for each in other.secrets}
    for variable in sorted(environ):
        # Settings are read whatever the case of their variables.
        upper = variable.upper()
        suspicious = upper in known or upper in FOREIGN or _LOOKS_SECRET.fullmatch(upper)
        if suspicious and upper not in own | NO_SECRETS:
            raise SecretNotAllowed(name, variable, "the environment")
    folder = environ.get(SECRETS_DIR_VARIABLE)
    if folder and Path(folder).is_dir():
        for file in _not_ours(Path(folder), own):
            raise SecretNotAllowed(name, str(file.relative_to(folder)), "the folder of secrets")


def _not_ours(folder: Path, own: AbstractSet[str]) -> Iterator[Path]:
    """A folder of secrets holds secrets: whatever is not his is too much, known here or not, hidden or not."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(_LAYOUT) and entry.is_dir() and entry.resolve().parent == folder.resolve():
            yield from (each for each in sorted(entry.iterdir()) if not _is_own(each, own))
        elif not _is_own(entry, own):
            yield entry


def _is_own(file: Path, own: AbstractSet[str]) -> bool:
    return file.name.upper() in own and not file.is_dir()


def refuse_another_role(name: str, settings: Settings) -> None:
    """Return if the database address is of the one role that this process may be.

    Raises:
        SecretNotAllowed: it is of another, the owner's for example.
        SettingsError: it is no address.
    """
    role = PROCESSES[name].role
    if role is None or not isinstance(settings, DatabaseSettings):
        return
    try:
        user = urlsplit(settings.database_url.get_secret_value()).username
    except ValueError:
        raise SettingsError("settings: TRADING_DATABASE_URL: not an address") from None
    if user != role:
        raise SecretNotAllowed(name, f"the database role {user}", f"TRADING_DATABASE_URL, it is {role}")
