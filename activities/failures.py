"""How a failure crosses Temporal: by code, with its own retry pause, never by text."""

from datetime import timedelta
from typing import Final

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from broker.errors import BrokerError, RateLimited

RATE_LIMIT_PAUSE: Final = timedelta(seconds=1)
"""Where the broker does not say when its window resets."""
MESSAGE_MAX_CHARACTERS: Final = 500
"""Failures live in histories for the whole retention."""


def as_failure(error: BrokerError) -> ApplicationError:
    """A broker error as Temporal knows it: type is its code; final answers are not retried."""
    pause = None
    if isinstance(error, RateLimited):
        pause = RATE_LIMIT_PAUSE
        if error.retry_after_seconds is not None:
            pause = max(pause, timedelta(seconds=error.retry_after_seconds))
    return ApplicationError(
        error.message[:MESSAGE_MAX_CHARACTERS],
        type=error.code,
        non_retryable=error.refusal,
        next_retry_delay=pause,
        category=ApplicationErrorCategory.BENIGN,
    )


def ask_again(error: BrokerError) -> ApplicationError:
    """A failed question about an order whose fate is open: whatever the broker says, it is asked again."""
    failure = as_failure(error)
    return try_again(error.code, error.message, failure.next_retry_delay)


def try_again(code: str, message: str, pause: timedelta | None = None) -> ApplicationError:
    """An expected reason to run this activity again, after ``pause`` where given."""
    return ApplicationError(
        message[:MESSAGE_MAX_CHARACTERS],
        type=code,
        next_retry_delay=pause,
        category=ApplicationErrorCategory.BENIGN,
    )
