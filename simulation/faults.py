"""Faults on order: what to do to requests and stream frames instead of serving them well.

The exchange asks its hook at named points and does nothing unusual by default.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

HANG_SECONDS_MAX = 60

# What happens to a request before the exchange acts on it …
BeforeLanding = Literal[
    "status_500", "status_429", "status_504_before_landing", "drop_before_landing", "latency_ms"
]
# … and after, when its effect stands and only the answer is at stake.
AfterLanding = Literal["status_504_after_landing", "drop_after_landing", "hang_after_landing"]
Action = Literal[BeforeLanding, AfterLanding]


class RequestMatch(BaseModel):
    """Which requests: every given field must fit; ``path`` may hold ``*``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str | None = None
    path: str | None = None
    client_order_id: str | None = None
    symbol: str | None = None


class Fault(BaseModel):
    """One ordered fault: after ``skip`` matching requests, the next ``times`` get ``action``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: RequestMatch = RequestMatch()
    action: Action
    times: int = Field(1, ge=1)
    skip: int = Field(0, ge=0)
    latency_ms: int | None = Field(None, ge=0, le=60_000)

    @model_validator(mode="after")
    def _latency_given(self) -> "Fault":
        if (self.action == "latency_ms") != (self.latency_ms is not None):
            raise ValueError('latency_ms (milliseconds) goes with action "latency_ms" and only with it')
        return self


class RequestFacts(Protocol):
    """What a fault can see of a request."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def client_order_id(self) -> str | None: ...
    @property
    def symbol(self) -> str | None: ...


class FaultHook(Protocol):
    """Consulted once per request and once per stream frame."""

    def for_request(self, request: RequestFacts) -> Fault | None: ...

    def for_frame(self, stream: str, frame: bytes | str) -> Sequence[bytes | str]: ...


class NoFaults:
    """The default hook: everything works."""

    def for_request(self, request: RequestFacts) -> Fault | None:
        del request
        return None

    def for_frame(self, stream: str, frame: bytes | str) -> Sequence[bytes | str]:
        del stream
        return (frame,)


class OrderedFaults(NoFaults):
    """Faults ordered one by one through the control route; each is used up by the requests it meets."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def add(self, fault: Fault) -> None:
        self._waiting.append(_Waiting(fault))

    def clear(self) -> None:
        self._waiting.clear()

    def pending(self) -> list[dict[str, object]]:
        """Faults not yet used up, with how often each will still act."""
        return [
            waiting.fault.model_dump(exclude_none=True) | {"skip": waiting.skip, "times": waiting.times}
            for waiting in self._waiting
        ]

    def for_request(self, request: RequestFacts) -> Fault | None:
        for waiting in self._waiting:
            if not _fits(waiting.fault.match, request):
                continue
            if waiting.skip:
                waiting.skip -= 1
                continue
            waiting.times -= 1
            if not waiting.times:
                self._waiting.remove(waiting)
            return waiting.fault
        return None


class _Waiting:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.times = fault.times
        self.skip = fault.skip


def _fits(match: RequestMatch, request: RequestFacts) -> bool:
    return (
        (match.method is None or match.method.upper() == request.method)
        and (match.path is None or fnmatchcase(request.path, match.path))
        and match.client_order_id in (None, request.client_order_id)
        and match.symbol in (None, request.symbol)
    )
