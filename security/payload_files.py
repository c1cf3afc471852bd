"""The file of payload keys in a folder of secrets. It is replaced whole or not at all.

A new key is first added where it only decrypts. Once every process knows it, it is used. So no process ever meets
what it cannot read.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from security.payloads import PayloadKeyError, PayloadKeys

PAYLOAD_KEYS: Final = "trading_payload_keys"
PRIVATE_MODE: Final = 0o600


def read_file(folder: Path) -> PayloadKeys:
    """The keys.

    Raises:
        PayloadKeyError: the file is not there or cannot be used.
    """
    try:
        return PayloadKeys.parse((folder / PAYLOAD_KEYS).read_text())
    except FileNotFoundError as error:
        raise PayloadKeyError(
            f"{error.filename} is not there: a first start makes it, or `make compose-secrets`"
        ) from error


def ensure_file(folder: Path, *, now: datetime) -> PayloadKeys:
    """The keys, made unless they are there.

    Raises:
        PayloadKeyError: the file cannot be used.
    """
    if not (folder / PAYLOAD_KEYS).exists():
        _write(folder / PAYLOAD_KEYS, PayloadKeys.generate(now), PRIVATE_MODE)
    return read_file(folder)


def add(folder: Path, *, now: datetime) -> PayloadKeys:
    """Add a key that decrypts only. Raises PayloadKeyError: the file cannot be used, or it is full."""
    keys, new = read_file(folder), PayloadKeys.generate(now)
    return _replace(folder, {**keys.by_id, **new.by_id})


def use(folder: Path, key_id: str) -> PayloadKeys:
    """From now on the key encrypts. Raises PayloadKeyError: it is not there."""
    keys = read_file(folder)
    return _replace(folder, {key_id: _known(keys, key_id), **keys.by_id})


def check_old(folder: Path, key_id: str) -> PayloadKeys:
    """The keys, where this one only decrypts. Raises PayloadKeyError: it encrypts, or is none."""
    keys = read_file(folder)
    _known(keys, key_id)
    if key_id == keys.newest:
        raise PayloadKeyError(f"{key_id} encrypts: first `trading payloads use` another")
    return keys


def drop(folder: Path, key_id: str) -> PayloadKeys:
    """Forget a key and so what it has encrypted. Raises as `check_old`."""
    keys = check_old(folder, key_id)
    return _replace(folder, {name: key for name, key in keys.by_id.items() if name != key_id})


def _known(keys: PayloadKeys, key_id: str) -> bytes:
    if key_id not in keys.by_id:
        raise PayloadKeyError(f"no key {key_id}; known: {', '.join(keys.by_id)}")
    return keys.by_id[key_id]


def _replace(folder: Path, by_id: dict[str, bytes]) -> PayloadKeys:
    path = folder / PAYLOAD_KEYS
    after = PayloadKeys.parse(PayloadKeys(by_id).text)
    _write(path, after, path.stat().st_mode & 0o777)
    return after


def _write(path: Path, keys: PayloadKeys, mode: int) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(keys.text)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(mode)
    fresh.replace(path)
