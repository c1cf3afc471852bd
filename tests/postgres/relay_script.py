"""A relay's process for the tests that kill it: ``relay_script.py DSN``; prints ``leads`` once it numbers."""

import asyncio
import sys

from observability.metrics import Metrics
from workers.relay import Relay


class ToldMetrics(Metrics):
    """Says on standard output how many it numbered."""

    def events_numbered(self, count: int) -> None:
        super().events_numbered(count)
        print(count, flush=True)


if __name__ == "__main__":
    asyncio.run(Relay(sys.argv[1], ToldMetrics()).run())
