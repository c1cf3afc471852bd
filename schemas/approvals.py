"""What risk signs: the very order request that may leave, what its legs may be, and until when."""

from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from schemas.audit import sha256_hex
from schemas.base import DecimalText, Edge, UtcTime, Wire
from schemas.orders import Action, OrderRequest, OrderType, TimeInForce
from schemas.risk import Proposal

HASHED: Final = frozenset({
    "signal_id", "strategy", "ticker", "action", "order_type", "time_in_force", "quantity", "limit_price",
    "stop_price", "hard_stop_loss", "extended_hours", "created_at", "valid_until",
})  # fmt: skip
"""What of a signal risk and execution may both read. A field that comes later stays out of the hash."""


class ApprovedLeg(Edge):
    """What one order of a leg may be, whichever generation. Shares and US dollars a share."""

    ticker: str
    action: Action
    order_type: OrderType
    time_in_force: TimeInForce
    quantity_max: DecimalText
    """Of one order. What all of them may have left to sell or cover, rows say."""
    stop_price: DecimalText | None = None
    """Exactly this one. None: it has none."""
    collar_pct: DecimalText | None = None
    """How far its limit may lie beyond the far side of a fresh quote, in % of the mid. None: it has no limit."""
    extended_hours: Literal[False] = False


class ApprovalDocument(Edge):
    """An approval, whole. Its canonical JSON is what is signed and stored; nothing unknown may stand in it."""

    approval_id: UUID
    installation: UUID
    """The namespace that client order ids are made in."""
    account: str
    mode: str
    signal_id: str
    signal_hash: str
    """`signal_hash` of the signal as it was judged."""
    order_class: Literal["simple"] = "simple"
    entry: OrderRequest
    """What may leave, byte for byte."""
    worst_price: DecimalText
    hard_stop_loss: DecimalText | None = None
    stop: ApprovedLeg | None = None
    exit: ApprovedLeg | None = None
    """Both where there is a hard stop loss to keep."""
    limits_version: int
    kill_epoch: int
    approved_at: UtcTime
    expires_at: UtcTime
    """Of the entry: the last instant at which it may leave. Legs outlive it."""
    nonce: str
    key_id: str = ""


class SignedApproval(Wire):
    """As stored: the signature is over these very characters."""

    document: str
    signature: str
    """Ed25519, in hexadecimal."""
    key_id: str


class ApprovalFault(StrEnum):
    """Why an order does not leave, as its reason. A name once used keeps its meaning."""

    UNSIGNED = "APPROVAL_UNSIGNED"
    FORGED = "APPROVAL_FORGED"
    """The signature, or what was signed, is not that of this order."""
    KEY_UNKNOWN = "APPROVAL_KEY_UNKNOWN"
    """Never known here, or revoked."""
    KEY_RETIRED = "APPROVAL_KEY_RETIRED"
    """Good for the legs of what it approved earlier, not for an entry."""

    @property
    def user_message(self) -> str:
        """For whoever sent the signal."""
        return _MESSAGES[self]


_MESSAGES: Final = {
    ApprovalFault.UNSIGNED: "Not placed: its approval bears no signature of the risk manager.",
    ApprovalFault.FORGED: "Not placed: it is not what the risk manager signed. An operator has been alerted.",
    ApprovalFault.KEY_UNKNOWN: "Not placed: its approval is signed with a key that is not accepted here.",
    ApprovalFault.KEY_RETIRED: "Not placed: its approval is signed with a key that was retired.",
}


class ApprovalRefused(Exception):
    """The approval does not cover this order; the message says in which point."""

    def __init__(self, fault: ApprovalFault, why: str, *, is_ours: bool = False) -> None:
        """``is_ours``: an upgrade or a retired key is the cause, nobody's attack."""
        super().__init__(why)
        self.fault = fault
        self.is_ours = is_ours


def signal_hash(proposal: Proposal) -> str:
    """sha256 of what a signal asks, as far as it is judged: the same from the same row, whoever reads it."""
    return sha256_hex(proposal.model_dump(mode="json", include=set(HASHED)))
