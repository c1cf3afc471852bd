"""Log files that do not grow for ever: the newest lines under the name itself, older ones under ``.1``, ``.2``, …

A file belongs to one process. Where its standard output or error goes to the same file, as the supervisor has it,
they move to the new one too.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one file."""
LOG_COPIES: Final = 5
"""Older files kept beside it."""
LOG_FILE_MODE: Final = 0o600
_STREAMS: Final = (1, 2)


def shift(path: Path) -> None:
    """``path`` becomes ``.1``, ``.1`` becomes ``.2``; the oldest is dropped."""
    make_room(path)
    with suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".1"))


def make_room(path: Path) -> None:
    """Leave nothing under ``.1``: it becomes ``.2``, ``.2`` becomes ``.3``; the oldest is dropped."""
    for number in range(LOG_COPIES - 1, 0, -1):
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}.{number}").replace(path.with_name(f"{path.name}.{number + 1}"))


def files_of(path: Path) -> list[Path]:
    """The file and its older ones that are there, oldest first."""
    older = [path.with_name(f"{path.name}.{number}") for number in range(LOG_COPIES, 0, -1)]
    return [each for each in (*older, path) if each.exists()]


class RotatingFile:
    """Appends whole lines, and begins a new file when one is full. Not for two threads at once: a handler locks."""

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        """Raises OSError: it cannot be opened for appending."""
        self._path = path
        self._bytes_max = bytes_max
        self._file, self._bytes = _open(path)

    def write(self, text: str) -> int:
        """Append ``text``, a line with its end."""
        size = len(text.encode("utf-8", "replace"))
        if self._bytes > 0 and self._bytes + size > self._bytes_max:
            self._begin_anew()
        self._bytes += size
        return self._file.write(text)

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def _begin_anew(self) -> None:
        old = os.fstat(self._file.fileno())
        try:
            shift(self._path)
            fresh, size = _open(self._path)
        except OSError:
            return  # Better a file that is too long than lines that are lost.
        for stream in _STREAMS:
            with suppress(OSError):
                if os.path.samestat(os.fstat(stream), old):
                    os.dup2(fresh.fileno(), stream)
        self._file.close()
        self._file, self._bytes = fresh, size


def _open(path: Path) -> tuple[TextIO, int]:
    """The file, and how many bytes it has."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, LOG_FILE_MODE)
    size = os.fstat(descriptor).st_size
    return os.fdopen(descriptor, "a", encoding="utf-8", buffering=1), size
