"""Temporary files of a test run: in memory where there is room.

ext4 does not use an inode again for minutes after its file was removed, and searches on for another: a database
made and dropped for each test costs a quarter of a second there, and nothing in memory.
"""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
PREFIX = "trading-tests-"
ROOM_MIN_BYTES = 8 * 1024**3
"""In the folder and in memory; a whole run holds about two."""


def take() -> Path | None:
    """Let every temporary file of this process and its children be made in memory; None: there is no room.

    Folders of runs that were killed are removed.
    """
    if "TMPDIR" in os.environ or not _has_room():
        return None
    for left in MEMORY.glob(f"{PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(PREFIX)).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = MEMORY / f"{PREFIX}{os.getpid()}"
    # Passed through, not listed, by the user that PostgreSQL runs as.
    folder.mkdir(mode=0o711)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    return folder


def give_back(folder: Path) -> None:
    """Remove what is left."""
    del os.environ["TMPDIR"]
    tempfile.tempdir = None
    shutil.rmtree(folder, ignore_errors=True)


def _has_room() -> bool:
    try:
        free = shutil.disk_usage(MEMORY).free
        meminfo = Path("/proc/meminfo").read_text()
    except OSError:
        return False
    available = next(int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable"))
    return min(free, available * 1024) >= ROOM_MIN_BYTES and _runs_programs()


def _runs_programs() -> bool:
    """Tests run programs that they have written."""
    return not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK)
