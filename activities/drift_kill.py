"""The kill switch engaged for a reconciliation: decided with its run, carried out after it, once."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.kill import KillCommand
from storage import reconciliation as rows
from storage.switches import engage

if TYPE_CHECKING:
    from storage.database import Connection

COMPONENT: Final = "DriftMonitor"


async def carry_out_kill(connection: "Connection", run_id: str, now: datetime) -> bool:
    """Engage the kill switch for a run, once: a release must not be undone by a repeat. In its own transaction."""
    if not await rows.take_kill(connection, run_id):
        return False
    run = await rows.read_run(connection, run_id)
    assert run.report is not None, "only a finished run kills"
    command = KillCommand(reason=f"STATE_DRIFT: {run.report.detail}", triggered_by=COMPONENT)
    await engage(connection, command, request_id=f"drift-{run_id}", now=now, component=COMPONENT)
    return True
