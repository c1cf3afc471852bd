"""What a person must hear of: one row for as long as it lasts."""

from enum import StrEnum
from typing import Final

from schemas.base import UtcTime, Wire


class Severity(StrEnum):
    """As in the specification: critical wakes somebody, high is looked at at once, medium today."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"


class AlertCode(StrEnum):
    """What is wrong. A name once used keeps its meaning."""

    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """Nobody knows for a minute and more whether an order stands at the broker."""
    NOT_AT_BROKER = "NOT_AT_BROKER"
    """Every permitted POST is proved not to stand there."""
    BROKER_HALT = "BROKER_HALT"
    """The broker cannot be reached, or does not accept our keys: orders wait."""
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    RUNAWAY_STRATEGY = "RUNAWAY_STRATEGY"
    """A strategy does too much of one thing, or too fast: it is disabled until a named person enables it."""
    IDENTITY_CONFLICT = "IDENTITY_CONFLICT"
    """An order under our id is not the one that we sent."""
    UNPROTECTED = "UNPROTECTED"
    """Shares are held without the stop that their signal asked for."""
    END_OF_DAY_UNCONFIRMED = "END_OF_DAY_UNCONFIRMED"
    """The rest of a partly filled order was not confirmed cancelled at the bell."""
    LATE_TRUTH = "LATE_TRUTH"
    """The broker shows an order that had been closed here."""
    BUST_OR_CORRECTION = "BUST_OR_CORRECTION"
    """The exchange took an execution back, or changed it."""
    FILLS_MISSING = "FILLS_MISSING"
    """The broker counts shares of which no execution has arrived."""
    KILL_SWITCH = "KILL_SWITCH"
    KILL_MISSPELT = "KILL_MISSPELT"
    """A signal of another name engaged the kill switch."""
    KILL_RELEASE_REFUSED = "KILL_RELEASE_REFUSED"
    KILL_SWEEP_UNCONFIRMED = "KILL_SWEEP_UNCONFIRMED"
    UPDATE_STREAM_DOWN = "UPDATE_STREAM_DOWN"
    APPROVAL_FORGED = "APPROVAL_FORGED"
    """An order bore an approval that our risk manager has not signed so: somebody wrote into our database."""
    NOT_RECONCILED = "NOT_RECONCILED"
    """Our books could not be compared with the broker's."""
    STATE_DRIFT = "STATE_DRIFT"
    """Our books were not the broker's: what a reconciliation found and overwrote."""
    ARCHIVE_CHECK_FAILED = "ARCHIVE_CHECK_FAILED"
    """What was to go to cold storage, or the copy that was read back from there, is not what was sealed."""
    RETENTION_BEHIND = "RETENTION_BEHIND"
    """What should be in cold storage by now is still in the database."""
    AUDIT_CHECK_FAILED = "AUDIT_CHECK_FAILED"
    """The audit log is not what was sealed: a row was changed, taken, put in, or the log rolled back."""
    AUDIT_FORKED = "AUDIT_FORKED"
    """The audit log and its checkpoints outside the database tell different histories: nothing is sealed."""
    AUDIT_NOT_SEALED = "AUDIT_NOT_SEALED"
    """Audit rows wait for more than a minute for a checkpoint outside the database."""
    AUDIT_NOT_CHECKED = "AUDIT_NOT_CHECKED"
    """No check of the audit log has ended for two days."""
    AUDIT_TARGET_DOWN = "AUDIT_TARGET_DOWN"
    """Checkpoints of the audit log cannot be written outside the database."""
    BUILD_UNATTENDED = "BUILD_UNATTENDED"
    """No process runs the build that gets all new work: it waits."""
    CLOCK_SKEW = "CLOCK_SKEW"
    """A machine's clock is off by more than 2 s, or nobody has said for ten minutes: new orders wait."""
    SECRETS_UNREADABLE = "SECRETS_UNREADABLE"
    """The secret store does not give us the broker's keys: those in memory go on, and nothing can be started."""
    BROKER_KEYS_REFUSED = "BROKER_KEYS_REFUSED"
    """New keys are stored, and the broker does not take them, or they are another account's: the old ones go on."""
    LIVE_GRANT_ENDING = "LIVE_GRANT_ENDING"
    """The grant of live trading ends within half an hour, or has ended: no entry leaves then."""
    SECOND_PERSON_NEW = "SECOND_PERSON_NEW"
    """In live mode somebody was given what lets him be one of two persons, a day from now."""
    DEAD_EVENTS = "DEAD_EVENTS"
    """A group of consumers could not take some events: they were put aside, and those behind them went on."""


CLEARED_BY_HAND: Final = frozenset(
    {
        AlertCode.NOT_AT_BROKER,
        AlertCode.IDENTITY_CONFLICT,
        AlertCode.LATE_TRUTH,
        AlertCode.BUST_OR_CORRECTION,
        AlertCode.APPROVAL_FORGED,
        AlertCode.AUDIT_CHECK_FAILED,
        AlertCode.AUDIT_FORKED,
        AlertCode.SECOND_PERSON_NEW,
    }
)
"""What has happened and does not end: a person has seen to it. All others end with what they tell of."""


class Alert(Wire):
    """One thing that is wrong with one subject."""

    code: AlertCode
    severity: Severity
    subject: str
    """What it is about: a client order id, a ticker, an epoch. With ``code`` it names the alert."""
    text: str
    """What is wrong and what to do, for the person who is woken."""
    correlation_id: str
    """The signal's id, or the switch's or account's name, as in the audit log."""

    @property
    def alert_id(self) -> str:
        """One row while it lasts."""
        return f"{self.code.value}:{self.subject}"


class StoredAlert(Alert):
    """An alert as its row tells of it: since when, how often, and what persons have done about it."""

    raised_at: UtcTime
    last_raised_at: UtcTime
    times: int
    """How often it was raised since ``raised_at``."""
    cleared_at: UtcTime | None = None
    acknowledged_at: UtcTime | None = None
    """A person has seen it, since it was raised or became worse."""
    acknowledged_by: str | None = None
    silenced_until: UtcTime | None = None
    """Nobody is told of it before then."""
    silenced_by: str | None = None
    silence_reason: str | None = None


class Channel(StrEnum):
    """Where people are told of alerts, beside the row."""

    SLACK = "slack"
    PAGERDUTY = "pagerduty"


class Change(StrEnum):
    """What is told of an alert."""

    RAISED = "raised"
    WORSE = "worse"
    """It lasts, and its severity has risen."""
    CLEARED = "cleared"


class DeliveryState(StrEnum):
    """How one message stands."""

    DUE = "due"
    SENT = "sent"
    DEAD = "dead"
    """Given up: refused, or tried to the end. A person has it sent again."""


class Delivery(Alert):
    """One message to one channel, with what was the case then."""

    delivery_id: int
    channel: Channel
    change: Change
    raised_at: UtcTime
    changed_at: UtcTime
    """When it was raised, became worse, or was cleared."""
    state: DeliveryState
    tries: int
    next_try_at: UtcTime | None = None
    """None: at once."""
    last_error: str | None = None
    response: str | None = None
    """What the receiver said when it took it."""
    sent_at: UtcTime | None = None
