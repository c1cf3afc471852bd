"""What each request to the broker came to, told to whoever counts requests and to whoever acts on the answer.

A request tells nothing of keys, bodies or ids of orders. Whoever acts on an answer keeps what was told with it: the
audit row of an order that was placed says how long the broker took, and under which id it keeps the request.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import NothingSent

OUTCOME_OK: Final = "OK"


@dataclass(frozen=True, slots=True)
class BrokerCall:
    """One HTTP request to the broker, without ids, keys or bodies."""

    operation: str
    """The port's method: ``place_order``."""
    method: str
    path: str
    """A template: ``/v2/orders/{order_id}``."""
    http_status: int | None
    """None where no answer came."""
    outcome: str
    """``OK`` or the code of the ``BrokerError`` it ended in."""
    latency_ms: float
    request_id: str | None

    @property
    def may_change(self) -> bool:
        """Whether it asked for a change, and a byte of it may have left."""
        return self.method != "GET" and self.outcome != NothingSent.code

    def as_json(self) -> dict[str, Any]:
        """For an audit row: no number is a fraction there, so that one text is one value."""
        return {
            "operation": self.operation,
            "request": f"{self.method} {self.path}",
            "http_status": self.http_status,
            "outcome": self.outcome,
            "latency_ms": f"{self.latency_ms:.1f}",
            "request_id": self.request_id,
        }


OnCall = Callable[[BrokerCall], None]
"""Called once for each HTTP request, in the thread that made it, within the caller's context variables."""

_heard: ContextVar[list[BrokerCall] | None] = ContextVar("broker_calls", default=None)


@contextmanager
def hearing() -> Iterator[list[BrokerCall]]:
    """Collect the requests that are made within, also by tasks and threads that begin there, as they end."""
    calls: list[BrokerCall] = []
    token = _heard.set(calls)
    try:
        yield calls
    finally:
        _heard.reset(token)


def tell(call: BrokerCall) -> None:
    """One request has ended: for whoever is `hearing`."""
    calls = _heard.get()
    if calls is not None:
        calls.append(call)


def evidence(calls: Sequence[BrokerCall]) -> dict[str, Any]:
    """``calls`` for an audit row; nothing where none was made."""
    return {"calls": [call.as_json() for call in calls]} if calls else {}
