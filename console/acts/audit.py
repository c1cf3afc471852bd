"""A bounded check of the audit log now, as an act of a person: its newest rows against what was sealed outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from audit.check import database as db
from audit.check.notes import BadKey, VerifierKey
from audit.check.outside import KEY, OutsideUnreadable
from audit.check.verify import verify_database
from console.acts.people import Actor
from console.errors import DependencyDown, Refused
from schemas.people import Role

if TYPE_CHECKING:
    from audit.check.findings import Report
    from audit.check.outside import Outside
    from storage.database import Connection

ROWS_MAX: Final = 20_000
"""Some of the newest; `trading audit verify` and the daily check read them all."""
SECONDS_MAX: Final = 60.0
WHOLE: Final = "`trading audit verify` checks all of it"


async def verify_newest(
    connection: Connection, outside: Outside, actor: Actor, *, seconds_max: float = SECONDS_MAX
) -> Report:
    """Hash the newest rows anew, from the last checkpoint that leaves at most some ``ROWS_MAX``. Only reads.

    The key is the one that lies beside the checkpoints, as for a proof in the page.

    Raises:
        Refused: there is no key, or the check did not end in time: nothing is known then.
        DependencyDown: the checkpoints cannot be read.
    """
    actor.require(Role.OPERATOR, "to check the audit log")
    try:
        async with asyncio.timeout(seconds_max):
            line = await outside.get(KEY)
            if line is None:
                raise Refused("no key lies beside the checkpoints yet", do="look again in a minute")
            head = await db.read_head(connection)
            sizes = sorted(await db.published_checkpoints(connection, max(0, head.size - ROWS_MAX)))
            since = sizes[0] if sizes and head.size > ROWS_MAX else 0
            report, _ = await verify_database(
                connection, outside, VerifierKey.parse(line.decode()), now=actor.now(), since_size=since,
                pace=_breathe,
            )  # fmt: skip
    except TimeoutError as error:
        raise Refused(f"it did not end within {seconds_max:g} s: nothing is known", do=WHOLE) from error
    except (BadKey, UnicodeDecodeError) as error:
        raise Refused("what lies beside the checkpoints is no key", do="see docs/RUNBOOK.md") from error
    except OutsideUnreadable as error:
        raise DependencyDown(f"the checkpoints cannot be read: {error}", do=WHOLE) from error
    return report


async def _breathe() -> None:
    """Other requests come first between two batches."""
    await asyncio.sleep(0)
