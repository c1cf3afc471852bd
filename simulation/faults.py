"""Faults on order: what may be done to requests, to the venue's answers, to stream frames and sockets.

The exchange asks at named points (``simulation/injecting.py``); without an order nothing unusual happens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

HANG_SECONDS_MAX: Final = 60
LATENCY_MS_MAX: Final = 60_000
LASTS_MS_MAX: Final = 600_000
SKEW_MS_MAX: Final = 3_600_000

# Before the exchange acts on a request: it never has any effect (after the latency it has) …
BeforeLanding = Literal[
    "status_404",
    "status_429",
    "status_500",
    "status_502",
    "status_503",
    "status_504_before_landing",
    "drop_before_landing",
    "hang_before_landing",
    "latency_ms",
]
# … after it: the effect stands and only the answer is at stake …
AfterLanding = Literal[
    "status_504_after_landing",
    "drop_after_landing",
    "hang_after_landing",
    "slow_body",
    "short_list",
    "empty_list",
]
# … in what a read is answered: well formed, and wrong …
InAnswer = Literal["stale_read", "skewed_clock"]
# … when the venue answers about an order, and after it executed one …
AtVenue = Literal["reject_order", "delay_venue", "stuck_cancel"]
AtExecution = Literal["bust_fill", "correct_fill"]
# … when a frame goes out on a stream, and when a client wants a socket.
OnFrame = Literal[
    "drop_frame",
    "duplicate_frame",
    "swap_frames",
    "corrupt_frame",
    "cut_socket",
    "mute_socket",
    "deaf_socket",
]
OnSocket = Literal["refuse_socket", "refuse_second_socket"]
Action = Literal[BeforeLanding, AfterLanding, InAnswer, AtVenue, AtExecution, OnFrame, OnSocket]

REQUEST_ACTIONS: Final = frozenset((*get_args(BeforeLanding), *get_args(AfterLanding), *get_args(InAnswer)))
READ_ACTIONS: Final = frozenset((*get_args(InAnswer), "short_list", "empty_list"))
ACKNOWLEDGE_ACTIONS: Final = frozenset(("reject_order", "delay_venue"))
CANCEL_ACTIONS: Final = frozenset(("delay_venue", "stuck_cancel"))
EXECUTION_ACTIONS: Final = frozenset(get_args(AtExecution))
FRAME_ACTIONS: Final = frozenset(get_args(OnFrame))
SOCKET_ACTIONS: Final = frozenset(get_args(OnSocket))

_PATTERNS: Final = ("path", "stream")
_GOES_WITH: Final[Mapping[str, tuple[str, ...]]] = {
    "latency_ms": ("latency_ms", "slow_body", "delay_venue", "stuck_cancel", *get_args(AtExecution)),
    "lasts_ms": ("mute_socket", "deaf_socket", *get_args(OnSocket)),
    "skew_ms": ("skewed_clock",),
    "price": ("correct_fill",),
    "qty": ("correct_fill",),
}
_NEEDS: Final[Mapping[str, str]] = {
    "latency_ms": "latency_ms",
    "slow_body": "latency_ms",
    "skewed_clock": "skew_ms",
}

Frame = bytes | str
Chance = Annotated[Decimal, Field(ge=0, le=1)]


class Match(BaseModel):
    """What a fault is for: every given field must fit; ``path`` and ``stream`` may hold ``*``.

    ``stream`` is trade_updates, data/iex or data/sip; ``event`` a trade update's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str | None = None
    path: str | None = None
    client_order_id: str | None = None
    symbol: str | None = None
    stream: str | None = None
    event: str | None = None

    def fits(self, facts: "Facts") -> bool:
        """A field the occasion does not have fits no wish."""
        for name in self.model_fields_set:
            wanted, actual = getattr(self, name), getattr(facts, name, None)
            if wanted is None:
                continue
            if actual is None or not (fnmatchcase(actual, wanted) if name in _PATTERNS else actual == wanted):
                return False
        return True


class Fault(BaseModel):
    """One ordered fault: after ``skip`` fitting occasions, the next ``times`` get ``action``.

    ``times`` null is without end. With a ``probability`` each fitting occasion gets it by that chance, without
    end unless ``times`` bounds it. ``latency_ms``: how much later; a delay_venue or stuck_cancel without it
    lasts for ever. ``lasts_ms``: how long a socket stays mute, or is refused; a mute one without it stays so
    until it is cut. ``skew_ms``: how far the clock's answer is ahead, or behind if negative. ``price`` (US
    dollars) and ``qty`` (shares): what a correct_fill makes of the execution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Match = Match()
    action: Action
    times: int | None = Field(1, ge=1)
    skip: int = Field(0, ge=0)
    probability: Chance | None = None
    latency_ms: int | None = Field(None, ge=0, le=LASTS_MS_MAX)
    lasts_ms: int | None = Field(None, ge=0, le=LASTS_MS_MAX)
    skew_ms: int | None = Field(None, ge=-SKEW_MS_MAX, le=SKEW_MS_MAX)
    price: Annotated[Decimal, Field(gt=0)] | None = None
    qty: Annotated[Decimal, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _chance_has_no_end(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("probability") is not None:
            return {"times": None, **data}
        return data

    @model_validator(mode="after")
    def _options_fit(self) -> "Fault":
        for name, actions in _GOES_WITH.items():
            if getattr(self, name) is not None and self.action not in actions:
                raise ValueError(f"{name} goes with {', '.join(actions)} only")
        if self.action in REQUEST_ACTIONS and (self.latency_ms or 0) > LATENCY_MS_MAX:
            raise ValueError(f"latency_ms of a request is at most {LATENCY_MS_MAX}")
        needed = _NEEDS.get(self.action)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.action} needs {needed} (milliseconds)")
        if self.action == "correct_fill" and self.price is None and self.qty is None:
            raise ValueError("correct_fill needs price, qty or both")
        return self

    def as_json(self) -> dict[str, Any]:
        """As it can be ordered again; ``times`` null is told, everything else that is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True) | {"times": self.times}


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request; ``can_mislead``: it reads the account, so that an answer can be well formed and wrong."""

    method: str
    path: str
    client_order_id: str | None
    symbol: str | None
    can_mislead: bool = False


@dataclass(frozen=True, slots=True)
class OrderFacts:
    client_order_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """A frame that is about to go out; ``event`` and the order's names for trade updates only."""

    stream: str
    event: str | None = None
    client_order_id: str | None = None
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class SocketFacts:
    """A handshake on a stream.

    ``vacant_ms``: how long no socket of that stream has been connected; 0 while one is, None if none ever was.
    """

    stream: str
    vacant_ms: int | None = None


Facts = RequestFacts | OrderFacts | FrameFacts | SocketFacts


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a frame: these go out instead of it, and then perhaps something befalls the connection.

    ``held``: the frame waits for the next one to overtake it. ``mute``: from now on nothing goes out for
    ``mute_ms`` (None: until the connection ends); a ``deaf`` one does not hear either, pings included.
    """

    frames: Sequence[Frame]
    cut: bool = False
    held: bool = False
    mute: bool = False
    deaf: bool = False
    mute_ms: int | None = None
