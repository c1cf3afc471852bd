"""A process of ours whose placements ask nobody: ``unfenced.py PROCESS``. The judge of a kill storm must see it."""

import os
import sys
from typing import Any

from activities import placement
from storage import placement as rows
from tests.chaos.broken import put
from workers.run import main


async def unlocked(_: object) -> bool:
    """No fence."""
    return True


async def nothing(_: object) -> None:
    """Nothing to free."""


def allowed(*_: Any) -> None:
    """No reason to refuse."""


put(rows, "take_fence", unlocked)
put(rows, "free_fence", nothing)
put(placement, "refusal", allowed)
put(placement, "SWITCH_READ_AGE_MAX_SECONDS", 1000.0)

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
