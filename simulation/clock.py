"""The exchange's clock: market time that starts anywhere and runs at its own speed, never backwards."""

import time
from collections.abc import Callable
from datetime import datetime

from simulation.wire import from_ns, to_ns

SPEED_MAX = 20.0


class ClockMovedBackwards(ValueError):
    """The exchange's clock can only be set forward."""


class ExchangeClock:
    """Market time = start + monotonic time since then × speed."""

    def __init__(
        self, start: datetime, speed: float = 1.0, *, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        if not 0 <= speed <= SPEED_MAX:
            raise ValueError(f"speed must be between 0 and {SPEED_MAX:g}, got {speed:g}")
        self._monotonic_ns = monotonic_ns
        self._speed = speed
        self._anchor_ns = to_ns(start)
        self._anchor_monotonic_ns = monotonic_ns()

    @property
    def speed(self) -> float:
        return self._speed

    def now_ns(self) -> int:
        elapsed = self._monotonic_ns() - self._anchor_monotonic_ns
        return self._anchor_ns + int(elapsed * self._speed)

    def now(self) -> datetime:
        return from_ns(self.now_ns())

    def set(self, moment: datetime, speed: float | None = None) -> None:
        """Jump forward to ``moment`` and go on at ``speed`` (0 stops the clock).

        Raises ClockMovedBackwards if ``moment`` is in the clock's past.
        """
        if to_ns(moment) < self.now_ns():
            raise ClockMovedBackwards(f"the clock stands at {self.now().isoformat()}: set a later moment")
        if speed is not None and not 0 <= speed <= SPEED_MAX:
            raise ValueError(f"speed must be between 0 and {SPEED_MAX:g}, got {speed:g}")
        self._anchor_ns = to_ns(moment)
        self._anchor_monotonic_ns = self._monotonic_ns()
        if speed is not None:
            self._speed = speed
