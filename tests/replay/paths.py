"""The ways a workflow can go, each walked once per recording: on real time, with scripted steps."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker

from activities.builds import Builds
from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import Action, OrderStatus
from schemas.risk import AssessmentKind
from schemas.runs import CancelCommand
from schemas.wire import Queue
from tests.replay.standing_paths import (
    kill_switch,
    month_dropped,
    not_reconciled,
    reconciled_clean,
    reconciled_drift,
    renewed_kill_switch,
    renewed_trade_updates,
    restored,
    retention,
    trade_updates,
)
from tests.replay.walk import COMPACT, ISOLATED, AnyHandle, Walk
from tests.workflow.protected import at_rest, ended, protection_of, tell_leg, until_true
from tests.workflow.running import (
    RESTS,
    Order,
    outcome,
    start,
    tell,
    until,
    workers,
)
from tests.workflow.scripted import ScriptedBroker
from workers.roles import as_build
from workflows.orders import OrderWorkflow

JUST_BEFORE_THE_BELL: Final = datetime(2026, 11, 24, 20, 59, 58, tzinfo=UTC)
"""Two seconds before the session ends."""
AFTER_THE_BELL: Final = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
JUST_BEFORE_THE_ALARM: Final = datetime(2026, 11, 24, 20, 57, 58, tzinfo=UTC)
"""Two seconds before the rest of a partial fill is cancelled."""


async def filled(walk: Walk) -> AnyHandle:
    """Two executions; the first sets the alarm for the bell."""
    broker = walk.broker()
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("4"))
        await until(order, "fills")
        await tell(order, broker.fill("6"))
    return order


async def moved_to_next_build(walk: Walk) -> AnyHandle:
    """At rest on a former build at the close: the run ends, and the next one goes on with the current build."""
    broker, builds = walk.broker(), Builds(walk.client)
    async with AsyncExitStack() as stack:
        for role in (Queue.RISK, Queue.EXECUTION):
            steps = broker.activities(role)
            await stack.enter_async_context(Worker(walk.client, task_queue=role.value, activities=steps))
        for build in ("former", "next"):
            worker = Worker(
                await Client.connect(
                    walk.client.service_client.config.target_host,
                    namespace=walk.client.namespace,
                    data_converter=walk.client.data_converter,
                    identity=walk.client.identity,
                ),
                task_queue=Queue.ORDERS.value,
                workflows=[OrderWorkflow],
                deployment_config=as_build(Queue.ORDERS, build),
            )
            await stack.enter_async_context(worker)
        await builds.promote(Queue.ORDERS.value, "former")
        order = await start(walk.client, broker, Queue.ORDERS.value)
        await until(order, RESTS)
        first = walk.client.get_workflow_handle(order.id, run_id=(await order.describe()).run_id)
        await builds.promote(Queue.ORDERS.value, "next")
        await order.signal(wire.SIGNAL_NEXT_BUILD, "the session is over")
        await until_true(lambda: broker.calls.count(wire.ACTIVITY_ASSESS_RISK) == 2)
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
        await outcome(order)
        # Nobody is current any more: the walks after this one have no build.
        await builds.promote(Queue.ORDERS.value, "")
    return first


async def end_of_day(walk: Walk) -> AnyHandle:
    """The rest of a partial fill is cancelled two minutes before the bell."""
    broker = walk.broker(JUST_BEFORE_THE_ALARM)
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("4"))
        await until(order, "the broker's confirmation")
        await tell(order, broker.says(TradeEvent.CANCELED))
    return order


async def unconfirmed_at_the_bell(walk: Walk) -> AnyHandle:
    """The cancel of the rest is not confirmed when the bell rings; it is next morning."""
    return await cancelled_next_session(walk, JUST_BEFORE_THE_BELL)


async def silent_over_the_bell(walk: Walk) -> AnyHandle:
    """The broker answers no cancel of the rest over the bell: a person is told while that is tried."""
    broker = walk.broker(JUST_BEFORE_THE_BELL)
    broker.script(wire.ACTIVITY_CANCEL_ORDER, *["!ERR_NETWORK"] * 100)
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("4"))
        await told_and_cancelled(broker, order)
    return order


async def cancel_unanswered_over_the_bell(walk: Walk) -> AnyHandle:
    """The same while a person's cancel is tried, and the first fill comes meanwhile."""
    broker = walk.broker(JUST_BEFORE_THE_BELL)
    broker.script(wire.ACTIVITY_CANCEL_ORDER, *["!ERR_NETWORK"] * 100)
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await order.cancel()
        await until_true(lambda: wire.ACTIVITY_CANCEL_ORDER in broker.calls)
        await tell(order, broker.fill("4"))
        await told_and_cancelled(broker, order)
    return order


