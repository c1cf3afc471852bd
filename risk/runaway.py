"""When a strategy, or the whole account, is taken for a runaway: one refusal, and what went before it."""

from dataclasses import dataclass

from schemas.conduct import Conduct, StopCause
from schemas.risk import CheckName, Limits, RiskVerdict

# How often within 60 s the rate's limit must refuse until it is a runaway: more often than it lets pass. A strategy
# that sends twice what it may in one minute is disabled; one that is a little too fast is only slowed down.


@dataclass(frozen=True, slots=True)
class Runaway:
    """What must be stopped, and why; None: nothing of it."""

    strategy: StopCause | None = None
    strategy_reason: str = ""
    account_reason: str | None = None
    """Why the kill switch must be engaged."""


def runaway(verdict: RiskVerdict, conduct: Conduct, limits: Limits) -> Runaway:
    """Judge one refused decision. Pure, as the checks are.

    While the kill switch is engaged nothing runs, so nothing runs away. Who is disabled already stays so, for the
    first reason.
    """
    failed = {check.name: check for check in verdict.checks if not check.passed}
    if CheckName.KILL_SWITCH in failed:
        return Runaway()
    cause, reason = None, ""
    if conduct.stopped is None:
        refusals = conduct.strategy_rate_refusals + 1
        if CheckName.REPEATED_EXECUTIONS in failed:
            cause, reason = StopCause.REPEATED_EXECUTIONS, failed[CheckName.REPEATED_EXECUTIONS].formula
        elif (
            CheckName.STRATEGY_ORDER_RATE in failed
            and (allowed := limits.max_strategy_orders_per_minute) < refusals
        ):
            cause = StopCause.RUNAWAY_RATE
            reason = f"{refusals} of its signals refused for their rate in 60 s > {allowed}"
    account = None
    if CheckName.ORDER_RATE in failed and (most := limits.max_orders_per_minute) < conduct.rate_refusals + 1:
        account = f"{conduct.rate_refusals + 1} signals refused for the account's rate in 60 s > {most}"
    return Runaway(cause, reason, account)
