"""What every workflow test starts from: the real calendar, one order on a scripted broker, workers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from market.calendar import TradingCalendar, load_calendar
from schemas.wire import Queue
from tests.workflow.book import proposal
from tests.workflow.scripted import TUESDAY_NOON, ScriptedBroker

if TYPE_CHECKING:
    from datetime import datetime


@pytest.fixture(scope="session")
async def calendar() -> TradingCalendar:
    """Give the real New York calendar."""
    return await load_calendar()


@pytest.fixture
def scripted(calendar: TradingCalendar, unique: Callable[[str], str]) -> Callable[..., ScriptedBroker]:
    """Give a function that makes the broker of one new order; fields go into its proposal."""

    def make(*, market_start: "datetime" = TUESDAY_NOON, **fields: Any) -> ScriptedBroker:
        return ScriptedBroker(proposal(unique("s"), **fields), calendar, market_start=market_start)

    return make


@pytest.fixture(params=["compact", "isolated"])
def queue(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> str:
    """Give the workflow's queue in each topology: one of its own for every role, or the role's name."""
    return unique("trading") if request.param == "compact" else Queue.ORDERS.value
