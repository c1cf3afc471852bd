"""Every name that outlives a refactoring: queues, workflow ids, activity, signal and topic names, order ids.

Histories, rows and other processes hold these texts. Change none; add new ones.
"""

import uuid
from enum import StrEnum
from typing import Final


class Queue(StrEnum):
    """Temporal task queues. ``TRADING`` is the compact topology: every role on one queue."""

    TRADING = "trading"
    ORDERS = "orders"
    RISK = "risk"
    EXECUTION = "execution"
    OPERATIONS = "operations"
    KILL_SWITCH = "kill-switch"


NAMESPACE: Final = "trading"

WORKFLOW_ORDER: Final = "order"
WORKFLOW_KILL_SWITCH: Final = "kill-switch"
WORKFLOW_TRADE_UPDATES: Final = "trade-updates"
WORKFLOW_RECONCILIATION: Final = "reconciliation"
WORKFLOW_PROTECT: Final = "protect"
WORKFLOW_RETENTION: Final = "audit-retention"
WORKFLOW_AUDIT_RESTORE: Final = "audit-restore"
WORKFLOW_AUDIT_DROP: Final = "audit-drop"

ID_KILL_SWITCH: Final = "kill-switch"
ID_TRADE_UPDATES: Final = "trade-updates"
ID_RECONCILE_DUE: Final = "reconcile-due"
"""Started by the operations role whenever placing waits for it."""
ID_RECONCILE_NOW: Final = "reconcile-now"
"""Started by a person."""
SCHEDULE_RECONCILIATION: Final = "reconciliation"
RECONCILE_BY_SCHEDULE: Final = "schedule"
"""The trigger of a run that the Schedule has started."""
SCHEDULE_RETENTION: Final = "audit-retention"

SIGNAL_ORDER_UPDATED: Final = "order-updated"
SIGNAL_LOOK_AGAIN: Final = "look-again"
"""To a protection: what its signal's ticker holds, or has working, has changed."""
SIGNAL_NEXT_BUILD: Final = "next-build"
"""To an order or a protection, at the close: go on with the build that gets new work, if that is another."""
SIGNAL_KILL: Final = "activate"
SIGNAL_RELEASE: Final = "release"
UPDATE_CANCEL_ORDER: Final = "cancel-order"
UPDATE_RELEASE: Final = "release-kill-switch"
UPDATE_RENEW: Final = "renew-run"
"""Of the two workflows that have no end: go on as a new run, so that nothing needs the former one's payload key."""
ASK_AGAIN: Final = "(ask again)"
"""In the refusal of a release that came between two runs of the kill switch's workflow."""
QUERY_STATUS: Final = "status"
QUERY_TIMELINE: Final = "timeline"

ACTIVITY_ASSESS_RISK: Final = "assess-risk"
ACTIVITY_REFRESH_MARKET: Final = "refresh-market"
ACTIVITY_CHECK_PRE_TRADE: Final = "check-pre-trade"
ACTIVITY_PLACE_ORDER: Final = "place-order"
ACTIVITY_RESOLVE_ORDER: Final = "resolve-order"
ACTIVITY_REFUSE_ORDER: Final = "refuse-order"
ACTIVITY_READ_ORDER: Final = "read-order"
ACTIVITY_CANCEL_ORDER: Final = "cancel-order"
ACTIVITY_TELL_UNCONFIRMED: Final = "tell-unconfirmed"
ACTIVITY_SESSION: Final = "read-session"
ACTIVITY_SETTLE_ORDER: Final = "settle-order"
ACTIVITY_REVIEW_PROTECTION: Final = "review-protection"
ACTIVITY_FIND_PROTECTIONS: Final = "find-protections"
ACTIVITY_TRADE_UPDATES: Final = "hold-trade-updates"
ACTIVITY_READ_BROKER: Final = "read-broker-state"
ACTIVITY_OVERWRITE_BOOKS: Final = "overwrite-books"
ACTIVITY_END_RECONCILIATION: Final = "end-reconciliation"
ACTIVITY_MOVE_TO_COLD: Final = "move-to-cold-storage"
ACTIVITY_RESTORE: Final = "restore-from-cold-storage"
ACTIVITY_DROP_AUDIT: Final = "drop-audit-partition"
ACTIVITY_KILL_ENGAGE: Final = "engage-kill-switch"
ACTIVITY_KILL_SWEEP: Final = "sweep-open-orders"
ACTIVITY_KILL_READ: Final = "read-kill-switch"
ACTIVITY_KILL_RELEASE: Final = "release-kill-switch"
ACTIVITY_KILL_NOTE: Final = "note-kill-switch-attempt"


class Topic(StrEnum):
    """Event topics. The first six are the specification's."""

    SIGNAL_CREATED = "trading.signal.created"
    RISK_APPROVED = "trading.risk.approved"
    RISK_REJECTED = "trading.risk.rejected"
    EXECUTION_SUBMITTED = "trading.execution.submitted"
    EXECUTION_FILL = "trading.execution.fill"
    KILLSWITCH_ACTIVATED = "system.killswitch.activated"
    EXECUTION_STATUS = "trading.execution.status"
    STATE_DRIFT = "system.state_drift"


PARTITIONS: Final = 16
"""The events of a group are handed out in so many parts, a key's always in the same. The rows hold it."""
GROUP_PATTERN: Final = r"[a-z][a-z0-9._-]{0,63}"
"""How a group of consumers may be called."""


class Leg(StrEnum):
    """Which order of a signal: the trade itself, its protective stop, or the exit of the protected quantity."""

    ENTRY = "entry"
    STOP = "stop"
    EXIT = "exit"


CLIENT_ORDER_ID_PREFIX: Final = "ti-"


def order_workflow_id(signal_id: str) -> str:
    """The one workflow id of a signal's order."""
    return f"order-{signal_id}"


def protect_workflow_id(signal_id: str) -> str:
    """The one workflow id of an entry's protection."""
    return f"protect-{signal_id}"


def signal_of_workflow(workflow_id: str) -> str | None:
    """The signal that an order's or a protection's workflow serves; None for every other."""
    for prefix in (order_workflow_id(""), protect_workflow_id("")):
        if workflow_id.startswith(prefix):
            return workflow_id.removeprefix(prefix)
    return None


def client_order_id(installation: uuid.UUID, account: str, signal_id: str, leg: Leg, generation: int) -> str:
    """The broker's idempotency key of one order: 35 characters, the same on every try.

    Attempts never enter it. ``generation`` grows only in the transaction that records the proved end of
    that leg's former order.
    """
    name = "\x1f".join((account, signal_id, leg.value, str(generation)))
    return CLIENT_ORDER_ID_PREFIX + uuid.uuid5(installation, name).hex


def event_id(topic: Topic, *parts: object) -> str:
    """A deterministic event id: the same change never makes two events."""
    name = "\x1f".join((topic.value, *(str(part) for part in parts)))
    return "evt_" + uuid.uuid5(uuid.NAMESPACE_OID, name).hex
