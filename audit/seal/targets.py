"""Where checkpoints go: outside the database, under names that are written once.

Whoever can rewrite our database must not be able to rewrite what is here. Objects, in the order they are written:
``leaves/FIRST-END`` (32 bytes for each leaf of [FIRST, END)), ``consistency/OLD-NEW`` (the proof that the tree only
grew, one base64 line a hash), ``checkpoints/SIZE`` (a signed note). ``key`` is the vkey of who signs.
"""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

KEY: Final = "key"
CHECKPOINTS: Final = "checkpoints/"
DIGITS: Final = 20
"""As many as the largest bigint has, so that names sort as their numbers."""
FILE_MODE: Final = 0o444
FOLDER_MODE: Final = 0o755
NAME_TOKEN_BYTES: Final = 8


class TargetUnavailable(Exception):
    """The target does not answer or cannot be written; nothing is known of what was asked. Try again."""


class ContentDiffers(Exception):
    """Under that name stands something else. Names are written once, so one of the two writers is not ours,
    or our database is not what it was: nothing may be signed until a person has looked."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} stands outside the database with another content")


class CheckpointTarget(Protocol):
    """A store of immutable objects. Every method may raise TargetUnavailable."""

    async def put(self, name: str, content: bytes) -> None:
        """Write it durably, unless the same content stands there already.

        Raises:
            ContentDiffers: another content stands there; it stays.
        """

    async def get(self, name: str) -> bytes | None:
        """The content; None where there is none."""

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        """The names that begin with ``prefix`` and sort behind ``after``, in order."""


def leaves_name(first: int, end: int) -> str:
    return f"leaves/{first:0{DIGITS}d}-{end:0{DIGITS}d}"


def consistency_name(old: int, new: int) -> str:
    return f"consistency/{old:0{DIGITS}d}-{new:0{DIGITS}d}"


def checkpoint_name(size: int) -> str:
    return f"{CHECKPOINTS}{size:0{DIGITS}d}"


def open_target(place: str) -> CheckpointTarget:
    """The target of a setting: the absolute path of a folder.

    Raises:
        ValueError: it is none.
    """
    if not place.startswith("/"):
        raise ValueError("the absolute path of a folder")
    return DirectoryTarget(Path(place))


class DirectoryTarget:
    """A folder, best on another machine's disk. Files are linked in whole and never changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._put, self._path(name), name, content)

    async def get(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._get, self._path(name))

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        return await asyncio.to_thread(self._names, prefix, after)

    def _path(self, name: str) -> Path:
        if not name or any(part in ("", ".", "..") or part.startswith(".") for part in name.split("/")):
            raise ValueError(f"not a name of the target: {name!r}")
        return self._root / name

    def _put(self, path: Path, name: str, content: bytes) -> None:
        try:
            self._make_folder(path.parent)
            if not path.exists():
                self._link(path, content)
            if path.read_bytes() != content:
                raise ContentDiffers(name)
            # Also of a file that a writer left who died before it came to this.
            _sync(path.parent)
        except OSError as error:
            raise TargetUnavailable(f"{path} cannot be written: {error.strerror}") from error

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if not self._root.is_dir():
            self._root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            _sync(self._root.parent)
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _sync(folder.parent)

    def _link(self, path: Path, content: bytes) -> None:
        """Whole or not at all, and never over what is there."""
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(NAME_TOKEN_BYTES)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()

    def _get(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TargetUnavailable(f"{path} cannot be read: {error.strerror}") from error

    def _names(self, prefix: str, after: str) -> list[str]:
        folder, _, begins = prefix.rpartition("/")
        behind = after.removeprefix(f"{folder}/")
        try:
            found = os.listdir(self._root / folder)  # noqa: PTH208 - names alone, of what may be many
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TargetUnavailable(f"{self._root} cannot be read: {error.strerror}") from error
        new = sorted(name for name in found if name > behind and name.startswith(begins) and name[0] != ".")
        return [f"{folder}/{name}" for name in new]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