async def told_and_cancelled(broker: ScriptedBroker, order: Order) -> None:
    """Once a person is told, the broker answers again."""
    await until_true(lambda: broker.told_unconfirmed == 1)
    broker.heal(wire.ACTIVITY_CANCEL_ORDER)
    await until(order, "the next session")
    await tell(order, broker.says(TradeEvent.CANCELED))


async def told_after_the_bell(walk: Walk) -> AnyHandle:
    """A partial fill is told only after the bell: its rest is cancelled at once."""
    return await cancelled_next_session(walk, AFTER_THE_BELL)


async def cancelled_next_session(walk: Walk, filled_at: datetime) -> AnyHandle:
    """Part of it fills at that time; the broker's word on the cancel of the rest comes in the next session."""
    broker = walk.broker(filled_at)
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("4"))
        await until(order, "the next session")
        await tell(order, broker.says(TradeEvent.CANCELED))
    return order


async def protected_entry(walk: Walk) -> AnyHandle:
    """Filled with a hard stop loss: its protection starts, and goes on without it."""
    broker = walk.protected()
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
        await until_true(broker.is_live)
    return order


async def protected_again(walk: Walk) -> AnyHandle:
    """Executions come after the end, while its protection runs."""
    broker = walk.protected()
    async with walk.order(broker) as order:
        await until(order, RESTS)
        broker.fill("4")
        await tell(order, broker.says(TradeEvent.CANCELED))
        await until_true(broker.is_live)
        await at_rest(protection_of(walk.client, broker))
    broker.fill("6")
    broker.settled = False
    async with workers(walk.client, broker, walk.queue(Queue.ORDERS)):
        again = await start(walk.client, broker, walk.queue(Queue.ORDERS), again=True)
        await outcome(again)
    return again


async def protected_by_last_word(walk: Walk) -> AnyHandle:
    """Some executions come only with the broker's last word."""
    broker = walk.protected()
    broker.last_word = "6"
    async with walk.order(broker) as order:
        await until(order, RESTS)
        broker.fill("4")
        await tell(order, broker.says(TradeEvent.CANCELED))
        await until_true(broker.is_live)
    return order


async def protection_filled(walk: Walk) -> AnyHandle:
    """The stop's answer is lost and found again; it is shrunk for a closing signal, and filled."""
    broker = walk.protected()
    broker.script(wire.ACTIVITY_PLACE_ORDER, "", "RECHECK", "UNKNOWN")
    broker.script(wire.ACTIVITY_RESOLVE_ORDER, "UNKNOWN")
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
        protection = protection_of(walk.client, broker)
        await until_true(broker.is_live)
        broker.lent = Decimal(4)
        await protection.signal(wire.SIGNAL_LOOK_AGAIN, "a closing order wants them")
        await until_true(lambda: broker.cancels_sent == 1)
        await tell_leg(protection, broker.told(status=OrderStatus.CANCELED))
        await until_true(lambda: broker.is_live() and broker.stop.quantity == Decimal(6))
        broker.lent, broker.sold = Decimal(0), Decimal(4)
        await tell_leg(protection, broker.told(status=OrderStatus.FILLED, filled_quantity=Decimal(6)))
        await ended(protection)
    return protection


async def closing_order(walk: Walk) -> AnyHandle:
    """A sell asks for shares first, and again when it is done; the one it asks does not run."""
    broker = walk.protected(action=Action.SELL_TO_CLOSE)
    broker.hard_stop, broker.others = None, ("another-signal",)
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
    return order


async def closing_refused(walk: Walk) -> AnyHandle:
    """A sell that is refused after it has asked for shares says that it wants them no more."""
    broker = walk.protected(action=Action.SELL_TO_CLOSE)
    broker.hard_stop, broker.others = None, ("another-signal",)
    broker.script(wire.ACTIVITY_CHECK_PRE_TRADE, "REFUSE")
    async with walk.order(broker) as order:
        return order


