"""A strategy that has lost its mind: 212 parents in a loop that send child orders and never hear of their fills.

The 45 minutes are a workflow's, on a server that skips time; our wall clock is moved along with it, so that every
window of risk passes as it would. How many orders came of it, the exchange's ledger says.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
import time_machine
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.testing import TimeSkipper, TimeSkippingConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from schemas.alerts import AlertCode
from schemas.wire import Leg, client_order_id
from storage.alerts import list_alerts
from storage.conduct import enable_strategy, list_stops
from tests.servers.session import Servers
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, signal
from tests.servers.temporal import TIME_SKIPS_MAX, start_server
from workers import temporal

LOOP = timedelta(minutes=45)
SHORT, SHORT_PARENTS = timedelta(minutes=9), 12
MINUTE = timedelta(seconds=60)
ALERT_WITHIN = timedelta(seconds=5)
QUEUE = "runaway-parents"
ACTIVITY = "send-children"
MAD, SANE = "knight", "day-trader"
SANE_EVERY = 10
"""Parents to one order of a strategy that nothing is wrong with."""


class Plan(BaseModel):
    parents: int
    pause_seconds: float


class Turn(BaseModel):
    number: int
    as_of: datetime


@workflow.defn(name="runaway-parents")
class ParentLoop:
    """Time is skipped between two parents, never while one sends."""

    @workflow.run
    async def run(self, plan: Plan) -> None:
        for number in range(plan.parents):
            await workflow.sleep(plan.pause_seconds)
            await workflow.execute_activity(
                ACTIVITY,
                Turn(number=number, as_of=workflow.now()),
                start_to_close_timeout=timedelta(minutes=5),
            )


@dataclass
class Parents:
    """What they send, when by the workflow's clock, and what becomes of it."""

    stack: Stack
    traveller: Any
    children: int
    enable_at: frozenset[int] = frozenset()
    """Turns before which a person believes that the strategy is mended."""
    sent: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Signal → its strategy, and when."""
    reasons: dict[str, str] = field(default_factory=dict)

    @activity.defn(name=ACTIVITY)
    async def send_children(self, turn: Turn) -> None:
        """Move the clock on, and send one child after the other: each believes that none was filled."""
        self.traveller.move_to(max(turn.as_of, datetime.now(UTC)), tick=True)
        if turn.number in self.enable_at:
            async with self.stack.parts.database.transaction("test") as connection:
                await enable_strategy(
                    connection, MAD, person="Jo", reason="mended?", component="test", now=datetime.now(UTC)
                )
        for child in range(self.children):
            await self._send(MAD, f"{MAD}-{turn.number}-{child}", quantity=str(1 + child))
        if turn.number % SANE_EVERY == 0:
            await self._send(SANE, f"{SANE}-{turn.number}", quantity="1")

    @property
    def told(self) -> str:
        """What became of the runaway's signals, in their order."""
        mad = (reason for name, reason in self.reasons.items() if name.startswith(MAD))
        return ", ".join(f"{sum(1 for _ in some)} × {reason or 'sent'}" for reason, some in groupby(mad))

    async def _send(self, strategy: str, name: str, **fields: str) -> None:
        self.sent[name] = strategy, datetime.now(UTC)
        answer = await self.stack.submit(signal(name, strategy=strategy, **fields))
        assert answer.status_code == 202, answer.text
        self.reasons[name] = (await self.stack.settled(name))["reason"] or ""


@pytest.fixture
async def temporal_addresses(servers: Servers, unique: Any) -> temporal.Server:
    """Give the stack a server that skips time, for the workflows that ask for it."""
    return await start_server(servers, unique("temporal-runaway"), time_skipping=True)


def most_within(times: Iterable[datetime], window: timedelta) -> int:
    """The most of them in any window."""
    ordered = sorted(times)
    return max((sum(1 for each in ordered if start <= each < start + window) for start in ordered), default=0)


async def run_loop(parents: Parents, *, count: int, lasting: timedelta = LOOP) -> None:
    """All parents, so long by the workflow's clock."""
    client = parents.stack.client
    config = TimeSkippingConfig(max_session_skip_count=TIME_SKIPS_MAX)
    env = TimeSkipper(client, config=config)
    plan = Plan(parents=count, pause_seconds=lasting.total_seconds() / count)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[ParentLoop],
        activities=[parents.send_children],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        began = datetime.now(UTC)
        await env.client.execute_workflow(ParentLoop.run, plan, id=f"parents-{id(parents)}", task_queue=QUEUE)
        assert datetime.now(UTC) - began >= lasting, "the clock followed the workflow's"


