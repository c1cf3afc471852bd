"""The risk manager: one decision per signal, made under the account lock and kept for ever."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from temporalio import activity

from activities.approvals import Signer, approval_of
from activities.failures import try_again
from activities.runaway import stop_runaway
from activities.telling import tell_of_refusal
from observability.metrics import SignalOutcome
from risk.clock import is_too_old
from risk.constants import QUOTE_AGE_MAX
from risk.limits import assess
from risk.messages import user_message
from schemas import wire
from schemas.clock import no_fault
from schemas.market import Provider, Quote
from schemas.orders import OrderStatus
from schemas.risk import (
    Assessment,
    AssessmentKind,
    CheckName,
    CheckResult,
    Proposal,
    RiskFacts,
    RiskVerdict,
)
from schemas.runs import RiskQuestion
from storage import risk as rows
from storage.conduct import read_conduct
from storage.limits import LimitsMissing
from storage.market import read_quote
from storage.orders import LockedOrder, StoredOrder, lock_order
from storage.switches import Installation

if TYPE_CHECKING:
    from market.clock import MarketClock
    from observability.metrics import Metrics
    from storage.database import Connection, Database

RESERVATION_LAPSE: Final = timedelta(seconds=60)
"""Room that an approval holds without an intent is given back after this."""
SNAPSHOT_AGE_MAX: Final = timedelta(seconds=60)
REFRESHES_MAX: Final = 2
CLOCK_SKEW: Final = "CLOCK_SKEW"
CLOCK_PAUSE: Final = timedelta(seconds=5)


@dataclass(frozen=True)
class _Basis:
    """What one decision is made from."""

    proposal: Proposal
    facts: RiskFacts
    limits_version: int
    kill_epoch: int
    snapshot_is_fresh: bool
    as_signalled: bool
    installation: Installation


@dataclass(frozen=True)
class _Decided:
    """The answer; of a new refusal also what it was computed from."""

    assessment: Assessment
    refused: StoredOrder | None = None
    checks: tuple[CheckResult, ...] = ()


class RiskActivities:
    """Decides from rows only: no network call while the account is locked."""

    def __init__(
        self,
        database: "Database",
        clock: "MarketClock",
        metrics: "Metrics",
        *,
        now: Callable[[], datetime],
        signer: Signer,
        clock_fault: Callable[[], str | None] = no_fault,
    ) -> None:
        """``clock_fault``: why this process may judge no times now."""
        self._clock_fault = clock_fault
        self._database = database
        self._now = now
        self._signer = signer
        self._clock = clock
        self._metrics = metrics

    @activity.defn(name=wire.ACTIVITY_ASSESS_RISK)
    async def assess_risk(self, question: RiskQuestion) -> Assessment:
        """Approve or reject one signal, or say what must be fetched first.

        Idempotent: the decision is unique by (signal, leg, generation); a second call answers the stored
        one. An order that is past risk is answered ``BEYOND``, with its row.

        Raises:
            SignalNotFound: there is no such row, so nothing to decide (a hand-started workflow).
            LimitsMissing: no limits are set.
            NotBound: execution has not told yet which account this is.
            ApplicationError: type CLOCK_SKEW, this machine's clock is wrong: nothing was judged, ask again.
        """
        if (fault := self._clock_fault()) is not None:
            raise try_again(CLOCK_SKEW, fault, CLOCK_PAUSE)
        await self._clock.ensure_reading()
        decided = await self._database.run(
            "risk.decided", lambda connection: self._decide(connection, question)
        )
        self._count(decided.assessment)
        if decided.refused is not None:
            tell_of_refusal("risk refused", decided.refused, decided.assessment.reasons, decided.checks)
        return decided.assessment

    def _count(self, assessment: Assessment) -> None:
        if assessment.kind is AssessmentKind.APPROVED:
            self._metrics.signal_decided(SignalOutcome.APPROVED)
        elif assessment.kind is AssessmentKind.REJECTED:
            reason = assessment.reasons[0] if assessment.reasons else None
            self._metrics.signal_decided(SignalOutcome.REJECTED, reason=reason)

    async def _decide(self, connection: "Connection", question: RiskQuestion) -> _Decided:
        now = self._clock.instant(question.as_of)
        await rows.lock_account(connection)
        locked = await lock_order(connection, question.signal_id)
        order = locked.order
        if order.status is not OrderStatus.CREATED or order.client_order_id is not None:
            return _Decided(Assessment(kind=AssessmentKind.BEYOND, order=order.view))
        if order.row_version > 1:
            stored = await rows.read_decision(connection, question.signal_id)
            if stored is not None:
                return _Decided(_stored_answer(stored, order))
        found = await self._basis(locked, question, now)
        if isinstance(found, AssessmentKind):
            return _Decided(Assessment(kind=found, order=locked.order.view))
        return await self._conclude(locked, found, now)

    async def _basis(
        self, locked: LockedOrder, question: RiskQuestion, now: datetime
    ) -> _Basis | AssessmentKind:
        """Everything read under the lock, or what is missing for it."""
        connection = locked.connection
        wall = self._now()
        row = await rows.read_facts(connection, question.signal_id, now, wall=wall)
        if row.some_lapsed:
            await rows.lapse_reservations(connection, wall)
            row = await rows.read_facts(connection, question.signal_id, now, wall=wall)
        if row.limits is None or row.limits_version is None:
            raise LimitsMissing
        if row.installation.account is None:
            raise rows.NotBound("the database is not bound to an account yet: execution does it at its start")
        last_try = question.refreshes >= REFRESHES_MAX
        market_now = self._clock.at(now)
        quote = await self._quote(connection, row, market_now)
        if not last_try and not _is_fresh(quote, market_now):
            return AssessmentKind.NEEDS_QUOTE
        snapshot_is_fresh = row.snapshot_at is not None and not is_too_old(
            row.snapshot_at, now, SNAPSHOT_AGE_MAX
        )
        if not last_try and not snapshot_is_fresh:
            return AssessmentKind.NEEDS_SNAPSHOT
        if quote is not None:
            age = market_now - quote.quoted_at
            self._metrics.quote_checked(quote.provider.value, age.total_seconds())
        # Before the positions: an order that fills between the two readings is then seen twice, never not at all.
        working = await rows.read_working(connection, row.proposal.ticker)
        facts = RiskFacts(
            now=now,
            market_now=market_now,
            equity=row.equity or Decimal(0),
            buying_power=(row.buying_power or Decimal(0)) - row.spent,
            quote=quote,
            exposures=await rows.read_exposures(connection),
            working=working,
            kill_engaged=row.kill_engaged,
            kill_reason=row.kill_reason,
            received_at=row.received_at,
            kill_changed_at=row.kill_changed_at,
            unknown_outcomes=row.unknown_outcomes,
            limits=row.limits,
            conduct=await read_conduct(connection, question.signal_id, row.limits, now=now),
            limit_sources=row.limit_sources,
            snapshot_at=row.snapshot_at,
            funds_refusal=row.funds_refusal,
            locks=row.locks,
        )
        return _Basis(
            row.proposal,
            facts,
            row.limits_version,
            row.kill_epoch,
            snapshot_is_fresh,
            row.as_signalled,
            row.installation,
        )

    async def _quote(
        self, connection: "Connection", row: rows.FactsRow, market_now: datetime
    ) -> Quote | None:
        """The primary's quote, or the secondary's where only that is fresh."""
        if _is_fresh(row.quote, market_now):
            return row.quote
        secondary = await read_quote(connection, row.proposal.ticker, Provider.SECONDARY)
        return secondary if _is_fresh(secondary, market_now) else row.quote or secondary

    async def _conclude(self, locked: LockedOrder, basis: _Basis, now: datetime) -> _Decided:
        verdict = assess(basis.proposal, basis.facts)
        # A close needs no account: it must not be refused because the broker cannot be asked for it.
        if not basis.snapshot_is_fresh and basis.proposal.action.opens:
            verdict = _with_failed(verdict, _stale_snapshot(now))
        if not basis.as_signalled:
            verdict = _with_failed(verdict, _not_as_signalled(locked.order, basis.proposal))
        if not verdict.approved:
            message = user_message(verdict.checks)
            order = await rows.write_rejection(
                locked,
                basis.proposal,
                verdict,
                limits_version=basis.limits_version,
                kill_epoch=basis.kill_epoch,
                now=now,
                user_message=message,
            )
            await stop_runaway(
                locked.connection, basis.proposal, verdict, basis.facts, kill_epoch=basis.kill_epoch, now=now
            )
            reasons = tuple(reason.value for reason in verdict.reasons)
            answer = Assessment(
                kind=AssessmentKind.REJECTED, order=order.view, reasons=reasons, user_message=message
            )
            return _Decided(answer, order, verdict.checks)
        approval = self._sign(locked, basis, verdict, now)
        order = await rows.write_approval(locked, basis.proposal, verdict, approval)
        return _Decided(
            Assessment(
                kind=AssessmentKind.APPROVED,
                order=order.view,
                approval_id=approval.approval_id,
                approved_at=now,
                expires_at=approval.expires_at,
            )
        )

    def _sign(self, locked: LockedOrder, basis: _Basis, verdict: RiskVerdict, now: datetime) -> rows.Approval:
        """Pure arithmetic of a tenth of a millisecond: the account lock is hardly held longer for it."""
        document = approval_of(
            locked.order,
            basis.proposal,
            verdict,
            basis.installation,
            approval_id=uuid4(),
            collar_pct=basis.facts.limits.price_collar_pct,
            limits_version=basis.limits_version,
            kill_epoch=basis.kill_epoch,
            now=now,
        )
        return rows.Approval(
            approval_id=document.approval_id,
            approved_at=now,
            expires_at=document.expires_at,
            reservation_lapses_at=now + RESERVATION_LAPSE,
            limits_version=basis.limits_version,
            kill_epoch=basis.kill_epoch,
            signed=self._signer.sign(document),
        )


def _stored_answer(stored: rows.StoredDecision, order: StoredOrder) -> Assessment:
    if not stored.approved:
        return Assessment(
            kind=AssessmentKind.REJECTED,
            order=order.view,
            reasons=stored.reasons,
            user_message=stored.user_message,
        )
    return Assessment(
        kind=AssessmentKind.APPROVED,
        order=order.view,
        approval_id=stored.approval_id,
        approved_at=stored.decided_at,
        expires_at=stored.expires_at,
    )


def _is_fresh(quote: Quote | None, market_now: datetime) -> bool:
    return quote is not None and not is_too_old(quote.quoted_at, market_now, QUOTE_AGE_MAX)


def _stale_snapshot(now: datetime) -> CheckResult:
    return CheckResult(
        name=CheckName.ACCOUNT_SNAPSHOT,
        passed=False,
        value="stale",
        limit=f"≤ {SNAPSHOT_AGE_MAX.total_seconds():g} s",
        formula=f"no account snapshot of the last {SNAPSHOT_AGE_MAX.total_seconds():g} s at {now.isoformat()}",
    )


def _not_as_signalled(order: StoredOrder, proposal: Proposal) -> CheckResult:
    """What is approved would not be what goes out: one of the two rows was not written by our gateway's code."""
    ordered = f"{order.action.value} {order.ticker} {order.order_type.value} for {order.strategy}"
    signalled = (
        f"{proposal.action.value} {proposal.ticker} {proposal.order_type.value} for {proposal.strategy}"
    )
    return CheckResult(
        name=CheckName.ORDER_AS_SIGNAL,
        passed=False,
        value=ordered,
        limit=signalled,
        formula=f"the order row says {ordered}, the signal row {signalled}: they must be equal in every term",
    )


def _with_failed(verdict: RiskVerdict, check: CheckResult) -> RiskVerdict:
    return verdict.model_copy(update={"approved": False, "checks": (*verdict.checks, check)})
