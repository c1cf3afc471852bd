"""Where the checkpoints outside are for a command, and the key that they are checked with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from audit.check.notes import BadKey, VerifierKey
from audit.check.outside import Folder, Outside, OutsideUnreadable, stored_key
from console.common import Common
from console.errors import BadUsage, DependencyDown

PREFIX: Final = "TRADING_"
TARGET_VARIABLE: Final = f"{PREFIX}AUDIT_TARGET"
SECRETS_DIR_VARIABLE: Final = f"{PREFIX}SECRETS_DIR"
KEY_BYTES_MAX: Final = 4096
KEY_NOT_FROM_OUTSIDE: Final = (
    "the key lies beside the checkpoints: who could change those could change it; give the one you wrote down "
    "with --key"
)

CheckpointsFolder = Annotated[
    Path | None,
    Parameter(
        name="--checkpoints",
        help="Folder with the checkpoints outside, or a copy (default: $TRADING_AUDIT_TARGET, or the "
        "installation's).",
    ),
]
Key = Annotated[
    str | None,
    Parameter(
        name="--key",
        help="The log's key, NAME+ID+BASE64, or a file that holds it: as you got it from elsewhere than the "
        "checkpoints' folder.",
    ),
]


def outside_of(folder: Path | None, common: Common) -> Outside:
    """The chosen folder, or the installation's place for checkpoints."""
    if folder is not None:
        return Folder(folder)
    target = os.environ.get(TARGET_VARIABLE, "")
    if target.startswith("s3:"):
        return _bucket(target, common)
    return Folder(Path(target) if target else common.addresses().data_dir / "audit")


def _bucket(target: str, common: Common) -> Outside:
    """The bucket of the settings, with a reader's keys: from the environment, or the installation's secrets."""
    from pydantic import SecretStr

    from audit.outside import StoreOutside
    from audit.store.opening import S3Access, open_store

    folder = Path(os.environ.get(SECRETS_DIR_VARIABLE) or common.addresses().data_dir / "keys")
    keys = [_secret(folder, name) for name in ("audit_s3_key", "audit_s3_secret")]
    access_key, secret_key = (None if key is None else SecretStr(key) for key in keys)
    region = os.environ.get(f"{PREFIX}AUDIT_S3_REGION") or "us-east-1"
    endpoint = os.environ.get(f"{PREFIX}AUDIT_S3_ENDPOINT") or None
    try:
        return StoreOutside(open_store(target, S3Access(region, endpoint, access_key, secret_key)))
    except ValueError as error:
        raise BadUsage(
            f"{TARGET_VARIABLE}: {error}",
            do=f"set {PREFIX}AUDIT_S3_KEY and {PREFIX}AUDIT_S3_SECRET, or give a copy with --checkpoints",
        ) from error


def _secret(folder: Path, name: str) -> str | None:
    found = os.environ.get(f"{PREFIX}{name.upper()}")
    if found:
        return found
    try:
        return (folder / f"{PREFIX.lower()}{name}").read_text().strip()
    except OSError:
        return None


async def key_for(outside: Outside, chosen: str | None, warnings: list[str]) -> VerifierKey:
    """The chosen key, or with a warning the one that lies beside the checkpoints."""
    try:
        if chosen is not None:
            return VerifierKey.parse(_text_of(chosen))
        found = await stored_key(outside)
    except BadKey as error:
        raise BadUsage(
            f"the key cannot be used: {error}", do="give the log's vkey line with --key"
        ) from error
    if found is None:
        raise BadUsage("no key lies beside the checkpoints", do="give the log's vkey line with --key")
    warnings.append(KEY_NOT_FROM_OUTSIDE)
    return found


def _text_of(chosen: str) -> str:
    path = Path(chosen)
    try:
        if not path.is_file():
            return chosen
        with path.open("rb") as file:
            return file.read(KEY_BYTES_MAX).decode()
    except UnicodeDecodeError as error:
        raise BadKey(f"{path} is no text") from error
    except OSError:  # A vkey is no path, and may be too long for one.
        return chosen


@contextmanager
def reachable() -> Iterator[None]:
    """Tells of what is outside and cannot be read in two lines."""
    try:
        yield
    except OutsideUnreadable as error:
        raise DependencyDown(
            f"the checkpoints cannot be read: {error}", do="name their folder with --checkpoints"
        ) from error
