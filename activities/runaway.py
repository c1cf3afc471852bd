"""What risk does about a runaway, in the transaction of the decision that found it."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from risk.runaway import runaway
from schemas.conduct import KillRequest, StrategyStop
from schemas.risk import Proposal, RiskFacts, RiskVerdict
from storage import conduct as rows

if TYPE_CHECKING:
    from storage.database import Connection

COMPONENT: Final = "RiskManager"


async def stop_runaway(
    connection: "Connection",
    proposal: Proposal,
    verdict: RiskVerdict,
    facts: RiskFacts,
    *,
    kill_epoch: int,
    now: datetime,
) -> None:
    """Disable the strategy, with its alert, and ask for the kill switch, where one refusal too many says so.

    Nothing for most refusals. The account is locked: it asks for the switch and leaves engaging it to others.
    """
    found = runaway(verdict, facts.conduct, facts.limits)
    evidence = {"signal_id": proposal.signal_id, "conduct": facts.conduct.model_dump(mode="json")}
    if found.strategy is not None:
        stop = StrategyStop(
            strategy=proposal.strategy,
            since=now,
            cause=found.strategy,
            reason=found.strategy_reason,
            stopped_by=COMPONENT,
        )
        await rows.stop_strategy(
            connection, stop, component=COMPONENT, evidence=evidence, correlation_id=proposal.signal_id
        )
    if found.account_reason is not None:
        request = KillRequest(
            # One for each time the switch is released: more refusals of the same burst ask for nothing more.
            request_id=f"runaway-{kill_epoch}",
            reason=f"RUNAWAY_RATE: {found.account_reason}",
            triggered_by=COMPONENT,
        )
        await rows.ask_for_kill(connection, request, component=COMPONENT, now=now, evidence=evidence)