async def at_the_exchange(parents: Parents) -> dict[str, list[datetime]]:
    """When each strategy's orders were sent, of those that the ledger has; each once."""
    ledger = await parents.stack.ledger()
    installation = parents.stack.parts.installation
    assert installation.account is not None
    assert ledger["duplicate_orders"] == 0
    names = {
        client_order_id(installation.namespace, installation.account, name, Leg.ENTRY, 0): name
        for name in parents.sent
    }
    assert set(ledger["accepted_orders"]) <= set(names), "no order came from elsewhere"
    found: dict[str, list[datetime]] = {MAD: [], SANE: []}
    for accepted in ledger["accepted_orders"]:
        strategy, at = parents.sent[names[accepted]]
        found[strategy].append(at)
    return found


async def judge(parents: Parents, limits: dict[str, Any], *, trips: int) -> dict[str, Any]:
    """Hold what the ledger has against the limits; what there is to tell of it."""
    found = await at_the_exchange(parents)
    everything = [at for times in found.values() for at in times]
    window = timedelta(seconds=limits["repeated_executions_window_seconds"])
    assert most_within(found[MAD], MINUTE) <= limits["max_strategy_orders_per_minute"]
    assert most_within(everything, MINUTE) <= limits["max_orders_per_minute"]
    if trips == 1:  # Who was enabled again begins anew.
        assert most_within(found[MAD], window) <= limits["max_repeated_executions"]
    assert len(found[MAD]) <= trips * limits["max_repeated_executions"]
    assert len(found[SANE]) == sum(1 for strategy, _ in parents.sent.values() if strategy == SANE)
    async with parents.stack.parts.database.connection() as connection:
        stops = await list_stops(connection, everything=True)
        alerts = await list_alerts(connection, everything=True)
        delays = await connection.fetch(
            "select s.since - max(d.decided_at) as delay from strategy_stops s join orders o using (strategy)"
            " join decisions d using (signal_id, leg, generation) where d.decided_at <= s.since group by s.id"
        )
    assert [stop.strategy for stop in stops] == [MAD] * trips
    [alert] = [each for each in alerts if each.code is AlertCode.RUNAWAY_STRATEGY]
    assert alert.subject == MAD
    assert alert.cleared_at is None
    late = max(abs(alert.raised_at - stops[0].since), *(row["delay"] for row in delays))
    assert late <= ALERT_WITHIN
    return {
        "signals": len(parents.sent),
        "orders_of_the_runaway": len(found[MAD]),
        "orders_of_the_other": len(found[SANE]),
        "most_in_a_minute": most_within(found[MAD], MINUTE),
        "causes": sorted(stop.cause.value for stop in stops),
        "alert_seconds_after_the_order_too_many": late.total_seconds(),
    }


async def test_a_runaway_sends_no_more_than_its_limits_allow_and_is_stopped(
    stack_factory: StackFactory,
) -> None:
    """One child a parent: never too fast, so it is the repetition that is noticed. `make runaway`: 212 parents."""
    limits = WIDE_LIMITS | {"max_repeated_executions": 4, "repeated_executions_window_seconds": 300}
    stack = await stack_factory(limits=limits)
    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        parents = Parents(stack, traveller, children=1)
        await run_loop(parents, count=SHORT_PARENTS, lasting=SHORT)
        told = await judge(parents, limits, trips=1)
    assert told["orders_of_the_runaway"] == limits["max_repeated_executions"]
    assert told["causes"] == ["REPEATED_EXECUTIONS"]
    assert parents.reasons[f"{MAD}-4-0"] == "REPEATED_EXECUTIONS"
    assert parents.reasons[f"{MAD}-{SHORT_PARENTS - 1}-0"] == "STRATEGY_DISABLED"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("children", "cause"), [(1, "REPEATED_EXECUTIONS"), (5, "RUNAWAY_RATE")], ids=["steady", "fast"]
)
async def test_212_parents_for_45_minutes(stack_factory: StackFactory, children: int, cause: str) -> None:
    """As above; a person enables it three times in vain. Prints what came of it as JSON."""
    limits = WIDE_LIMITS | {
        "max_strategy_orders_per_minute": 8, "max_orders_per_minute": 12, "max_repeated_executions": 20,
        "repeated_executions_window_seconds": 600,
    }  # fmt: skip
    stack = await stack_factory(limits=limits)
    began = time.monotonic()
    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        parents = Parents(stack, traveller, children=children, enable_at=frozenset({53, 106, 159}))
        await run_loop(parents, count=212)
        print(parents.told)
        told = await judge(parents, limits, trips=4)
    print(json.dumps({"children": children, **told, "real_seconds": round(time.monotonic() - began, 1)}))
    assert told["causes"] == [cause] * 4
