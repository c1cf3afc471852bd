"""The alert about what a reconciliation found: one for the run, however many differences it has."""

import hashlib
from typing import Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from schemas.reconciliation import Finding, Outcome, Report
from storage.reconciliation import CORRELATION

NAMED_MAX: Final = 4
TOLD_MAX: Final = 5
FINDING_CHARACTERS_MAX: Final = 200
DIGEST_CHARACTERS: Final = 8


def drift_alert(report: Report) -> Alert | None:
    """None where nothing drifted. What was taken over at the very first start did not.

    The subject is what drifts: the same differences again are the same alert, another one is news.
    """
    if not report.findings or report.outcome is Outcome.OPENED:
        return None
    share = "" if report.drift_pct is None else f", {decimal_text(report.drift_pct)} % of equity"
    first = "; ".join(_told(finding) for finding in report.findings[:TOLD_MAX])
    more = len(report.findings) - TOLD_MAX
    text = (
        f"{report.detail}. Drift ${decimal_text(report.drift)}{share}. {first}"
        f"{f'; and {more} more' if more > 0 else ''}. Each one: `trading reconcile`, run {report.run_id}"
    )
    return Alert(
        code=AlertCode.STATE_DRIFT,
        severity=Severity.CRITICAL if report.killed else Severity.HIGH,
        subject=_subject(report.findings),
        text=text,
        correlation_id=CORRELATION,
    )


def _told(finding: Finding) -> str:
    text = f"{finding.kind.value}: {finding.detail}"
    return text if len(text) <= FINDING_CHARACTERS_MAX else f"{text[: FINDING_CHARACTERS_MAX - 1]}…"


def _subject(findings: tuple[Finding, ...]) -> str:
    """``AAPL, $CASH #1f3a9c02``: names for people, and a digest of every difference with its size."""
    names = sorted({finding.ticker or finding.subject for finding in findings})
    more = len(names) - NAMED_MAX
    shown = ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    parts = sorted(
        f"{kind}|{subject}|{'' if size is None else decimal_text(size)}"
        for kind, subject, size in (finding.identity for finding in findings)
    )
    return f"{shown} #{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:DIGEST_CHARACTERS]}"
