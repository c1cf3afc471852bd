"""The secrets of an installation as files, made once: ``python -m workers.keys FOLDER`` makes them for Compose."""

import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from security.approval_files import PUBLIC_KEYS, SIGNING_KEY, ensure_files
from security.approvals import ApprovalKeyError
from security.grants import GrantKey, KeyFileError, make_key_file
from security.payload_files import PAYLOAD_KEYS
from security.payloads import PayloadKeys
from workers.compose import ComposeError, load
from workers.embedded import OPERATOR

SECRET_BYTES: Final = 32
FOLDER_MODE: Final = 0o700
CONTAINER_READABLE_MODE: Final = 0o444
"""Compose mounts the file as it is, and the user in the container is another: the folder keeps others out."""
OPERATOR_KEY: Final = "operator.json"
OPERATOR_PUBLIC_KEY: Final = "operator_public_key"
GRANT_KEY: Final = "trading_console_grant_key"
GRANT_PUBLIC_KEY: Final = "trading_console_grant_public_key"
APPROVALS: Final = frozenset({SIGNING_KEY, PUBLIC_KEYS})
GIVEN: Final = frozenset({
    "trading_alert_slack_url", "trading_alert_pagerduty_routing_key", "trading_audit_s3_key",
    "trading_audit_s3_secret", "execution_vault_secret_id", "operations_vault_secret_id",
})  # fmt: skip
"""Others make these: empty, which says that nothing is wanted, until a person writes what they are."""


def make_missing(folder: Path, names: Iterable[str], *, mode: int = 0o600) -> dict[str, str]:
    """Read the named secrets; make the ones that are not there. What is there is never replaced.

    Raises:
        KeyFileError, ApprovalKeyError: the operator's key file, or those of approvals, cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    wanted = set(names)
    made: dict[str, str] = {}
    if wanted & APPROVALS:
        # Before the others, so that it sees whether an earlier release has been here.
        made = {
            name: text
            for name, text in ensure_files(folder, now=datetime.now(UTC), mode=mode).items()
            if name in wanted
        }
    return made | {name: _one(folder, name, mode) for name in sorted(wanted - APPROVALS)}


def _one(folder: Path, name: str, mode: int) -> str:
    path = folder / name
    if name == OPERATOR_PUBLIC_KEY:
        _, public_key = make_key_file(folder / OPERATOR_KEY, OPERATOR)
        value = public_key.hex()
    elif name == GRANT_PUBLIC_KEY:
        value = GrantKey.from_hex(_one(folder, GRANT_KEY, mode), "console").public_key.hex()
    elif path.exists():
        return path.read_text().strip()
    elif name == PAYLOAD_KEYS:
        value = PayloadKeys.generate(datetime.now(UTC)).text
    else:
        value = "" if name in GIVEN else secrets.token_hex(SECRET_BYTES)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value)
    fresh.chmod(mode)
    fresh.replace(path)
    return value


def main(arguments: Sequence[str]) -> int:
    """0 made, 1 refused, 2 wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m workers.keys FOLDER\n")
        return 2
    folder = Path(arguments[0])
    try:
        made = make_missing(folder, load().secrets, mode=CONTAINER_READABLE_MODE)
    except (ComposeError, KeyFileError, ApprovalKeyError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(made)} secrets in {folder}, and the operator's key in {folder / OPERATOR_KEY}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
