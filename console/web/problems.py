"""Everything the console says no with, by code: pages for people, fragments for htmx, JSON for scripts."""

from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """Error codes; a code never changes its meaning."""

    NOT_SIGNED_IN = "NOT_SIGNED_IN"
    SECOND_FACTOR_MISSING = "SECOND_FACTOR_MISSING"
    NOT_LET_IN = "NOT_LET_IN"
    ROLE_TOO_LOW = "ROLE_TOO_LOW"
    STEP_UP_REQUIRED = "STEP_UP_REQUIRED"
    CROSS_SITE = "CROSS_SITE"
    WRONG_HOST = "WRONG_HOST"
    TOO_LARGE = "TOO_LARGE"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    INVALID_REQUEST = "INVALID_REQUEST"
    REFUSED = "REFUSED"
    BUSY = "BUSY"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


KILL: Final = "/acts/kill"
KILL_DIRECT: Final = (
    "Run `trading kill --direct` on the machine: it cancels at the broker, and engages when it can"
)


class WebError(Exception):
    """Raised anywhere below a route; becomes the answer."""

    def __init__(self, status: int, code: Code, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Elsewhere(Exception):
    """This person must be somewhere else first: signing in, showing or enrolling a second factor."""

    def __init__(self, code: Code, location: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.location = location
        self.message = message


def refused(message: str) -> WebError:
    """409: it cannot be done as things are."""
    return WebError(409, Code.REFUSED, message)


def invalid(message: str) -> WebError:
    """422: what was sent cannot be meant."""
    return WebError(422, Code.INVALID_REQUEST, message)
