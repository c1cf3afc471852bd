"""A relay's process for the tests that kill and freeze it: ``relay_script.py DSN [IDLE_SECONDS_MAX]``.

Prints how many events it numbered, each time.
"""

import asyncio
import sys
from collections.abc import Mapping

from observability.metrics import Metrics
from storage import wakeups
from workers import relay
from workers.relay import Relay


class ToldMetrics(Metrics):
    """Says on standard output how many it numbered."""

    def events_numbered(self, topics: Mapping[str, int]) -> None:
        super().events_numbered(topics)
        print(sum(topics.values()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        wakeups.IDLE_SECONDS_MAX = int(sys.argv[2])  # type: ignore[misc]
        relay.TICK_SECONDS = wakeups.IDLE_SECONDS_MAX / 4  # type: ignore[misc]
    asyncio.run(Relay(sys.argv[1], ToldMetrics()).run())
