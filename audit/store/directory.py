"""A store in a folder: for one machine, or a mount whose far side keeps what was written."""

import asyncio
import os
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from audit.store.port import ObjectDiffers, StoreUnavailable, check_name, check_prefix

UNFINISHED: Final = ".unfinished"
"""Folder of what is being written; what a killed process left there is nobody's."""
ABANDONED_AFTER_SECONDS: Final = 86_400
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o400
"""Against slips only: whoever owns the folder can do anything. What must be kept against him goes to S3."""


class DirectoryStore:
    """Objects are files. One is there whole, synced to disk, or not at all."""

    def __init__(self, root: Path) -> None:
        """``root`` is made at the first put."""
        self._root = root

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._root)

    async def put(self, name: str, content: bytes, *, keep_until: datetime | None = None) -> None:
        """As the port. A folder keeps nothing against its owner: ``keep_until`` is not enforced.

        Raises:
            ObjectDiffers, StoreUnavailable
        """
        check_name(name)
        await asyncio.to_thread(self._put, name, content)

    async def get(self, name: str) -> bytes | None:
        """As the port. Raises StoreUnavailable."""
        check_name(name)
        return await asyncio.to_thread(self._get, name)

    async def names(self, prefix: str = "", *, after: str = "") -> list[str]:
        """As the port. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._names, check_prefix(prefix), after)

    def _put(self, name: str, content: bytes) -> None:
        target = self._root / name
        try:
            if self._get(name) is None:
                self._write(target, content)
            # Another may have been first, and have died before it came to the sync.
            if self._get(name) != content:
                raise ObjectDiffers(name)
            _sync_folder(target.parent)
        except OSError as error:
            raise StoreUnavailable(f"{self._root}: {error.strerror}") from error

    def _write(self, target: Path, content: bytes) -> None:
        unfinished = self._root / UNFINISHED
        unfinished.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._forget_abandoned(unfinished)
        made = [folder for folder in target.parents if self._root in folder.parents and not folder.exists()]
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        fresh = unfinished / uuid4().hex
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never takes another's place.
        with suppress(FileExistsError):
            os.link(fresh, target)
        fresh.unlink()
        for folder in made:
            _sync_folder(folder.parent)

    def _get(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            raise StoreUnavailable(f"{self._root}: {error.strerror}") from error

    def _names(self, prefix: str, after: str) -> list[str]:
        # Only the folder that the prefix names: there may be many others, and in this one many names.
        begin = prefix.rpartition("/")[0]
        found: list[str] = []
        for folder, inner, files in os.walk(self._root / begin, onerror=self._unreadable):
            inner[:] = [each for each in inner if not each.startswith(".")]
            here = Path(folder).relative_to(self._root).as_posix()
            path = "" if here == "." else f"{here}/"
            found += [name for file in files if (name := path + file) > after and name.startswith(prefix)]
        return sorted(found)

    def _unreadable(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise StoreUnavailable(f"{self._root}: {error.strerror}") from error

    def _forget_abandoned(self, folder: Path) -> None:
        before = time.time() - ABANDONED_AFTER_SECONDS
        for each in folder.iterdir():
            with suppress(FileNotFoundError):
                if each.stat().st_mtime < before:
                    each.unlink()


def _sync_folder(folder: Path) -> None:
    """A new name is only on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
