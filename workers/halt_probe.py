"""Asks the broker every five seconds whether it answers again, while no order may leave.

Operations and execution each run one; the row lets one of them ask at a time, and execution only when operations
have not.
"""

from datetime import timedelta
from typing import Final

from broker.budget import BrokerBudget, Share
from broker.errors import BrokerError, RateLimited
from broker.port import BrokerReader
from broker.told import evidence, hearing
from observability.logging import get_logger
from observability.metrics import Metrics
from storage.database import Database
from storage.halt import claim_probe, close_halt, read_halt
from workers.clients import utc_now

LOOK_SECONDS: Final = 1.0
PROBE_EVERY: Final = timedelta(seconds=5)
PROBE_EVERY_IN_RESERVE: Final = timedelta(seconds=8)
"""Who only stands in: longer, so that it asks when the other is dead."""

_log = get_logger(__name__)


class HaltProbe:
    """``broker`` has no budget of its own: what it asks is no evidence for or against a halt but this one's."""

    def __init__(
        self,
        database: Database,
        broker: BrokerReader,
        budget: BrokerBudget,
        metrics: Metrics,
        *,
        every: timedelta,
    ) -> None:
        self._database = database
        self._broker = broker
        self._budget = budget
        self._metrics = metrics
        self._every = every

    async def look(self) -> None:
        """Probe when the halt is open and a probe is due; close it when the broker answers with our account."""
        async with self._database.connection() as connection:
            state = await read_halt(connection)
        self._metrics.set_broker_halt(is_open=state.is_open)
        if not state.is_open:
            return
        async with self._database.transaction("halt.probe_claimed") as connection:
            if not await claim_probe(connection, every=self._every):
                return
        try:
            # No order leaves meanwhile, so its share has room.
            await self._budget.take(Share.ORDERS)
            with hearing() as calls:
                account = await self._broker.get_account()
        except RateLimited as error:
            _log.info("the probe of the broker waits", reason=error.message)
            return
        except BrokerError as error:
            _log.warning("the broker does not answer yet", reason=error.message, code=error.code)
            return
        async with self._database.transaction("halt.closed") as connection:
            told = f"account {account.account_id} answers"
            closed = await close_halt(connection, told, now=utc_now(), evidence=evidence(calls))
        if closed:
            _log.warning("the broker answers again: orders go on")
            self._metrics.set_broker_halt(is_open=False)
