"""What an approval covers: risk writes it down, execution holds what is about to leave against it."""

import json
import secrets
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from pydantic import ValidationError

from activities.requests import canonical_request
from risk.constants import APPROVAL_AGE_MAX
from schemas.alerts import Alert, AlertCode, Severity
from schemas.approvals import (
    ApprovalDocument,
    ApprovalFault,
    ApprovalRefused,
    ApprovedLeg,
    SignedApproval,
    signal_hash,
)
from schemas.audit import canonical_json
from schemas.orders import Action, OrderRequest, OrderType, TimeInForce
from schemas.risk import Proposal, RiskVerdict
from schemas.wire import Leg, client_order_id
from storage.alerts import raise_alert
from storage.orders import LockedOrder, StoredOrder
from storage.placement import PlacementBasis
from storage.switches import Installation

NONCE_BYTES: Final = 16


class Signer(Protocol):
    """`security.approvals.ApprovalSigner`: risk holds it, and nobody else."""

    def sign(self, document: ApprovalDocument) -> SignedApproval: ...


class Keys(Protocol):
    """`security.approvals.ApprovalKeys`: what execution trusts."""

    @property
    def unsigned_before(self) -> datetime | None: ...

    def verify(self, signed: SignedApproval, leg: Leg) -> ApprovalDocument: ...


def approval_of(
    order: StoredOrder,
    proposal: Proposal,
    verdict: RiskVerdict,
    installation: Installation,
    *,
    approval_id: UUID,
    collar_pct: Decimal,
    limits_version: int,
    kill_epoch: int,
    now: datetime,
) -> ApprovalDocument:
    """All that may leave because of this verdict. ``collar_pct``: the limit on prices that its exit keeps to."""
    assert installation.account is not None, "asked before"
    assert installation.mode is not None, "bound with the account"
    approved = order.model_copy(update={"quantity": verdict.quantity, "limit_price": verdict.limit_price})
    own_id = client_order_id(
        installation.namespace, installation.account, order.signal_id, order.leg, order.generation
    )
    stop, leave = _legs(proposal, verdict.quantity, collar_pct)
    return ApprovalDocument(
        approval_id=approval_id,
        installation=installation.namespace,
        account=installation.account,
        mode=installation.mode,
        signal_id=order.signal_id,
        signal_hash=signal_hash(proposal),
        entry=canonical_request(approved, own_id),
        worst_price=verdict.worst_price,
        hard_stop_loss=proposal.hard_stop_loss,
        stop=stop,
        exit=leave,
        limits_version=limits_version,
        kill_epoch=kill_epoch,
        approved_at=now,
        expires_at=now + APPROVAL_AGE_MAX,
        nonce=secrets.token_hex(NONCE_BYTES),
    )


def _legs(
    proposal: Proposal, quantity: Decimal, collar_pct: Decimal
) -> tuple[ApprovedLeg, ApprovedLeg] | tuple[None, None]:
    """The stop and the exit of shares that an entry with a hard stop loss may fill."""
    if proposal.hard_stop_loss is None or not proposal.action.opens:
        return None, None
    closes = Action.SELL_TO_CLOSE if proposal.action is Action.BUY_TO_OPEN else Action.BUY_TO_CLOSE
    stop = ApprovedLeg(
        ticker=proposal.ticker,
        action=closes,
        order_type=OrderType.STOP,
        time_in_force=TimeInForce.GTC,
        quantity_max=quantity,
        stop_price=proposal.hard_stop_loss,
    )
    leave = ApprovedLeg(
        ticker=proposal.ticker,
        action=closes,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        quantity_max=quantity,
        collar_pct=collar_pct,
    )
    return stop, leave


def exit_collar(document: str | None) -> Decimal | None:
    """What a stored approval says of the exit's collar; None where it says nothing. Not verified by this."""
    if document is None:
        return None
    try:
        found = ApprovalDocument.model_validate_json(document)
    except ValidationError:
        return None
    return None if found.exit is None else found.exit.collar_pct


