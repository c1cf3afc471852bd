"""Everything that a person may do here, in one place."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.web.access import Operator
from console.web.acting import show
from schemas.people import Role

router = APIRouter()

ACTS: Final = (
    ("/acts/kill", "Stop everything", "Engage the kill switch, at once.", Role.OPERATOR),
    ("/acts/release", "Let trading go on", "Release the kill switch.", Role.ADMIN),
    ("/acts/locks", "Lock a ticker", "Nothing new is opened in it; closes pass.", Role.OPERATOR),
    ("/acts/close", "Close positions", "One or all, by ordinary closing signals.", Role.RISK),
    ("/acts/limits", "Limits", "Lower, raise, raise for a while; every version.", Role.OPERATOR),
    ("/acts/approvals", "Second person", "What waits for another person's decision.", Role.OPERATOR),
    ("/acts/strategies", "Strategies", "Disable one, or let it trade again.", Role.OPERATOR),
    ("/acts/alerts", "Alerts", "Seen, silenced, cleared.", Role.OPERATOR),
    ("/acts/audit", "Check the audit log", "Its newest rows against what was sealed outside.", Role.OPERATOR),
    ("/acts/tokens", "Strategies' tokens", "Make, look at, revoke.", Role.OPERATOR),
    ("/acts/live", "Live trading", "Two Admins grant it; one person ends it.", Role.OPERATOR),
    ("/acts/reconcile", "Reconcile now", "Compare our books with the broker's.", Role.OPERATOR),
)
"""Where, what, in a few words, and who may."""


@router.get("/acts")
async def show_acts(request: Request, person: Operator) -> Response:
    """Links to each act that this person may do."""
    acts = [(at, title, text) for at, title, text, role in ACTS if person.may(role)]
    return show(request, "index", person, acts=acts)
