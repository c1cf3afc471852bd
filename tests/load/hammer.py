"""A program that asks the broker as often as it is let: python -m tests.load.hammer SECONDS < settings.json

Prints how many requests it sent of each share, how many it was not let send, and when it began to ask.
"""

import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack, suppress

from pydantic import SecretStr

from broker.alpaca.client import AlpacaReader
from broker.alpaca.settings import AlpacaSettings
from broker.budget import NoToken
from broker.errors import NotFound
from observability.metrics import Metrics
from storage.database import Database
from workers.broker_budget import SharedBudget

AT_ONCE = 4
"""Askers of each kind."""


async def main(seconds: float) -> None:
    """Ask until the time is over and something was not let out, whatever is answered."""
    given = json.load(sys.stdin)
    async with AsyncExitStack() as stack:
        database = await Database.connect(given["dsn"])
        stack.push_async_callback(database.close)
        settings = AlpacaSettings(
            SecretStr(given["key"]), SecretStr(given["secret"]), given["url"], given["ws"]
        )
        budget = SharedBudget(database, Metrics(), requests_per_minute=given["limit"])
        reader = AlpacaReader(settings, budget=budget)
        stack.push_async_callback(reader.close)
        sent, began_ns, ends = Counter[str](), time.monotonic_ns(), time.monotonic() + seconds

        async def ask(name: str) -> None:
            while time.monotonic() < ends or not sent["none_left"]:
                try:
                    with suppress(NotFound):
                        await calls[name]()
                    sent[name] += 1
                except NoToken as none:
                    sent["none_left"] += 1
                    await asyncio.sleep(min(none.retry_after_seconds or 0, 0.25))

        calls = {
            "reads": reader.get_account,
            "orders": lambda: reader.get_order_by_client_id("ti-none"),
            "stops": lambda: reader.cancel_order(str(uuid.uuid4())),
        }
        await asyncio.gather(*(ask(name) for name in calls for _ in range(AT_ONCE)))
    print(json.dumps({**sent, "began_ns": began_ns}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
