"""Faults on order: what to do to requests, to the venue's answers and to stream frames.

The exchange asks at named points; without an order nothing unusual happens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

HANG_SECONDS_MAX = 60
LATENCY_MS_MAX = 60_000
SKEW_MS_MAX = 3_600_000

# Before the exchange acts on a request: it never has any effect (after the latency it has) …
BeforeLanding = Literal[
    "status_404",
    "status_429",
    "status_500",
    "status_502",
    "status_503",
    "status_504_before_landing",
    "drop_before_landing",
    "latency_ms",
]
# … after it: the effect stands and only the answer is at stake …
AfterLanding = Literal[
    "status_504_after_landing", "drop_after_landing", "hang_after_landing", "slow_body", "short_list"
]
# … in what a read is answered: well formed, and wrong …
InAnswer = Literal["stale_read", "skewed_clock"]
# … when the venue answers about an order …
AtVenue = Literal["reject_order", "delay_venue"]
# … when a frame goes out on a stream, and when a client wants a socket.
OnFrame = Literal["drop_frame", "duplicate_frame", "swap_frames", "corrupt_frame", "cut_socket"]
OnSocket = Literal["refuse_socket"]
Action = Literal[BeforeLanding, AfterLanding, InAnswer, AtVenue, OnFrame, OnSocket]

_REQUEST: frozenset[str] = frozenset((*get_args(BeforeLanding), *get_args(AfterLanding), *get_args(InAnswer)))
_VENUE: frozenset[str] = frozenset(get_args(AtVenue))
_FRAME: frozenset[str] = frozenset(get_args(OnFrame))
_SOCKET: frozenset[str] = frozenset(get_args(OnSocket))
_PATTERNS = ("path", "stream")
_TIMED = ("latency_ms", "slow_body", "delay_venue")

Frame = bytes | str


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


class Fault(BaseModel):
    """One ordered fault: after ``skip`` fitting occasions, the next ``times`` get ``action``.

    ``latency_ms`` goes with latency_ms, slow_body and delay_venue; a delay_venue without it lasts for ever.
    ``skew_ms`` goes with skewed_clock: how far the clock's answer is ahead, or behind if negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Match = Match()
    action: Action
    times: int = Field(1, ge=1)
    skip: int = Field(0, ge=0)
    latency_ms: int | None = Field(None, ge=0, le=LATENCY_MS_MAX)
    skew_ms: int | None = Field(None, ge=-SKEW_MS_MAX, le=SKEW_MS_MAX)

    @model_validator(mode="after")
    def _latency_fits(self) -> "Fault":
        if self.latency_ms is not None and self.action not in _TIMED:
            raise ValueError(f"latency_ms goes with {', '.join(_TIMED)} only")
        if self.latency_ms is None and self.action in ("latency_ms", "slow_body"):
            raise ValueError(f"{self.action} needs latency_ms (milliseconds)")
        if (self.skew_ms is None) == (self.action == "skewed_clock"):
            raise ValueError("skew_ms (milliseconds) goes with skewed_clock, which needs it")
        return self


@dataclass(frozen=True, slots=True)
class RequestFacts:
    method: str
    path: str
    client_order_id: str | None
    symbol: str | None


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
class Fate:
    """What becomes of a frame: these go out instead of it, and then perhaps the connection is cut."""

    frames: Sequence[Frame]
    cut: bool = False


class Faults:
    """Faults ordered one by one; each is used up by the occasions it fits."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._held: dict[str, Frame] = {}

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

    def for_request(self, facts: RequestFacts) -> Fault | None:
        return self._take(_REQUEST, facts)

    def for_venue(self, facts: OrderFacts) -> Fault | None:
        return self._take(_VENUE, facts)

    def for_socket(self, stream: str) -> Fault | None:
        return self._take(_SOCKET, FrameFacts(stream))

    def for_frame(self, facts: FrameFacts, frame: Frame) -> tuple[Fate, Fault | None]:
        """A swapped frame comes out after the next one of its stream."""
        fault = self._take(_FRAME, facts)
        match fault.action if fault else None:
            case "drop_frame":
                fate = Fate(())
            case "duplicate_frame":
                fate = Fate((frame, frame))
            case "corrupt_frame":
                fate = Fate((frame[: len(frame) // 2],))
            case "cut_socket":
                fate = Fate((), cut=True)
            case "swap_frames" if facts.stream not in self._held:
                self._held[facts.stream] = frame
                fate = Fate(())
            case _:
                held = self._held.pop(facts.stream, None)
                fate = Fate((frame,) if held is None else (frame, held))
        return fate, fault

    def _take(self, actions: frozenset[str], facts: "Facts") -> Fault | None:
        for waiting in self._waiting:
            if waiting.fault.action not in actions or not _fits(waiting.fault.match, facts):
                continue
            if waiting.skip:
                waiting.skip -= 1
                continue
            waiting.times -= 1
            if not waiting.times:
                self._waiting.remove(waiting)
            return waiting.fault
        return None


Facts = RequestFacts | OrderFacts | FrameFacts


class _Waiting:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.times = fault.times
        self.skip = fault.skip


def _fits(match: Match, facts: Facts) -> bool:
    """A field the occasion does not have fits no wish."""
    for name, wanted in match.model_dump(exclude_none=True).items():
        actual = getattr(facts, name, None)
        if actual is None or not (fnmatchcase(actual, wanted) if name in _PATTERNS else actual == wanted):
            return False
    return True
