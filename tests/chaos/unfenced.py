"""A process of ours whose placements ask nobody: ``unfenced.py PROCESS``. The judge of a kill storm must see it."""

import os
import sys
from typing import Any

from activities import placement
from storage import placement as rows
from workers.run import main


async def unlocked(_: object) -> bool:
    """No fence."""
    return True


async def nothing(_: object) -> None:
    """Nothing to free."""


def allowed(*_: Any) -> None:
    """No reason to refuse."""


rows.take_fence = unlocked  # type: ignore[assignment]
rows.free_fence = nothing  # type: ignore[assignment]
placement._refusal = allowed  # type: ignore[assignment]

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
