"""Named places at which a fault test kills this process: before and after every commit and every broker call.

Nothing happens unless ``TRADING_CRASH_POINT`` names a point, as ``commit placement.intent before``, and the file
that ``TRADING_CRASH_MARK`` names is there. Dying uses the file up, so the next process goes on.
"""

import os
import signal
from pathlib import Path
from typing import Final, Literal

POINT_VARIABLE: Final = "TRADING_CRASH_POINT"
MARK_VARIABLE: Final = "TRADING_CRASH_MARK"

Act = Literal["commit", "call"]
Moment = Literal["before", "after"]

_ORDERED: Final = os.environ.get(POINT_VARIABLE)
_MARK: Final = os.environ.get(MARK_VARIABLE, "")


def point(act: Act, name: str, moment: Moment) -> str:
    """A point's one name."""
    return f"{act} {name} {moment}"


def pass_by(act: Act, name: str, moment: Moment) -> None:
    """Die by SIGKILL if this point is ordered, as a process dies whose machine does. Else nothing."""
    if _ORDERED is None or point(act, name, moment) != _ORDERED:
        return
    try:
        Path(_MARK).unlink()
    except OSError:
        return  # Used up, by us or by another process that passed here at the same moment.
    os.kill(os.getpid(), signal.SIGKILL)
