"""Every timeout and retry of every step, by name and with its unit."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy

from schemas.wire import Queue

PRIORITY_STOPPING: Final = Priority(priority_key=1)
"""Cancels and the kill switch overtake everything."""
PRIORITY_DEFAULT: Final = Priority(priority_key=3)

NO_ROW: Final = ("OrderNotFound", "SignalNotFound", "ProtectionNotFound")
"""Errors that no retry mends: nobody stored such a signal, so a hand-started workflow fails at once."""

UNTIL_ANSWERED: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    non_retryable_error_types=NO_ROW,
)
"""For what must be known and can wait: tried until it answers."""

A_FEW_TIMES: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=2),
    maximum_attempts=3,
    non_retryable_error_types=NO_ROW,
)
"""For what helps to decide but must not hold the decision up."""

PATIENTLY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=NO_ROW,
)
"""For the broker's word on what has ended: it may take long, and each try costs requests."""

QUICKLY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=2),
    non_retryable_error_types=NO_ROW,
)

LOCAL_RETRY_THRESHOLD: Final = timedelta(seconds=5)
"""A local step that waits longer between tries gives its workflow task back meanwhile."""

REST_CANCEL_BEFORE_CLOSE: Final = timedelta(minutes=2)
"""Before the bell, the rest of a partly filled order is cancelled (specification H)."""
CANCEL_REPEAT: Final = timedelta(seconds=20)
"""How long an unconfirmed cancel at the bell is waited for before it is asked again."""
SESSION_CHECK_MIN: Final = timedelta(seconds=1)
BELL_GRACE: Final = timedelta(seconds=5)
"""After the bell, for an order that waits for no answer to tell of its rest itself."""
BELL_MOVED: Final = timedelta(minutes=1)
"""A bell that is read this much elsewhere is another one."""
SWEEP_REPEAT: Final = timedelta(minutes=1)
"""Between sweeps while the broker has not confirmed the end of every order."""
REFRESHES_MAX: Final = 2
TIMELINE_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of step: who does it, how long one try may take, and when it is tried again."""

    role: Queue
    start_to_close: timedelta
    retry: RetryPolicy = field(default_factory=lambda: UNTIL_ANSWERED)
    reaches_broker: bool = True
    """False: a local activity in the compact topology."""
    heartbeat: timedelta | None = None
    priority: Priority = PRIORITY_DEFAULT


ASSESS_RISK: Final = Step(Queue.RISK, timedelta(seconds=20), QUICKLY, reaches_broker=False)
REFRESH_MARKET: Final = Step(Queue.EXECUTION, timedelta(seconds=15), A_FEW_TIMES)
CHECK_PRE_TRADE: Final = Step(Queue.EXECUTION, timedelta(seconds=20), QUICKLY, reaches_broker=False)
PLACE_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=30), QUICKLY)
"""Start-to-close is twice the POST's total deadline of 15 s."""
RESOLVE_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=30))
REFUSE_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=10), QUICKLY, reaches_broker=False)
READ_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=10), QUICKLY, reaches_broker=False)
CANCEL_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=30), PATIENTLY, priority=PRIORITY_STOPPING)
TELL_UNCONFIRMED: Final = Step(
    Queue.EXECUTION, timedelta(seconds=10), reaches_broker=False, priority=PRIORITY_STOPPING
)
READ_SESSION: Final = Step(Queue.EXECUTION, timedelta(seconds=20), reaches_broker=False)
SETTLE_ORDER: Final = Step(Queue.EXECUTION, timedelta(seconds=60), PATIENTLY)
REVIEW_PROTECTION: Final = Step(Queue.EXECUTION, timedelta(seconds=20), QUICKLY, reaches_broker=False)
FIND_PROTECTIONS: Final = Step(Queue.EXECUTION, timedelta(seconds=10), QUICKLY, reaches_broker=False)
# A leg's steps give up soon: the next look finds what they left, and tells a person in time.
PLACE_LEG: Final = Step(Queue.EXECUTION, timedelta(seconds=30), A_FEW_TIMES, priority=PRIORITY_STOPPING)
RESOLVE_LEG: Final = Step(Queue.EXECUTION, timedelta(seconds=30), A_FEW_TIMES, priority=PRIORITY_STOPPING)
CANCEL_LEG: Final = Step(Queue.EXECUTION, timedelta(seconds=30), A_FEW_TIMES, priority=PRIORITY_STOPPING)
SETTLE_LEG: Final = Step(Queue.EXECUTION, timedelta(seconds=60), A_FEW_TIMES, priority=PRIORITY_STOPPING)
PROTECT_AGAIN: Final = timedelta(seconds=1)
"""Before the next look where nothing was told."""
HOLD_TRADE_UPDATES: Final = Step(
    Queue.OPERATIONS, timedelta(days=3650), QUICKLY, heartbeat=timedelta(seconds=10)
)
"""For ever: it ends only with its worker, and the next one takes over within the heartbeat timeout."""
HOLD_AGAIN: Final = timedelta(seconds=5)
"""Before the stream is taken again after a failure that forbids retries."""
READ_AGAIN: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=5),
    maximum_attempts=10,
)
"""Some forty seconds: then the run ends as FAILED, nothing is changed, and the next one tries."""
READ_BROKER: Final = Step(Queue.OPERATIONS, timedelta(seconds=60), READ_AGAIN)
"""Some eight requests of at most 10 s each, four at a time."""
OVERWRITE_BOOKS: Final = Step(Queue.OPERATIONS, timedelta(seconds=60), READ_AGAIN)
END_RECONCILIATION: Final = Step(Queue.OPERATIONS, timedelta(seconds=10), QUICKLY, reaches_broker=False)
READINGS_MAX: Final = 6
"""In one run, until two in a row show the same differences."""
RECONCILE_EVERY: Final = timedelta(minutes=5)
RECONCILE_TIMEOUT: Final = timedelta(minutes=4, seconds=30)
"""Below the interval: a hung run would otherwise keep every later one from starting."""
RECONCILE_CATCH_UP: Final = timedelta(minutes=1)
"""Passes missed for longer are not made up for: the next one sees everything."""
KILL_ENGAGE: Final = Step(Queue.KILL_SWITCH, timedelta(seconds=10), QUICKLY, priority=PRIORITY_STOPPING)
KILL_HISTORY_EVENTS: Final = 200
"""History of the kill switch's run beyond which it continues as new: about six activations, replayed in 0.1 s. With
the server's own suggestion, at some 4,000 events, each step of a stop waited two seconds for its replay."""
KILL_SWEEP: Final = Step(
    Queue.KILL_SWITCH,
    timedelta(seconds=180),
    QUICKLY,
    heartbeat=timedelta(seconds=15),
    priority=PRIORITY_STOPPING,
)
STORE_AGAIN: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=10,
)
"""Some five minutes without the store: then the run ends, and the next one goes on where it was."""
MOVE_TO_COLD: Final = Step(
    Queue.OPERATIONS, timedelta(minutes=10), STORE_AGAIN, heartbeat=timedelta(seconds=60)
)
"""One file of at most 10,000 rows: up, down and checked. Never local: it takes longer than a workflow task."""
RESTORE_FROM_COLD: Final = Step(
    Queue.OPERATIONS, timedelta(minutes=10), STORE_AGAIN, heartbeat=timedelta(seconds=60)
)
DROP_AUDIT: Final = Step(Queue.OPERATIONS, timedelta(seconds=60), A_FEW_TIMES)
FILES_IN_RUN_MAX: Final = 200
"""Then the workflow goes on as a new run, before its history grows large."""
RETENTION_EVERY: Final = timedelta(days=1)
RETENTION_AT: Final = timedelta(hours=7)
"""After midnight UTC: New York sleeps, and every market that it trades in is closed."""
RETENTION_TIMEOUT: Final = timedelta(hours=20)
"""Below the interval: a hung run would otherwise keep every later one from starting."""
RETENTION_CATCH_UP: Final = timedelta(hours=20)
