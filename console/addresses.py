"""Where the running installation is: from environment variables, else the file that `trading up` writes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from console.errors import BadUsage, DependencyDown

SECRETS_DIR_VARIABLE: Final = "TRADING_SECRETS_DIR"
PASSWORD_FILE: Final = "trading_database_password"  # noqa: S105 - its name
DATA_DIR_VARIABLE: Final = "TRADING_DATA_DIR"
ROOT_LOCATION: Final = Path("/var/lib/trading-interface")
USER_LOCATION: Final = Path("~/.local/share/trading-interface")
ADDRESSES_BYTES_MAX: Final = 64 * 1024
DEFAULT_NAMESPACE: Final = "trading"

VARIABLES: Final = {
    "gateway_url": "TRADING_GATEWAY_URL",
    "console_url": "TRADING_CONSOLE_URL",
    "database_url": "TRADING_DATABASE_URL",
    "temporal_address": "TRADING_TEMPORAL_ADDRESS",
    "namespace": "TRADING_TEMPORAL_NAMESPACE",
    "token": "TRADING_TOKEN",
    "operator_key_file": "TRADING_OPERATOR_KEY_FILE",
    "event_redis_url": "TRADING_EVENT_REDIS_DSN",
    "payload_keys_file": "TRADING_PAYLOAD_KEYS_FILE",
    "payloads": "TRADING_PAYLOADS",
}
NAMES: Final = {
    "gateway_url": "the gateway's address",
    "console_url": "the operator console's address",
    "database_url": "the database's address",
    "temporal_address": "Temporal's address",
    "namespace": "Temporal's namespace",
    "token": "a strategy token",
    "operator_key_file": "the operator key file",
    "exchange_url": "the paper exchange's address",
    "event_redis_url": "the address of the Redis that events go to, with its password",
    "payload_keys_file": "the file of the keys that payloads in Temporal are encrypted with",
    "payloads": "whether payloads are `encrypted`",
}


def data_dir_of(chosen: Path | None) -> Path:
    """The folder of the installation: as chosen, ``$TRADING_DATA_DIR``, or the usual place."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    variable = os.environ.get(DATA_DIR_VARIABLE, "")
    if variable:
        return Path(variable).expanduser().absolute()
    return ROOT_LOCATION if os.geteuid() == 0 else USER_LOCATION.expanduser()


@dataclass(frozen=True)
class Addresses:
    """What is known of one installation. Values may be secret: never print them all."""

    data_dir: Path
    known: dict[str, Any]
    running: bool
    """An addresses file is there and the process that wrote it lives."""

    def get(self, name: str) -> str | None:
        """One address, or None where it is not known."""
        value = self.known.get(name)
        return value if isinstance(value, str) and value else None

    def need(self, name: str) -> str:
        """One address.

        Raises:
            DependencyDown: it is not known, because nothing runs here and no variable says it.
        """
        value = self.get(name)
        if value is None:
            variable = VARIABLES.get(name)
            other = f", or set {variable}" if variable else ""
            raise DependencyDown(
                f"{NAMES.get(name, name)} is not known: nothing runs in {self.data_dir}",
                do=f"start it with `trading up`, name its folder with --data-dir{other}",
            )
        return value

    @property
    def namespace(self) -> str:
        """The Temporal namespace."""
        return self.get("namespace") or DEFAULT_NAMESPACE


def find(chosen: Path | None) -> Addresses:
    """Read what is known. Environment variables outrank the file.

    Raises:
        BadUsage: the file is there and cannot be read.
    """
    data_dir = data_dir_of(chosen)
    known = _read(data_dir / "run" / "addresses.json")
    running = _lives(known.get("pid"))
    tokens = known.get("tokens")
    if isinstance(tokens, dict) and tokens:
        known["token"] = tokens.get("demo") or next(iter(tokens.values()))
    for name, variable in VARIABLES.items():
        if os.environ.get(variable):
            known[name] = os.environ[variable]
            if name == "database_url":
                known[name] = _with_password(known[name])
    return Addresses(data_dir, known, running)


def _with_password(url: str) -> str:
    """In a container the address names the role, and its password is a file, as every process's is."""
    file = Path(os.environ.get(SECRETS_DIR_VARIABLE) or "/nowhere") / PASSWORD_FILE
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # Whoever connects says what is wrong with it.
    if parts.password is not None or not parts.username or not file.is_file():
        return url
    password = quote(file.read_text("utf-8").strip(), safe="")
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(ADDRESSES_BYTES_MAX))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise BadUsage(
            f"{path} may not be read by this user", do="use the account that runs `trading up`"
        ) from error
    except (OSError, ValueError) as error:
        raise BadUsage(
            f"{path} cannot be read: {error}", do="stop `trading up` and start it again"
        ) from error
    if not isinstance(found, dict):
        raise BadUsage(f"{path} holds no JSON object", do="stop `trading up` and start it again")
    return found


def _lives(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
