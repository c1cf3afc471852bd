"""Compare our books with the broker's now; check the audit log now."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from audit.check.findings import Report
from console.acts.audit import ROWS_MAX, SECONDS_MAX, verify_newest
from console.acts.reconcile import start_reconciliation, wait_for
from console.errors import DependencyDown
from console.web.access import Operator, Person
from console.web.acting import actor_of, show, temporal_of, text_of, told
from console.web.deps import Deps
from console.web.problems import Code, WebError, refused

router = APIRouter()

WAIT_SECONDS: Final = 20.0
"""A run takes a few seconds; one that takes longer goes on by itself."""
BACK: Final = "/reconciliation"
_verifying: Final = asyncio.Lock()
"""One check at a time in this process: it reads much."""


@router.get("/acts/reconcile")
async def ask_reconcile(request: Request, person: Operator) -> Response:
    """The form."""
    return show(request, "reconcile", person)


@router.post("/acts/reconcile")
async def reconcile(request: Request, deps: Deps, person: Operator) -> Response:
    """Start a run, or join the one that a person started before, and wait for it a while."""
    client = temporal_of(deps)
    with told():
        handle = await start_reconciliation(client, person.name)
    try:
        report = await wait_for(handle, WAIT_SECONDS)
        lines = [f"{report.outcome.value}: {report.detail}", f"{len(report.findings)} differences"]
    except DependencyDown as error:
        lines = [f"NOT KNOWN YET: {text_of(error)}"]
    return show(request, "done", person, title="Reconciliation", lines=lines, back=BACK)


@router.get("/acts/audit")
async def ask_verify(request: Request, person: Operator) -> Response:
    """The form."""
    return _verified(request, person, None)


@router.post("/acts/audit")
async def verify(request: Request, deps: Deps, person: Operator) -> Response:
    """Hash the newest rows anew; one check at a time."""
    if deps.outside is None:
        raise refused("this console was not told where the checkpoints are: `trading audit verify` is")
    if _verifying.locked():
        raise WebError(409, Code.BUSY, "somebody has begun a check just now: wait for it")
    async with _verifying, deps.database.connection() as connection:
        with told():
            report = await verify_newest(connection, deps.outside, actor_of(person, deps))
    return _verified(request, person, report)


def _verified(request: Request, person: Person, report: Report | None) -> Response:
    return show(request, "verify", person, report=report, rows_max=ROWS_MAX, seconds_max=int(SECONDS_MAX))