async def exit_by_a_fetched_quote(walk: Walk) -> AnyHandle:
    """The market is past the stop and no quote is stored: one is fetched, and the exit goes by it."""
    broker = walk.protected()
    broker.exiting = True
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
        await until_true(broker.is_live)
        protection = protection_of(walk.client, broker)
        await tell_leg(protection, broker.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        await ended(protection)
    return protection


async def rejected_by_risk(walk: Walk) -> AnyHandle:
    """After risk asked once for what it lacked."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_ASSESS_RISK, AssessmentKind.NEEDS_QUOTE, AssessmentKind.REJECTED)
    async with walk.order(broker) as order:
        return order


async def nothing_fetched(walk: Walk) -> AnyHandle:
    """What risk lacked could not be fetched: it decides with what there is."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_ASSESS_RISK, AssessmentKind.NEEDS_QUOTE, AssessmentKind.REJECTED)
    broker.script(wire.ACTIVITY_REFRESH_MARKET, "!!ERR_FORBIDDEN")
    async with walk.order(broker) as order:
        return order


async def refused_pre_trade(walk: Walk) -> AnyHandle:
    """At the second look: the first was too old by the time of the POST."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_PLACE_ORDER, "RECHECK")
    broker.script(wire.ACTIVITY_CHECK_PRE_TRADE, "", "REFUSE")
    async with walk.order(broker) as order:
        return order


async def refused_by_broker(walk: Walk) -> AnyHandle:
    """With the broker's own code."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_PLACE_ORDER, "REFUSE")
    async with walk.order(broker) as order:
        return order


async def unknown_adopted(walk: Walk) -> AnyHandle:
    """Looked up twice, with a pause between."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
    broker.script(wire.ACTIVITY_RESOLVE_ORDER, "UNKNOWN")
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
    return order


async def unknown_absent(walk: Walk) -> AnyHandle:
    """Proved absent, checked again and sent a second time."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
    broker.script(wire.ACTIVITY_RESOLVE_ORDER, "UNKNOWN", "ABSENT")
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
    return order


async def cancelled_by_update(walk: Walk) -> AnyHandle:
    """While it rests."""
    broker = walk.broker()
    async with walk.order(broker) as order:
        await until(order, RESTS)
        await order.execute_update(wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="ana", reason="enough"))
        await tell(order, broker.says(TradeEvent.CANCELED))
    return order


async def cancelled_workflow(walk: Walk) -> AnyHandle:
    """By cancelling the workflow while the POST is out."""
    broker = walk.broker()
    async with broker.held(wire.ACTIVITY_PLACE_ORDER) as post, walk.order(broker) as order:
        await post.asked.wait()
        await order.cancel()
        post.opened.set()
        await until(order, RESTS)
        await tell(order, broker.says(TradeEvent.CANCELED))
    return order


async def cancelled_before_its_post(walk: Walk) -> AnyHandle:
    """By cancelling the workflow while the step that places is tried again and again."""
    broker = walk.broker()
    broker.script(wire.ACTIVITY_PLACE_ORDER, *["!BROKER_HALT"] * 100)
    async with walk.order(broker) as order:
        await until_true(lambda: wire.ACTIVITY_PLACE_ORDER in broker.calls)
        await order.cancel()
    return order


Path = Callable[[Walk], Awaitable[AnyHandle]]

BOTH: Final = (COMPACT, ISOLATED)
PATHS: Final[dict[str, tuple[Path, tuple[str, ...]]]] = {
    "filled": (filled, BOTH),
    "moved-to-next-build": (moved_to_next_build, (ISOLATED,)),
    "end-of-day": (end_of_day, BOTH),
    "unconfirmed-at-the-bell": (unconfirmed_at_the_bell, BOTH),
    "silent-over-the-bell": (silent_over_the_bell, BOTH),
    "cancel-unanswered-over-the-bell": (cancel_unanswered_over_the_bell, BOTH),
    "told-after-the-bell": (told_after_the_bell, BOTH),
    "protected-entry": (protected_entry, BOTH),
    "protected-again": (protected_again, BOTH),
    "protected-by-last-word": (protected_by_last_word, BOTH),
    "protection": (protection_filled, BOTH),
    "protection.exit": (exit_by_a_fetched_quote, BOTH),
    "closing-order": (closing_order, BOTH),
    "closing-refused": (closing_refused, BOTH),
    "rejected-by-risk": (rejected_by_risk, BOTH),
    "nothing-fetched": (nothing_fetched, BOTH),
    "refused-pre-trade": (refused_pre_trade, BOTH),
    "refused-by-broker": (refused_by_broker, BOTH),
    "unknown-adopted": (unknown_adopted, BOTH),
    "unknown-absent": (unknown_absent, BOTH),
    "cancelled-by-update": (cancelled_by_update, BOTH),
    "cancelled-workflow": (cancelled_workflow, BOTH),
    "cancelled-before-its-post": (cancelled_before_its_post, BOTH),
    "kill-switch": (kill_switch, (ISOLATED,)),
    "trade-updates": (trade_updates, BOTH),
    "kill-switch-renewed": (renewed_kill_switch, (ISOLATED,)),
    "trade-updates-renewed": (renewed_trade_updates, BOTH),
    "reconciled-clean": (reconciled_clean, BOTH),
    "reconciled-drift": (reconciled_drift, BOTH),
    "not-reconciled": (not_reconciled, BOTH),
    "retention": (retention, BOTH),
    "restored": (restored, BOTH),
    "month-dropped": (month_dropped, BOTH),
}
"""Each path with the topologies it differs in: the kill switch has its own queue in both."""
