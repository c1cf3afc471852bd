"""Compare our books with the broker's now."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.acts.reconcile import start_reconciliation, wait_for
from console.errors import DependencyDown
from console.web.access import Operator
from console.web.acting import show, temporal_of, text_of, told
from console.web.deps import Deps

router = APIRouter()

WAIT_SECONDS: Final = 20.0
"""A run takes a few seconds; one that takes longer goes on by itself."""
BACK: Final = "/reconciliation"


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
