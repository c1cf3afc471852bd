"""Which activities and workflows each role runs, and the Temporal workers made of them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.adoption import Adopter
from activities.broker_state import BrokerStateReader
from activities.kill_switch import KillSwitchActivities
from activities.market import MarketActivities
from activities.order_end import OrderEndActivities
from activities.placement import PlacementActivities
from activities.protection import ProtectionActivities
from activities.reconciliation import Pace, ReconciliationActivities
from activities.resolution import ResolutionActivities
from activities.retention import RetentionActivities
from activities.risk import RiskActivities
from activities.trade_updates import TradeUpdateActivities
from audit.cold.dropper import Dropper
from audit.cold.mover import Mover
from audit.cold.restorer import Restorer
from schemas.reconciliation import Graces
from schemas.wire import Queue
from security.grants import GrantRefused, verify_grant
from workers.clients import retention_of, utc_now
from workers.parts import BrokerParts, ExecutionParts, OperationsParts, OrdersParts, Parts, RiskParts
from workflows.kill_switch import KillSwitchWorkflow
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.retention import AuditDropWorkflow, AuditRestoreWorkflow, RetentionWorkflow
from workflows.trade_updates import TradeUpdatesWorkflow

GRACE: Final = timedelta(seconds=20)
"""Above the POST's total deadline of 15 s, so that no placement is cut in mid-request."""
ACTIVITIES_MAX: Final = 40
LOCAL_ACTIVITIES_MAX: Final = 40
WORKFLOW_TASKS_MAX: Final = 8
"""Risk decides inside a workflow task, so this bounds how many approvals wait for their POST in a burst."""
KILL_ACTIVITIES_MAX: Final = 8
STICKY_WAIT: Final = timedelta(seconds=3)
"""How long a workflow task waits for the process that had its workflow last: a killed one comes back as another."""

Activity = Callable[..., Any]

WORKFLOWS: Final[dict[Queue, tuple[type, ...]]] = {
    Queue.ORDERS: (OrderWorkflow, ProtectionWorkflow),
    Queue.OPERATIONS: (
        TradeUpdatesWorkflow,
        ReconciliationWorkflow,
        RetentionWorkflow,
        AuditRestoreWorkflow,
        AuditDropWorkflow,
    ),
    Queue.KILL_SWITCH: (KillSwitchWorkflow,),
}

BEHAVIOURS: Final = {
    Queue.ORDERS: VersioningBehavior.PINNED,
    Queue.OPERATIONS: VersioningBehavior.AUTO_UPGRADE,
}
COMPACT_ROLES: Final = (Queue.ORDERS, Queue.RISK, Queue.EXECUTION, Queue.OPERATIONS)


def activities_of(role: Queue, parts: Parts) -> list[Activity]:
    """The activities of one role, for the process that is every role."""
    match role:
        case Queue.RISK:
            return risk_activities(parts)
        case Queue.EXECUTION:
            return execution_activities(parts)
        case Queue.OPERATIONS:
            return operations_activities(parts)
        case _:
            return []


def risk_activities(parts: RiskParts) -> list[Activity]:
    """What the risk manager does."""
    risk = RiskActivities(
        parts.database, parts.clock, parts.metrics, now=utc_now, signer=parts.signer,
        clock_fault=parts.clock_fault,
    )  # fmt: skip
    return [risk.assess_risk]


def operations_activities(parts: OperationsParts) -> list[Activity]:
    """What operations do."""
    stream = TradeUpdateActivities(parts.database, parts.broker, parts.catch_up, parts.notifier, now=utc_now)
    return [stream.hold_trade_updates, *reconciliation_of(parts), *retention_steps(parts)]


def execution_activities(parts: ExecutionParts) -> list[Activity]:
    """What the execution agent does."""
    market = MarketActivities(
        parts.database, parts.broker, parts.clock, parts.hours, parts.quotes, parts.metrics, now=utc_now
    )
    placement = PlacementActivities(
        parts.database,
        parts.broker,
        parts.clock,
        parts.installation,
        parts.metrics,
        parts.budget,
        parts.approval_keys,
        parts.live,
    )
    resolution = ResolutionActivities(parts.database, parts.broker, parts.clock)
    end = OrderEndActivities(parts.database, parts.broker, parts.clock)
    protection = ProtectionActivities(parts.database, parts.clock, parts.hours)
    return [
        market.refresh_market,
        market.check_pre_trade,
        market.read_session,
        placement.place_order,
        resolution.resolve_order,
        end.read_order,
        end.refuse_order,
        end.cancel_order,
        end.tell_unconfirmed,
        end.settle_order,
        protection.review_protection,
        protection.find_protections,
    ]


