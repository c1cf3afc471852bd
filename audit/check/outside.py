"""What was put outside the database, and how it is read.

Names: ``checkpoints/<size>``, ``leaves/<first>-<end>``, ``consistency/<old>-<new>``, ``key``; numbers of 20 digits.
Nothing here is believed because it is there: checkpoints by their signature, leaves by a signed root.
"""

import re
from pathlib import Path
from typing import Final, Protocol

from audit.check.notes import BadKey, VerifierKey

KEY: Final = "key"
OBJECT_BYTES_MAX: Final = 256 * 1024 * 1024
"""Leaf hashes of eight million rows sealed at once; nothing that was put there is larger."""
RANGE: Final = re.compile(r"(?:leaves|consistency)/(\d{20})-(\d{20})")
"""Names of what is of a run of rows, or between two sizes."""


class OutsideUnreadable(Exception):
    """What is outside cannot be read now; that says nothing about the log."""


class Outside(Protocol):
    """Where checkpoints are put: a folder or a bucket."""

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        """All names with this beginning that sort behind ``after``, in order.

        Raises:
            OutsideUnreadable: it cannot be read now.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """The bytes under a name; None where there are none. Raises as `names`."""
        ...


class Folder:
    """A directory, or a copy of one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        return [name for name in _names(self._root, prefix) if name > after]

    async def get(self, name: str) -> bytes | None:
        return _read(self._root / name)


def _names(root: Path, prefix: str) -> list[str]:
    folder = root / prefix
    try:
        return sorted(prefix + each.name for each in folder.iterdir() if each.is_file())
    except FileNotFoundError:
        if root.is_dir():
            return []
        raise OutsideUnreadable(f"{root} is not there") from None
    except OSError as error:
        raise OutsideUnreadable(f"{folder} cannot be read: {error.strerror}") from error


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(OBJECT_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutsideUnreadable(f"{path} cannot be read: {error.strerror}") from error


async def stored_key(outside: Outside) -> VerifierKey | None:
    """The key that lies beside the checkpoints: who can change them can change it too.

    Raises:
        BadKey: what lies there is none.
    """
    line = await outside.get(KEY)
    if line is None:
        return None
    try:
        return VerifierKey.parse(line.decode())
    except UnicodeDecodeError as error:
        raise BadKey("not UTF-8") from error


def behind(prefix: str, number: int) -> str:
    """The name behind which all of this number and of larger ones sort: for ``after`` of `Outside.names`."""
    return f"{prefix}{number - 1:020d}~" if number else ""
