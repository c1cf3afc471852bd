"""What every workflow test starts from: the real calendar, one order on a scripted broker, workers."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkipper

from market.calendar import TradingCalendar, load_calendar
from schemas.wire import Queue
from tests.servers.session import Servers
from tests.workflow.book import proposal
from tests.workflow.scripted import TUESDAY_NOON, ScriptedBroker
from workers import temporal

if TYPE_CHECKING:
    from datetime import datetime

SUGGESTED_AFTER_EVENTS = 40


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


@pytest.fixture
def trading(unique: Callable[[str], str]) -> str:
    """Give a queue of its own for every role, for what does not depend on where a step runs."""
    return unique("trading")


@pytest.fixture(params=["compact", "isolated"])
def queue(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> str:
    """Give the workflow's queue in each topology: one of its own for every role, or the role's name."""
    return unique("trading") if request.param == "compact" else Queue.ORDERS.value


@pytest.fixture(scope="session")
async def brief_env(servers: Servers) -> "TimeSkipper":
    """Give a server that asks a workflow to continue as new after 40 events instead of 4,096."""
    server = temporal.Server()
    name = "temporal-brief"
    spec = temporal.spec(server, log_path=servers.data_dir.log(name), time_skipping=True, name=name)
    option = ("--dynamic-config-value", f"limit.historyCount.suggestContinueAsNew={SUGGESTED_AFTER_EVENTS}")
    await servers.supervisor.start(replace(spec, argv=(*spec.argv, *option)))
    client = await Client.connect(
        server.address, namespace=temporal.NAMESPACE, data_converter=pydantic_data_converter
    )
    return TimeSkipper(client)
