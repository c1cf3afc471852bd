"""The kill switch: its row, its commands, the signed grant that releases it."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from schemas.base import UtcTime, Wire, storable

AUDIT_FAILED: Final = "AUDIT_FAILED"
"""How the reason of an activation begins that the audit log has asked for: it was found changed, or rolled back."""


class KillScope(StrEnum):
    ALL = "all"
    RISK_ADDING = "risk_adding"
    """Keeps protective stops."""


class OrderFate(StrEnum):
    """What a sweep found out about one order."""

    CANCELED = "cancelled"
    FILLED = "filled"
    PENDING = "pending"
    UNKNOWN = "unknown"

    @property
    def is_end(self) -> bool:
        """The broker has shown that it cannot execute any more."""
        return self in (OrderFate.CANCELED, OrderFate.FILLED)


class KillCommand(Wire):
    """One activation. Whatever arrived is an activation; what was missing got these defaults."""

    reason: str = "no reason given"
    triggered_by: str = "raw signal"
    scope: KillScope = KillScope.ALL
    misspelt_name: str | None = None
    """The signal's name where it was not ``activate``."""
    request_id: str | None = None
    """Who writes the row first and signals second gives both the same, so that they are one activation."""


class KillState(Wire):
    """The switch as it stands."""

    engaged: bool
    epoch: int
    """Grows at each activation and each release."""
    scope: KillScope = KillScope.ALL
    reason: str | None = None
    triggered_by: str | None = None
    changed_at: UtcTime | None = None
    request_id: str | None = None
    """Of the newest activation."""
    swept_at: UtcTime | None = None
    sweep_confirmed: bool = True
    """The broker has confirmed the end of every order the sweep had to cancel."""
    fates: dict[str, OrderFate] = {}
    waiting_for: tuple[str, ...] = ()
    """client_order_ids of POSTs still unanswered."""
    unprotected: tuple[str, ...] = ()
    """Tickers held at the broker without a stop for all of it, as the last sweep saw them."""


class KillCarried(Wire):
    """What the kill-switch workflow carries into its next run."""

    state: KillState | None = None
    sweep_wanted: bool = False
    """An activation's sweep has not begun."""
    orders: tuple["KillOrder", ...] = ()
    """Activations that came when the last run was about to end: written first of all."""
    notes: tuple["KillNote", ...] = ()
    """Tries that the last run had not audited yet."""


class KillOrder(Wire):
    """Input of ``engage-kill-switch``: one activation."""

    command: KillCommand
    as_of: UtcTime
    request_id: str
    """Names the signal that asked, in the audit log."""


class KillQuestion(Wire):
    """Input of the sweep and of reading the switch."""

    as_of: UtcTime


class KillNote(Wire):
    """Input of ``note-kill-switch-attempt``: a try that changes nothing, for the audit log."""

    decision: str
    detail: str
    actor: str
    as_of: UtcTime


class ReleaseOrder(Wire):
    """Input of ``release-kill-switch``."""

    grant: "ReleaseGrant"
    as_of: UtcTime


class ReleaseGrant(Wire):
    """A person's signed word that trading may go on. Ed25519 over the canonical JSON without ``signature``."""

    account: str
    epoch: int
    """The epoch of the activation it releases: a later activation makes it void."""
    nonce: Annotated[str, Field(min_length=16, max_length=64)]
    expires_at: UtcTime
    person: Annotated[str, Field(min_length=1, max_length=100)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    unknown_orders: tuple[str, ...] = ()
    """client_order_ids whose outcome is unknown and that this person accepts as such."""
    key_id: str
    signature: str
    """Hex."""

    @property
    def is_storable(self) -> bool:
        """False where a text of it can be stored nowhere: storing it would be tried for ever."""
        texts = (self.account, self.nonce, self.person, self.reason, self.key_id, self.signature)
        return all(storable(each) == each for each in (*texts, *self.unknown_orders))


class ReleaseAnswer(Wire):
    released: bool
    message: str
    state: KillState
