"""Running a server as nobody when we are root: who may pass where, and a copy of programs it cannot reach."""

import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workers.datadir import DataDirError

USER = "nobody"
CACHE = Path("/var/cache/trading-interface")
OWNER_PASS = 0o100
OTHERS_PASS = 0o001
OTHERS_READ_AND_PASS = 0o005


class UnreachableError(DataDirError):
    """The unprivileged user cannot reach a folder; the message says which and what to do."""


def blocked_at(path: Path) -> Path | None:
    """Return the topmost parent of ``path`` that the unprivileged user may not pass through, or None."""
    user = pwd.getpwnam(USER).pw_uid
    for parent in reversed(path.absolute().parents):
        found = parent.stat()
        if not found.st_mode & (OWNER_PASS if found.st_uid == user else OTHERS_PASS):
            return parent
    return None


def hand_over(path: Path) -> None:
    """Give a file or folder to the unprivileged user, as root.

    Raises:
        UnreachableError: he could not reach it.
    """
    blocked = blocked_at(path)
    if blocked is not None:
        raise UnreachableError(
            f"as root, PostgreSQL runs as {USER}, who may not pass through {blocked}; use a data folder "
            f"outside of it (--data-dir), run as an ordinary user, or allow it: chmod o+x {blocked}"
        )
    entry = pwd.getpwnam(USER)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def reachable_copy(base: Path, trees: Sequence[Path], program: Path) -> Path:
    """Return ``base`` if the unprivileged user can run ``program``, else a copy of ``base`` where he can.

    The copy holds the ``trees`` only, at their places below the base, as programs find their libraries by
    those. It is made once for each version of the program, under /var/cache/trading-interface.
    """
    found = program.stat()
    if found.st_mode & OTHERS_READ_AND_PASS == OTHERS_READ_AND_PASS and blocked_at(program) is None:
        return base
    key = hashlib.sha256(f"{program.absolute()} {found.st_mtime_ns} {found.st_size}".encode()).hexdigest()[
        :16
    ]
    copy = CACHE / f"{program.name}-{key}"
    if not copy.exists():
        _copy_readable(base, trees, copy)
    return copy


def _copy_readable(base: Path, trees: Sequence[Path], copy: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o755)
    aside = Path(tempfile.mkdtemp(prefix=".copying-", dir=CACHE))
    try:
        for tree in trees:
            shutil.copytree(tree, aside / tree.relative_to(base), symlinks=True)
        for path in (aside, *aside.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        try:
            aside.rename(copy)
        except OSError:
            if not copy.exists():  # Otherwise another process was first; its copy is as good.
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
