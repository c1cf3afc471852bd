"""Named places at which a fault test kills this process: before and after every commit and every call outside.

Nothing happens unless ``TRADING_CRASH_POINTS`` names a folder. A file in it, called as a point is, orders that
point: the first process that passes by dies there and leaves the file with its process id as a suffix, so whoever
comes next goes on. `workers.crash_orders` refuses such a folder where anything but this machine would be hurt.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

VARIABLE: Final = "TRADING_CRASH_POINTS"

Act = Literal["commit", "call"]
Moment = Literal["before", "after"]

_ORDERS: Final = os.environ.get(VARIABLE) or None


def point(act: Act, name: str, moment: Moment) -> str:
    """A point's one name, as ``commit placement.intent before``."""
    return f"{act} {name} {moment}"


def pass_by(act: Act, name: str, moment: Moment) -> None:
    """Die by SIGKILL if this point is ordered, as a process dies whose machine does. Else nothing."""
    if _ORDERS is None:
        return
    ordered, pid = f"{_ORDERS}/{point(act, name, moment)}", os.getpid()
    try:
        os.rename(ordered, f"{ordered}.{pid}")  # noqa: PTH104 - one call to the system, a thousand times a second
    except OSError:
        return  # Not ordered, or another process passed here at the same moment.
    os.kill(pid, signal.SIGKILL)


@contextmanager
def calling(name: str) -> Iterator[None]:
    """A call to another process. The point after it is passed where it raised nothing."""
    pass_by("call", name, "before")
    yield
    pass_by("call", name, "after")


def order(folder: Path, name: str) -> None:
    """Order a point, by its one name."""
    (folder / name).touch(exist_ok=False)


def died_at(folder: Path, name: str) -> int | None:
    """The id of the process that died there; None while nobody has. The record is taken away."""
    for record in folder.glob(f"{name}.*"):
        record.unlink()
        return int(record.suffix[1:])
    return None
