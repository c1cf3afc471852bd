"""Jobs that go on for as long as their process."""

import asyncio
from collections.abc import Awaitable, Callable

from activities.starter import TemporalUnavailable
from broker.errors import BrokerError
from market.errors import MarketDataError
from observability.logging import get_logger

_log = get_logger(__name__)


async def for_ever(job: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Run ``job`` again and again with that pause, whatever becomes of it; cancel to end."""
    while True:
        try:
            await job()
        except (BrokerError, MarketDataError, TemporalUnavailable) as error:
            _log.warning("housekeeping delayed", job=job.__name__, reason=str(error))
        except Exception:  # noqa: BLE001
            # A loop that ended would end silently what people rely on; the error is in the log each time.
            _log.exception("housekeeping failed", job=job.__name__)
        await asyncio.sleep(seconds)
