"""The two files of approval keys in a folder of secrets: risk's signing key, and the public keys beside it.

Each file is replaced whole or not at all. A change writes the public keys first: one that nobody signs with does
no harm.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from security.approvals import ApprovalKeyError, ApprovalKeys, ApprovalSigner, KeyState
from security.grants import public_key_id

SIGNING_KEY: Final = "trading_approval_signing_key"
PUBLIC_KEYS: Final = "trading_approval_public_keys"
PRIVATE_MODE: Final = 0o600


def ensure_files(folder: Path, *, now: datetime, mode: int = PRIVATE_MODE) -> dict[str, str]:
    """Make both files unless they are there; a public key that is missing beside its private half is written anew.

    Secrets in the folder without these two are an earlier release's: what that has approved is unsigned.

    Returns:
        The contents by file name.

    Raises:
        ApprovalKeyError: public keys without a signing key, or files that cannot be used.
        OSError: the folder cannot be read or written.
    """
    is_upgrade = any(each.is_file() for each in folder.iterdir())
    signing, public = folder / SIGNING_KEY, folder / PUBLIC_KEYS
    if not signing.exists() and not public.exists():
        signer, secret = ApprovalSigner.generate()
        keys = ApprovalKeys({signer.public_key: KeyState.CURRENT}, now if is_upgrade else None)
        # A start cut off in between is told of at the next. The other way round that one would not know any more
        # that an earlier release had been here, and would refuse the stops of what it has approved.
        _write(public, keys.text, mode)
        _write(signing, secret, mode)
    elif not public.exists():
        signer, _ = read_files(folder)
        _write(public, ApprovalKeys({signer.public_key: KeyState.CURRENT}).text, mode)
    read_files(folder)
    return {path.name: path.read_text().strip() for path in (signing, public)}


def read_files(folder: Path) -> tuple[ApprovalSigner, ApprovalKeys]:
    """Both files; without one of public keys that of the signing key alone.

    Raises:
        ApprovalKeyError: they are not there or cannot be used; the message names the file.
    """
    signing, public = folder / SIGNING_KEY, folder / PUBLIC_KEYS
    try:
        signer = ApprovalSigner.from_hex(signing.read_text())
        if not public.exists():
            return signer, ApprovalKeys({signer.public_key: KeyState.CURRENT})
        return signer, ApprovalKeys.parse(public.read_text())
    except FileNotFoundError as error:
        raise ApprovalKeyError(
            f"{error.filename} is not there: restore it, or make another key with `trading keys rotate`"
        ) from error
    except ApprovalKeyError as error:
        raise ApprovalKeyError(f"{folder}: {error}") from error


def rotate(folder: Path) -> ApprovalKeys:
    """Make a new signing key, also where it is lost. Former ones stay known: what they have signed may leave.

    Raises:
        ApprovalKeyError: there are no public keys, or none that can be used.
    """
    public = folder / PUBLIC_KEYS
    if not public.exists():
        raise ApprovalKeyError(f"{public} is not there: a first start makes it")
    keys = ApprovalKeys.parse(public.read_text())
    signer, secret = ApprovalSigner.generate()
    after = _change(folder, keys, {**keys.states, signer.public_key: KeyState.CURRENT})
    _write(folder / SIGNING_KEY, secret, _mode(public))
    return after


def retire(folder: Path, key_id: str) -> ApprovalKeys:
    """From now on the key is good for the legs of what it approved, and for no entry.

    Raises:
        ApprovalKeyError: it is unknown, or what is signed with now.
    """
    keys, key = _former(folder, key_id)
    return _change(folder, keys, {**keys.states, key: KeyState.RETIRED})


def revoke(folder: Path, key_id: str) -> ApprovalKeys:
    """From now on nothing that the key has signed leaves: no entry and no leg. Raises as `retire`."""
    keys, key = _former(folder, key_id)
    return _change(folder, keys, {each: state for each, state in keys.states.items() if each != key})


def _former(folder: Path, key_id: str) -> tuple[ApprovalKeys, bytes]:
    signer, keys = read_files(folder)
    if key_id == signer.key_id:
        raise ApprovalKeyError(f"risk signs with {key_id}: first `trading keys rotate`")
    key = keys.by_id.get(key_id)
    if key is None:
        known = ", ".join(public_key_id(each) for each in keys.states)
        raise ApprovalKeyError(f"no key {key_id} in {folder}; known: {known}")
    return keys, key


def _change(folder: Path, keys: ApprovalKeys, states: dict[bytes, KeyState]) -> ApprovalKeys:
    after = ApprovalKeys(states, keys.unsigned_before)
    public = folder / PUBLIC_KEYS
    _write(public, after.text, _mode(public if public.exists() else folder / SIGNING_KEY))
    return after


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(mode)
    fresh.replace(path)
