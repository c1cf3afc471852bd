"""The request limit: at most N requests in any sixty seconds of real time."""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class RateLimit:
    """Counts requests over a rolling minute: a client that stays under this stays under any window."""

    def __init__(
        self,
        limit: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._wall = wall
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Count one request; False if it is over the limit (it does not count then)."""
        self._forget()
        if len(self._taken) >= self._limit:
            return False
        self._taken.append(self._monotonic())
        return True

    def headers(self) -> dict[str, str]:
        """X-RateLimit-*: the reset is the epoch second at which the oldest counted request is forgotten."""
        self._forget()
        frees_in = self._taken[0] + WINDOW_SECONDS - self._monotonic() if self._taken else 0.0
        return {
            "X-RateLimit-Limit": str(self._limit),
            "X-RateLimit-Remaining": str(self._limit - len(self._taken)),
            "X-RateLimit-Reset": str(math.ceil(self._wall() + frees_in)),
        }

    def _forget(self) -> None:
        horizon = self._monotonic() - WINDOW_SECONDS
        while self._taken and self._taken[0] <= horizon:
            self._taken.popleft()
