"""Which fault an occasion gets: faults ordered one by one, and plans that draw by a seeded chance."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from simulation.fault_plan import DEFAULT_SEED, FaultPlan
from simulation.faults import (
    ACKNOWLEDGE_ACTIONS,
    CANCEL_ACTIONS,
    EXECUTION_ACTIONS,
    FRAME_ACTIONS,
    READ_ACTIONS,
    REQUEST_ACTIONS,
    SOCKET_ACTIONS,
    Facts,
    Fate,
    Fault,
    Frame,
    FrameFacts,
    OrderFacts,
    RequestFacts,
    SocketFacts,
)

MS_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that an occasion gets, and who ordered it: a plan by name and seed, or nobody in particular."""

    fault: Fault
    plan: str | None = None
    seed: int | None = None

    def source(self) -> dict[str, Any]:
        """For the ledger; empty where the fault was ordered alone and no chance was in it."""
        named = {"fault_plan": self.plan, "fault_seed": self.seed}
        return {name: value for name, value in named.items() if value is not None}


class Faults:
    """What is on order. Faults with a chance come after all that have none; of a batch at most one happens."""

    def __init__(
        self, seed: int = DEFAULT_SEED, *, clock_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._seed = seed
        self._clock_seconds = clock_seconds
        self._batches: list[_Batch] = []
        self._added: dict[str, int] = {}
        self._held: dict[str, Frame] = {}

    def add(self, fault: Fault) -> None:
        """Order one fault; a chance is drawn with the exchange's own seed."""
        seed = None if fault.probability is None else self._seed
        self._batches.append(_Batch((fault,), None, seed, self._number("")))

    def add_plan(self, plan: FaultPlan) -> None:
        """Order everything a plan holds."""
        self._batches.append(_Batch(plan.faults, plan.name, plan.seed, self._number(plan.name)))

    def clear(self, plan: str | None = None) -> None:
        """Forget what is on order, all of it or that of one plan; a plan ordered again draws from the start."""
        self._batches = [batch for batch in self._batches if plan is not None and batch.plan != plan]
        for name in list(self._added) if plan is None else [plan]:
            self._added.pop(name, None)

    def pending(self) -> list[dict[str, Any]]:
        """Faults not yet used up, with how often each will still act (null: without end), and their plan."""
        return [
            waiting.fault.as_json() | {"skip": waiting.skip, "times": waiting.times} | batch.source()
            for batch in self._batches
            for waiting in batch.waiting
            if not waiting.is_over(self._clock_seconds())
        ]

    def for_request(self, facts: RequestFacts) -> Injected | None:
        actions = REQUEST_ACTIONS if facts.can_mislead else REQUEST_ACTIONS - READ_ACTIONS
        return self._take(actions, facts)

    def for_acknowledgement(self, facts: OrderFacts) -> Injected | None:
        return self._take(ACKNOWLEDGE_ACTIONS, facts)

    def for_cancel(self, facts: OrderFacts) -> Injected | None:
        return self._take(CANCEL_ACTIONS, facts)

    def for_execution(self, facts: OrderFacts) -> Injected | None:
        return self._take(EXECUTION_ACTIONS, facts)

    def for_socket(self, facts: SocketFacts) -> Injected | None:
        return self._take(SOCKET_ACTIONS, facts)

    def for_frame(self, facts: FrameFacts, frame: Frame) -> tuple[Fate, Injected | None]:
        """A swapped frame comes out after the next one of its stream, or by ``release``."""
        injected = self._take(FRAME_ACTIONS, facts)
        fault = injected.fault if injected else None
        match fault.action if fault else None:
            case "drop_frame":
                fate = Fate(())
            case "duplicate_frame":
                fate = Fate((frame, frame))
            case "corrupt_frame":
                fate = Fate((frame[: len(frame) // 2],))
            case "cut_socket":
                fate = Fate((), cut=True)
            case "mute_socket" | "deaf_socket":
                assert fault is not None
                deaf = fault.action == "deaf_socket"
                fate = Fate((), mute=True, deaf=deaf, mute_ms=fault.lasts_ms)
            case "swap_frames" if facts.stream not in self._held:
                self._held[facts.stream] = frame
                fate = Fate((), held=True)
            case _:
                held = self._held.pop(facts.stream, None)
                fate = Fate((frame,) if held is None else (frame, held))
        return fate, injected

    def release(self, stream: str, frame: Frame) -> bool:
        """Whether that very frame still waited to be overtaken; it waits no longer."""
        if self._held.get(stream) is not frame:
            return False
        del self._held[stream]
        return True

    def _number(self, name: str) -> int:
        number = self._added.get(name, 0)
        self._added[name] = number + 1
        return number

    def _take(self, actions: frozenset[str], facts: Facts) -> Injected | None:
        now_seconds = self._clock_seconds()
        for take in (_Batch.take_certain, _Batch.take_by_chance):
            for batch in self._batches:
                waiting = take(batch, actions, facts, now_seconds)
                if waiting is not None:
                    self._batches = [kept for kept in self._batches if not kept.is_over(now_seconds)]
                    return Injected(waiting.fault, batch.plan, batch.seed)
        return None


class _Waiting:
    """One fault on order, with what is left of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.times = fault.times
        self.skip = fault.skip
        self._until_seconds: float | None = None

    def fits(self, actions: frozenset[str], facts: Facts) -> bool:
        if self.fault.action not in actions or not self.fault.match.fits(facts):
            return False
        if self.fault.action == "refuse_second_socket":
            vacant_ms = facts.vacant_ms if isinstance(facts, SocketFacts) else None
            return vacant_ms is not None and vacant_ms <= (self.fault.lasts_ms or 0)
        return True

    def is_on(self, now_seconds: float) -> bool:
        """Whether it has begun and lasts: what it meets meanwhile is the same one time."""
        return self._until_seconds is not None and now_seconds < self._until_seconds

    def is_over(self, now_seconds: float) -> bool:
        return self.times == 0 and not self.is_on(now_seconds)

    def passes(self) -> bool:
        """Whether this fitting occasion is one to skip, which it then was; or nothing is left."""
        if self.times == 0:
            return True
        if self.skip:
            self.skip -= 1
            return True
        return False

    def use(self, now_seconds: float) -> None:
        if self.times is not None:
            self.times -= 1
        if self.fault.action == "refuse_socket" and self.fault.lasts_ms is not None:
            self._until_seconds = now_seconds + self.fault.lasts_ms / MS_PER_SECOND


class _Batch:
    """Faults ordered together; each set of them that can fit one occasion draws from a generator of its own."""

    def __init__(self, faults: Sequence[Fault], plan: str | None, seed: int | None, number: int) -> None:
        self.plan = plan
        self.seed = seed
        self.waiting = [_Waiting(fault) for fault in faults]
        self._number = number
        self._generators: dict[tuple[int, ...], Random] = {}

    def source(self) -> dict[str, Any]:
        return {} if self.plan is None else {"plan": self.plan, "seed": self.seed}

    def is_over(self, now_seconds: float) -> bool:
        return all(waiting.is_over(now_seconds) for waiting in self.waiting)

    def take_certain(self, actions: frozenset[str], facts: Facts, now_seconds: float) -> _Waiting | None:
        """The first fault that fits and leaves nothing to chance."""
        for waiting in self.waiting:
            if not waiting.fits(actions, facts):
                continue
            if waiting.is_on(now_seconds):
                return waiting
            if waiting.fault.probability is None and not waiting.passes():
                waiting.use(now_seconds)
                return waiting
        return None

    def take_by_chance(self, actions: frozenset[str], facts: Facts, now_seconds: float) -> _Waiting | None:
        """At most one of the faults that fit: one draw, in which each has its own share of the whole."""
        places = tuple(
            place
            for place, waiting in enumerate(self.waiting)
            if waiting.fault.probability is not None and waiting.fits(actions, facts)
        )
        if not places:
            return None
        # Drawn by which faults fit, used up or not: other occasions in between change nothing.
        drawn = self._generator(places).random()
        share, taken = Decimal(0), None
        for waiting in (self.waiting[place] for place in places):
            upto = share + (waiting.fault.probability or 0)
            if not waiting.passes() and share <= drawn < upto:
                taken = waiting
            share = upto
        if taken is not None:
            taken.use(now_seconds)
        return taken

    def _generator(self, places: tuple[int, ...]) -> Random:
        generator = self._generators.get(places)
        if generator is None:
            seed = f"{self.seed}/{self.plan or ''}/{self._number}/{places}"
            generator = self._generators[places] = Random(seed)  # noqa: S311 - it must be repeatable
        return generator
