"""What a process has used, from /proc; nothing where there is none."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

GIBIBYTE: Final = 2**30
PAGE: Final = bytes(8192)
"""PostgreSQL's."""
SYNCS: Final = 21


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads, with its children's (PostgreSQL's sessions); 0 for none."""
    return _cpu(pid) + sum(map(_cpu, _children(pid)))


def resident_kib(pid: int) -> int:
    """Memory in use, of the process alone; 0 for none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def machine() -> dict[str, float | int | None]:
    """Processors, memory in GiB, how many wanted to run in the last minute, and what being durable costs here."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        pages = size = 0
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(pages * size / GIBIBYTE, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "sync_ms": round(_sync_ms(), 2),
    }


def _sync_ms() -> float:
    """Median milliseconds until a page is on the disk on which installations are measured; near 0: it is memory."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            began = time.monotonic()
            file.write(PAGE)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.monotonic() - began) * 1000)
    return statistics.median(took)


def _cpu(pid: int) -> float:
    """Its own and that of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
