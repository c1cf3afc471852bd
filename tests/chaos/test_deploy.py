"""A release on a whole installation with orders in flight: two builds of the orders' process; the ledger judges."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from tests.chaos.test_broken import settled, traded, until, verdict_of
from tests.console.commands import Trading, environment
from workers.build_id import own_build
from workers.chaos.doors import new_signal
from workers.chaos.stage import Stage, staged
from workers.datadir import free_port
from workers.healthy import problem

NEXT = "next"
RESTING = 10
FLOWING = 10
"""One of each ticker: the same again within a second would be a duplicate."""
CHANGED = (sys.executable, "-m", "tests.chaos.changed_build")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(exchange_options=("--tickers=10", "--cash=10000000")) as running:
        yield running


def of(stage: Stage) -> Trading:
    return Trading(
        environment(
            TRADING_DATA_DIR=str(stage.data_dir.root),
            TRADING_DATABASE_URL=stage.console_dsn,
            TRADING_TEMPORAL_ADDRESS=stage.temporal_address,
        )
    )


async def start_next(stage: Stage) -> None:
    """The new build beside the old one."""
    port = free_port()

    async def ready() -> str | None:
        return await asyncio.to_thread(problem, f"http://127.0.0.1:{port}/readyz", 1.5)

    old = stage.supervisor.specs["orders"]
    env = {**old.env, "TRADING_BUILD_ID": NEXT, "TRADING_METRICS_PORT": str(port)}
    await stage.supervisor.start(
        replace(
            old,
            name="orders-next",
            argv=CHANGED,
            env=env,
            ready=ready,
            log_path=stage.data_dir.log("orders-next"),
        )
    )


async def builds(trading: Trading) -> dict[str, dict[str, Any]]:
    listed = (await trading("builds", "--json")).json
    return {each["build_id"]: each for each in listed if each["deployment"] == "orders"}


async def test_a_release_loses_and_doubles_nothing(stage: Stage) -> None:
    """How: some orders rest, others flow without a break, while a build whose workflow no old history survives is
    started, promoted and drained to, and the old one ends. What rests is cancelled by people in the end.
    """
    trading = of(stage)
    resting = await traded(
        stage, "rests", RESTING, order_type="LIMIT", limit_price="30.00", time_in_force="GTC"
    )
    flowing = [asyncio.create_task(traded(stage, f"flows-{each}", FLOWING, quantity=each)) for each in "123"]
    await start_next(stage)
    waiting = await builds(trading)
    assert (waiting[NEXT]["state"], waiting[own_build()]["state"]) == ("INACTIVE", "CURRENT")
    promoted = await trading("promote", NEXT, "--reason", "a test", "--json")
    assert promoted.json["deployments"] == ["orders"], "the release is of orders alone"
    flowing.append(asyncio.create_task(traded(stage, "flows-new", FLOWING, quantity="4")))
    for each in flowing:
        await each
    left = await builds(trading)
    assert left[NEXT]["state"] == "CURRENT"
    assert left[own_build()]["open_workflows"] >= RESTING
    assert (await trading("drain", own_build())).code == 0

    async def drained() -> bool:
        return bool((await builds(trading))[own_build()]["open_workflows"] == 0)

    await until(drained)
    assert await drained()
    await stage.supervisor.stop("orders")
    taken = resting | set().union(*(each.result() for each in flowing))
    taken |= await traded(stage, "after", FLOWING, quantity="5")
    for name in sorted(resting):
        assert (await trading("order", "cancel", name)).code == 0
    await until(lambda: settled(stage, len(taken)))
    verdict = await verdict_of(stage, taken)
    assert verdict.wrong == []
    assert verdict.figures["filled"] == len(taken) - RESTING
    await no_workflow_met_code_that_it_does_not_know(stage)
    assert (await stage.gateway.submit(new_signal("last"))).status_code == 202


async def no_workflow_met_code_that_it_does_not_know(stage: Stage) -> None:
    client = await stage.temporal_client()
    runs = 0
    async for run in client.list_workflows("WorkflowType = 'order'"):
        runs += 1
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            assert event.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, run.id
    assert runs > RESTING
