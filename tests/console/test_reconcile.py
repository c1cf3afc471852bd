"""``trading reconcile``: the differences as a table or JSON, and an honest exit code."""

import asyncio
from typing import Any

from temporalio.client import Schedule, ScheduleUpdate, ScheduleUpdateInput

from schemas import wire
from schemas.wire import Queue
from storage.switches import read_state
from tests.console.commands import of_stack
from tests.e2e import books
from tests.e2e.books import QUIET
from tests.servers.stack import Stack, StackFactory
from workers.singletons import ensure_schedule

METRICS_WITHIN_SECONDS = 60
NOWHERE = "127.0.0.1:1"


async def test_differences_are_shown_and_above_five_per_cent_everything_stops(
    stack_factory: StackFactory, unique: Any
) -> None:
    stack = await stack_factory(ours=QUIET)
    trading = of_stack(stack)
    await books.filled(stack, unique, "AAPL", 1)
    await books.quote(stack, "MSFT", "400.00", "400.10")
    rests = await books.resting(stack, unique, "MSFT", "399.00")
    clean = await trading("reconcile", "--json")
    assert (clean.code, clean.json["outcome"]) == (0, "CLEAN"), clean

    await stack.control("adjust", {"symbol": "AAPL", "qty": "4"})
    found = await trading("reconcile")
    assert found.code == 1
    assert "POSITION_BIGGER_THERE" in found.out
    assert "1 shares here, 5 at the broker" in found.out
    assert "what to do" in found.out
    assert (await trading("positions", "--json")).json[0]["quantity"] in ("1", "4")

    await stack.control("adjust", {"cash": "-6000"})
    stopped = await trading("reconcile", "--json")
    assert (stopped.code, stopped.json["killed"]) == (1, True)
    async with stack.parts.database.connection() as connection:
        switch = await read_state(connection)
    assert (switch.engaged, switch.triggered_by) == (True, "DriftMonitor")
    assert (await stack.settled(rests["signal_id"]))["status"] == "CANCELED", "the sweep follows at once"

    listed = await trading("reconcile", "--list", "--json")
    assert listed.code == 0
    assert listed.json["orders_wait"] is None
    outcomes = [run["outcome"] for run in listed.json["runs"]]
    # So great a loss may have been money paid out: then one more run has asked, and found nothing.
    assert [each for each in outcomes if each != "CLEAN"][:2] == ["DRIFT", "DRIFT"]
    assert "CLEAN" in outcomes[2:]
    assert outcomes[-1] == "OPENED"
    table = await trading("reconcile", "--list")
    assert "OPENED" in table.out
    status = await trading("status", "--json")
    assert status.json["reconciliation"]["last"]["outcome"] == outcomes[0]
    if outcomes[0] == "DRIFT":
        await until_metrics_say(stack, "state_drift_pct 6.")

    down = await trading("reconcile", TRADING_TEMPORAL_ADDRESS=NOWHERE)
    assert down.code == 3
    assert "Temporal does not answer" in down.err


async def until_metrics_say(stack: Stack, text: str) -> None:
    """Operations read it from the run's row."""
    async with asyncio.timeout(METRICS_WITHIN_SECONDS):
        while text not in (await stack.http.get("/metrics")).text:
            await asyncio.sleep(0.1)


async def test_without_workers_it_gives_up_and_the_schedule_keeps_its_pause(
    stack_factory: StackFactory,
) -> None:
    stack = await stack_factory()
    handle = stack.client.get_schedule_handle(wire.SCHEDULE_RECONCILIATION)
    await handle.pause(note="by a person")
    await asyncio.gather(*(ensure_schedule(stack.client, operations_queue=Queue.TRADING) for _ in range(3)))
    described = await handle.describe()
    state, policy = described.schedule.state, described.schedule.policy
    assert (state.paused, state.note) == (True, "by a person")
    assert policy.catchup_window.total_seconds() == 60
    action: Any = described.schedule.action
    assert action.execution_timeout < described.schedule.spec.intervals[0].every

    def to_nobody(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = found.description.schedule
        action: Any = schedule.action
        action.task_queue = "nobody-polls-this"
        return ScheduleUpdate(
            Schedule(action=action, spec=schedule.spec, policy=schedule.policy, state=schedule.state)
        )

    await handle.update(to_nobody)
    lonely = await of_stack(stack)("reconcile", "--wait-seconds", "1")
    assert lonely.code == 3
    assert "no worker took it" in lonely.err
