"""Who waits for a request, so that not all of them come back at once."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from activities.failures import RATE_LIMIT_PAUSE

SPREAD_MAX_SECONDS: Final = 10.0
"""As old as a pre-trade result may be: who waits longer must be checked again anyway."""
FORGOTTEN_AFTER_SECONDS: Final = 60.0
"""Who waits comes back sooner: a workflow that was ended, or tried elsewhere, waits here no more."""


class Crowd:
    """Those of one process."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen_at: dict[str, float] = {}

    def add(self, who: str) -> None:
        """It waits, still or anew."""
        now = self._monotonic()
        self._seen_at = {
            each: at for each, at in self._seen_at.items() if now - at <= FORGOTTEN_AFTER_SECONDS
        }
        self._seen_at[who] = now

    def remove(self, who: str) -> None:
        """It waits no more."""
        self._seen_at.pop(who, None)

    def spread(self, pause: timedelta) -> timedelta:
        """Who waits comes back at different times: all at once, all but one would come in vain."""
        spread = min(SPREAD_MAX_SECONDS, len(self._seen_at) * RATE_LIMIT_PAUSE.total_seconds() / 4)
        return pause + timedelta(seconds=random.uniform(0, spread))  # noqa: S311 - no secret
