"""A process of the product with one of its parts taken out: ``python -m tests.chaos.broken PART PROCESS``.

So the judge of fault runs is judged: with any of these parts missing a run must fail. Patched from outside, so
that the product itself has no switch for it.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import activities.approvals
import activities.placement
import activities.resolution
import broker.executions
import broker.lifecycle
import storage.placement
from broker.alpaca.client import AlpacaReader
from broker.errors import NotFound
from workers.run import main

HOLD_VARIABLE: Final = "TRADING_TEST_HOLD"
"""A file: while it is there, an intent waits between the reading of the kill switch and its commit."""
POLL_SECONDS: Final = 0.02


def put(owner: Any, name: str, value: Any) -> None:
    """Replace a part that is there; one that has moved must be found again."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: this test must follow it")
    setattr(owner, name, value)


def held(hold: Path) -> None:
    """Nothing is taken out; an intent waits as long as the file is there, and says so beside it."""
    write_intent = storage.placement.write_intent

    async def wait_and_write(*arguments: Any, **named: Any) -> Any:
        while hold.exists():  # noqa: ASYNC240 - a test of a file now and then
            hold.with_suffix(".reached").touch()
            await asyncio.sleep(POLL_SECONDS)
        return await write_intent(*arguments, **named)

    put(storage.placement, "write_intent", wait_and_write)


def without_fence(hold: Path) -> None:
    """No lock is shared with the kill switch, and its row may be as old as it likes; held as above."""

    async def nothing(connection: Any) -> bool:
        return True

    held(hold)
    put(storage.placement, "take_fence", nothing)
    put(storage.placement, "free_fence", nothing)
    put(activities.placement, "SWITCH_READ_AGE_MAX_SECONDS", 1000.0)


def without_look_up(_: Path) -> None:
    """Nobody asks the broker before an order is sent again."""

    async def never_asked(*_: Any) -> Any:
        raise NotFound("nobody was asked")

    async def never_listed(*_: Any) -> None:
        return None

    put(AlpacaReader, "get_order_by_client_id", never_asked)
    put(activities.resolution, "ABSENCE_WAIT", timedelta(seconds=-storage.placement.POSTING_SECONDS))
    put(activities.resolution, "ABSENCE_LOOKUPS", 1)
    put(activities.resolution.ResolutionActivities, "_listed", never_listed)


def without_deduplication(_: Path) -> None:
    """An execution that is told again counts again."""

    def add_again(fills: Any, fill: Any) -> Any:
        again = {
            name: f"{told}#{len(fills)}"
            for name in ("execution_id", "activity_id")
            if (told := getattr(fill, name)) is not None
            and any(getattr(known, name) == told for known in fills)
        }
        return (*fills, fill.model_copy(update=again))

    put(broker.executions, "add_fill", add_again)
    put(broker.lifecycle, "add_fill", add_again)


def without_binding(_: Path) -> None:
    """An approval is tied to no order."""
    sql = dict(storage.placement._SQL)
    before, _, after = sql["write_intent"].partition("), working as (")
    assert "insert into approval_bindings" in before, "this test must follow the statement"
    unbound = "with bound as (select $2::text as client_order_id, $7::uuid as approval_id"
    sql["write_intent"] = f"{unbound}), working as ({after}"
    put(storage.placement, "_SQL", sql)


def with_more_than_approved(_: Path) -> None:
    """Twice the approved quantity is about to be sent. Nothing is taken out: the signature is there to stop it."""
    canonical = activities.placement.canonical_request

    def more(*arguments: Any) -> Any:
        request = canonical(*arguments)
        return request.model_copy(update={"quantity": request.quantity * 2})

    put(activities.placement, "canonical_request", more)


def without_signature(hold: Path) -> None:
    """The same, and nobody verifies what risk has signed."""

    def anything(*_: Any) -> None:
        return None

    with_more_than_approved(hold)
    put(activities.approvals, "verify", anything)


PARTS: Final[dict[str, Callable[[Path], None]]] = {
    "nothing": held,
    "fence": without_fence,
    "look-up": without_look_up,
    "deduplication": without_deduplication,
    "binding": without_binding,
    "content": with_more_than_approved,
    "signature": without_signature,
}


def check() -> None:
    """Take everything out, in a process that then ends: a part that has moved is told at once."""
    for take_out in PARTS.values():
        take_out(Path("/nonexistent"))


if __name__ == "__main__":
    PARTS[sys.argv[1]](Path(os.environ.get(HOLD_VARIABLE, "/nonexistent")))
    code = main(sys.argv[2:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