def verify(
    locked: LockedOrder, basis: PlacementBasis, request: OrderRequest, keys: Keys, installation: Installation
) -> None:
    """Return if ``request`` is what risk signed for this order. Epoch and expiry rows have said; here only
    that the rows say what was signed.

    Raises:
        ApprovalRefused: with the fault.
    """
    order = locked.order
    if basis.approval is None or basis.approval_signature is None or basis.approval_key_id is None:
        before, decided_at = keys.unsigned_before, basis.decided_at
        is_older = before is not None and decided_at is not None and decided_at < before
        if is_older and order.leg is not Leg.ENTRY:
            return  # What an earlier release approved keeps its stop: rows alone have said that it may leave.
        raise ApprovalRefused(ApprovalFault.UNSIGNED, "the approval bears no signature", is_ours=is_older)
    signed = SignedApproval(
        document=basis.approval, signature=basis.approval_signature, key_id=basis.approval_key_id
    )
    document = keys.verify(signed, order.leg)
    wrong = _whose(document, order, basis, installation)
    if order.leg is Leg.ENTRY:
        wrong = wrong or _entry_difference(document, signed.document, request, basis)
    else:
        wrong = wrong or _leg_difference(document, order.leg, request)
    if wrong is not None:
        raise ApprovalRefused(ApprovalFault.FORGED, wrong)


def _whose(
    document: ApprovalDocument, order: StoredOrder, basis: PlacementBasis, installation: Installation
) -> str | None:
    """In which point an approval is another order's, or another installation's."""
    pairs = (
        ("approval", document.approval_id, basis.approval_id),
        ("signal", document.signal_id, order.signal_id),
        ("installation", document.installation, installation.namespace),
        ("account", document.account, installation.account),
        ("mode", document.mode, installation.mode),
    )
    return _first(pairs)


def _entry_difference(
    document: ApprovalDocument, text: str, request: OrderRequest, basis: PlacementBasis
) -> str | None:
    """In which point the rows of an entry are not what was signed."""
    # As they were written, so that nothing is passed over that this release does not know.
    signed: dict[str, object] = json.loads(text)["entry"]
    sent: dict[str, object] = json.loads(canonical_json(request))
    terms = tuple((name, signed.get(name), sent.get(name)) for name in sorted({*signed, *sent}))
    pairs = (
        *terms,
        ("order", canonical_json(signed), canonical_json(sent)),
        ("signal's content", document.signal_hash, basis.signal_hash),
        ("quantity", document.entry.quantity, basis.approved_quantity),
        ("worst price", document.worst_price, basis.approved_price),
        ("hard stop loss", document.hard_stop_loss, basis.approved_stop),
        ("version of limits", document.limits_version, basis.limits_version),
        ("kill switch epoch", document.kill_epoch, basis.approved_epoch),
        ("time", document.approved_at, basis.decided_at),
        ("expiry", document.expires_at, basis.expires_at),
    )
    return _first(pairs)


def _leg_difference(document: ApprovalDocument, leg: Leg, request: OrderRequest) -> str | None:
    """In which point a leg is not what was signed; how many shares are left for it, rows say."""
    approved = document.stop if leg is Leg.STOP else document.exit
    if approved is None:
        return f"no {leg.value} was approved"
    if request.quantity > approved.quantity_max:
        return f"quantity: at most {approved.quantity_max} approved, {request.quantity} asked"
    pairs = (
        ("ticker", approved.ticker, request.ticker),
        ("action", approved.action, request.action),
        ("type", approved.order_type, request.order_type),
        ("time in force", approved.time_in_force, request.time_in_force),
        ("stop price", approved.stop_price, request.stop_price),
        ("a limit", approved.collar_pct is not None, request.limit_price is not None),
        ("extended hours", approved.extended_hours, request.extended_hours),
    )
    return _first(pairs)


def _first(pairs: tuple[tuple[str, object, object], ...]) -> str | None:
    return next(
        (f"{name}: approved {signed}, found {found}" for name, signed, found in pairs if signed != found),
        None,
    )


async def tell(locked: LockedOrder, refused: ApprovalRefused, *, component: str, now: datetime) -> None:
    """Wake somebody, in the transaction that refuses the order: it was not our risk manager that wrote this."""
    if refused.is_ours:
        return
    order = locked.order
    alert = Alert(
        code=AlertCode.APPROVAL_FORGED,
        severity=Severity.CRITICAL,
        subject=order.signal_id,
        text=(
            f"{order.leg.value} {order.generation} of {order.signal_id} was not sent: {refused}. Unless keys were "
            "changed just now, somebody has written into the database: engage the kill switch and see RUNBOOK.md"
        ),
        correlation_id=order.signal_id,
    )
    await raise_alert(locked.connection, alert, component=component, now=now)
