"""How a reconciliation ended, in one report: its outcome, whether trading stops, and one line for people."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from risk.drift import stops_everything, trips
from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from schemas.reconciliation import BrokerState, Comparison, Finding, Outcome, Report
from storage.reconciliation import CORRELATION, Run

ALERT_SUBJECT: Final = "books"
FINDINGS_TOLD_MAX: Final = 200
"""Of one run, through Temporal, whose payloads have a limit."""


def report_of(
    run: Run, state: BrokerState, comparison: Comparison, *, opening: bool, booked: int, now: datetime
) -> Report:
    """The report of a run whose books agree now."""
    findings = joined(run.findings, comparison.findings)
    drift = max(run.drift, comparison.drift)
    killed = stops_everything(findings)
    outcome = Outcome.DRIFT if findings else Outcome.CLEAN
    if opening and not killed:
        # Nothing was known before: what the broker has is where the books begin.
        outcome, drift = Outcome.OPENED, Decimal(0)
    elif findings:
        killed = killed or trips(drift, state.equity)
    return Report(
        run_id=run.run_id,
        trigger=run.trigger,
        outcome=outcome,
        started_at=run.started_at,
        finished_at=now,
        findings=findings,
        drift=drift,
        equity=state.equity,
        left_out=comparison.left_out,
        booked=booked,
        killed=killed,
        detail=_detail(outcome, findings, state, killed=killed, left_out=comparison.left_out),
    )


def report_in_vain(run: Run, outcome: Outcome, detail: str, *, now: datetime) -> Report:
    """The report of a run that came to nothing, save for what it had adopted on its way."""
    killed = run.equity is not None and trips(run.drift, run.equity)
    return Report(
        run_id=run.run_id,
        trigger=run.trigger,
        outcome=outcome,
        started_at=run.started_at,
        finished_at=now,
        findings=run.findings,
        drift=run.drift,
        equity=run.equity,
        killed=killed,
        detail=detail,
    )


def in_vain(report: Report) -> Alert:
    """That our books could not be compared with the broker's. It ends with the next run that can."""
    return Alert(
        code=AlertCode.NOT_RECONCILED,
        severity=Severity.HIGH,
        subject=ALERT_SUBJECT,
        text=(
            f"our books could not be compared with the broker's ({report.detail}); they stay as they are, and "
            "orders wait once the last comparison is 15 minutes old"
        ),
        correlation_id=CORRELATION,
    )


def told(report: Report) -> Report:
    """What crosses Temporal: the first findings; the row has them all."""
    return report.model_copy(
        update={"findings": report.findings[:FINDINGS_TOLD_MAX], "found": len(report.findings)}
    )


def joined(earlier: Sequence[Finding], later: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each difference once."""
    found = {finding.identity: finding for finding in (*earlier, *later)}
    return tuple(found.values())


def _detail(
    outcome: Outcome, findings: tuple[Finding, ...], state: BrokerState, *, killed: bool, left_out: int
) -> str:
    if outcome is Outcome.CLEAN and left_out:
        return f"nothing is wrong in what can be judged; {left_out} too young: ask again in a minute"
    if outcome is Outcome.CLEAN:
        return "the books agree"
    if outcome is Outcome.OPENED:
        return f"{len(state.holdings)} positions and ${decimal_text(state.cash)} of cash taken over"
    kinds = sorted({finding.kind.value for finding in findings})
    text = f"{len(findings)} differences ({', '.join(kinds)})"
    if killed:
        text += "; new orders are stopped: check the account at the broker, then `trading release`"
    return text