def reconciliation_of(parts: OperationsParts) -> list[Activity]:
    """The steps of a reconciliation: read, overwrite, give up."""
    settings = parts.settings
    graces = Graces(
        fill_seconds=settings.reconcile_fill_grace_seconds,
        order_seconds=settings.reconcile_order_grace_seconds,
    )
    reconciliation = ReconciliationActivities(
        parts.database,
        BrokerStateReader(parts.database, parts.broker, parts.clock, parts.hours.trading_day),
        Adopter(parts.database, parts.broker, parts.notifier),
        Pace(graces, settings.reconcile_pause_seconds),
        now=utc_now,
    )
    return [
        reconciliation.read_broker_state,
        reconciliation.overwrite_books,
        reconciliation.end_reconciliation,
    ]


def retention_steps(parts: OperationsParts) -> list[Activity]:
    """The steps of retention: to cold storage, back from it, away for ever."""
    database, store = parts.database, parts.audit_store
    retention = RetentionActivities(
        Mover(database, store, retention_of(parts.settings), now=utc_now),
        Restorer(database, store, now=utc_now),
        Dropper(database, now=utc_now, verify=verify_grant, refused=GrantRefused),
    )
    return [
        retention.move_to_cold_storage,
        retention.restore_from_cold_storage,
        retention.drop_audit_partition,
    ]


def kill_switch_activities(parts: BrokerParts) -> list[Activity]:
    """What whoever polls the kill switch's queue does."""
    switch = KillSwitchActivities(
        parts.database,
        parts.kill_broker,
        parts.metrics,
        now=utc_now,
        verify=verify_grant,
        refused=GrantRefused,
    )
    return [
        switch.read_kill_switch,
        switch.engage_kill_switch,
        switch.sweep_open_orders,
        switch.note_attempt,
        switch.release_kill_switch,
    ]


def role_worker(
    queue: Queue,
    roles: Iterable[Queue],
    parts: OrdersParts,
    activities: Sequence[Activity],
    *,
    cached_workflows: int = 0,
    build: WorkerDeploymentConfig | None = None,
) -> Worker:
    """One Temporal worker on ``queue`` with these activities and the workflows of ``roles``.

    ``build``: as one of several builds that run side by side.
    """
    return Worker(
        parts.client,
        task_queue=queue.value,
        workflows=[each for role in roles for each in WORKFLOWS.get(role, ())],
        activities=activities,
        max_cached_workflows=cached_workflows,
        sticky_queue_schedule_to_start_timeout=STICKY_WAIT,
        max_concurrent_workflow_tasks=WORKFLOW_TASKS_MAX,
        max_concurrent_activities=ACTIVITIES_MAX,
        max_concurrent_local_activities=LOCAL_ACTIVITIES_MAX,
        graceful_shutdown_timeout=GRACE,
        deployment_config=build,
    )


def as_build(queue: Queue, build_id: str) -> WorkerDeploymentConfig:
    """Orders end with the build that they began with; what there is one of goes on with the current one.

    Said of the worker, never in `workflow.defn`: a worker without a build, as in the compact topology, could end no
    workflow task then (the server refuses a behaviour that comes without a build).
    """
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(queue.value, build_id),
        use_worker_versioning=True,
        default_versioning_behavior=BEHAVIOURS[queue],
    )


def kill_worker(parts: BrokerParts) -> Worker:
    """The kill switch's own worker. Nothing is cached: a dead process must not hold it on its sticky queue.

    It has no build: whoever is there must act on a kill, promoted or not, and `workflow.patched` keeps its runs.
    """
    return Worker(
        parts.client,
        task_queue=Queue.KILL_SWITCH.value,
        workflows=list(WORKFLOWS[Queue.KILL_SWITCH]),
        activities=kill_switch_activities(parts),
        max_cached_workflows=0,
        max_concurrent_activities=KILL_ACTIVITIES_MAX,
        graceful_shutdown_timeout=GRACE,
    )


def compact_workers(parts: Parts) -> list[Worker]:
    """Every role on one queue, and the kill switch beside it."""
    activities = [each for role in COMPACT_ROLES for each in activities_of(role, parts)]
    cached = parts.settings.cached_workflows
    return [
        role_worker(Queue.TRADING, COMPACT_ROLES, parts, activities, cached_workflows=cached),
        kill_worker(parts),
    ]


def isolated_workers(parts: Parts) -> list[Worker]:
    """Each role on its own queue, in one process."""
    cached = parts.settings.cached_workflows
    return [
        *(
            role_worker(role, (role,), parts, activities_of(role, parts), cached_workflows=cached)
            for role in COMPACT_ROLES
        ),
        kill_worker(parts),
    ]
