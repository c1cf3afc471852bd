"""``trading doctor``: every part looked at, each fault with its remedy."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from console.addresses import Addresses
from console.checks import Check, State
from console.common import NO_OPTIONS, Common, ago, console, emit, table, utc_now
from console.doctor_keys import approval_keys, broker_key, operator_key
from console.errors import EXIT_DEPENDENCY, EXIT_DONE, EXIT_REFUSED, CommandFailed, DependencyDown
from console.rows import rows
from console.temporal import QUERY_RPC_TIMEOUT, connect, operations_queue
from schemas.builds import VERSIONED, BuildState
from schemas.wire import ID_KILL_SWITCH, ID_TRADE_UPDATES, Queue

if TYPE_CHECKING:
    import asyncpg
    from temporalio.client import Client

PYTHON_MIN: Final = (3, 11)
CLOCK_READ_MAX: Final = timedelta(seconds=60)
STREAM_SEEN_MAX: Final = timedelta(seconds=15)
SNAPSHOT_MAX: Final = timedelta(seconds=90)
CATCH_UP_MAX: Final = timedelta(seconds=90)
RETENTION_MIN: Final = timedelta(days=30)
"""Shorter, and closed orders leave the Web UI before a month's questions are asked."""
POLLED_WITHIN: Final = timedelta(seconds=75)
"""A poll waits a minute for work, then comes again."""
HTTP_SECONDS: Final = 5.0
ANSWER_BYTES_MAX: Final = 64 * 1024


async def doctor(*, common: Common = NO_OPTIONS) -> int:
    """Check every part. Exit 0: all well; 1: something is wrong; 3: a dependency is down."""
    addresses = common.addresses()
    checks = [check async for check in _checks(addresses)]

    def draw() -> None:
        lines = [(check.name, check.state.value, check.detail, check.do) for check in checks]
        console().print(table(("part", "state", "found", "what to do"), lines))

    emit(common, [asdict(check) for check in checks], draw)
    states = {check.state for check in checks}
    return EXIT_DEPENDENCY if State.DOWN in states else EXIT_REFUSED if State.WRONG in states else EXIT_DONE


async def _checks(addresses: Addresses) -> AsyncIterator[Check]:
    yield _python()
    yield _folder(addresses)
    for name, group in (("database", _database), ("Temporal", _temporal)):
        try:
            async for check in group(addresses):
                yield check
        except DependencyDown as down:
            yield Check(name, State.DOWN, down.what, down.do)
    yield await _http("gateway", addresses, "gateway_url", "/readyz")
    if addresses.get("exchange_url"):
        yield await _http("paper exchange", addresses, "exchange_url", "/_exchange/health")
    yield operator_key(addresses)
    yield approval_keys(addresses)
    yield broker_key(addresses)


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= PYTHON_MIN
    return Check(
        "Python", State.OK if good else State.WRONG, found, "" if good else "use Python 3.11 or newer"
    )


def _folder(addresses: Addresses) -> Check:
    where = str(addresses.data_dir)
    if addresses.running:
        return Check("data folder", State.OK, f"{where}, run by process {addresses.known['pid']}")
    if addresses.known.get("pid") is not None:
        return Check(
            "data folder", State.WRONG, f"{where}: its last run was cut off", "start `trading up` again"
        )
    return Check("data folder", State.NOTE, f"nothing runs in {where}", "start `trading up`")


async def _database(addresses: Addresses) -> AsyncIterator[Check]:
    from storage import migrate

    async with rows(addresses) as connection:
        yield Check("database", State.OK, f"PostgreSQL {await connection.fetchval('show server_version')}")
        yield await _told("schema", _schema(addresses, migrate))
        for name, look in _LOOKS.items():
            yield await _told(name, look(connection))


async def _schema(addresses: Addresses, migrate: Any) -> Check:
    try:
        await migrate.check(addresses.need("database_url"))
    except migrate.MigrationError as error:
        return Check("schema", State.WRONG, str(error), "run `trading migrate`")
    return Check("schema", State.OK, f"at {migrate.load()[-1].name}")


async def _told(name: str, check: Awaitable[Check]) -> Check:
    import asyncpg

    try:
        return await check
    except asyncpg.PostgresError as error:
        return Check(name, State.WRONG, f"{type(error).__name__}: {error}", "run `trading migrate`")


async def _limits(connection: "asyncpg.Connection[Any]") -> Check:
    from pydantic import ValidationError

    from schemas.limits import faults
    from storage.limits import LimitsMissing, current_limits

    try:
        found = await current_limits(connection, utc_now())
    except LimitsMissing:
        return Check("limits", State.WRONG, "none are set: nothing may trade", "start `trading up` once")
    except ValidationError as error:
        return Check(
            "limits", State.WRONG, f"not whole: {faults(error)}", "`trading limits set FIELD=VALUE ...`"
        )
    return Check("limits", State.OK, f"version {found.version} by {found.author}")


async def _kill_switch(connection: "asyncpg.Connection[Any]") -> Check:
    from storage.switches import read_state

    state = await read_state(connection)
    if not state.engaged:
        return Check("kill switch", State.OK, "released")
    detail = f"ENGAGED {ago(state.changed_at, utc_now())} ago by {state.triggered_by}: {state.reason}"
    return Check("kill switch", State.NOTE, detail, "when it may go on: `trading release --reason ...`")


async def _clock(connection: "asyncpg.Connection[Any]") -> Check:
    from storage.market import read_clock

    row = await read_clock(connection)
    now = utc_now()
    if row is None or now - row.read_at > CLOCK_READ_MAX:
        found = "never read" if row is None else f"last read {ago(row.read_at, now)} ago"
        return Check("market clock", State.WRONG, found, "is the broker reachable? see the logs")
    offset = (row.broker_at - row.read_at).total_seconds()
    detail = f"market {'open' if row.is_open else 'closed'}, {offset:+.1f} s against ours"
    return Check("market clock", State.OK, detail)


async def _own_clocks(connection: "asyncpg.Connection[Any]") -> Check:
    from schemas.clock import ClockVerdict
    from storage.clock import read_clock_checks

    checks = await read_clock_checks(connection)
    told = "; ".join(f"{each.holder}: {each.detail}" for each in checks) or "no process has asked yet"
    if any(each.halted_since is not None or each.verdict is ClockVerdict.SKEWED for each in checks):
        return Check("clocks", State.WRONG, told, "set that machine's clock right: new orders wait")
    if not checks or any(each.verdict is not ClockVerdict.IN_SYNC for each in checks):
        return Check("clocks", State.NOTE, told, "docs/SECRETS.md, The clock")
    return Check("clocks", State.OK, told)


async def _stream(connection: "asyncpg.Connection[Any]") -> Check:
    from storage.switches import read_stream

    row = await read_stream(connection)
    now = utc_now()
    if row.last_seen_at is None or now - row.last_seen_at > STREAM_SEEN_MAX:
        seen = ago(row.last_seen_at, now)
        return Check(
            "update stream", State.WRONG, f"last seen: {seen}", "fills come by catch-up every 5 s only"
        )
    if row.last_catch_up_at is None or now - row.last_catch_up_at > CATCH_UP_MAX:
        return Check(
            "update stream", State.WRONG, f"last catch-up: {ago(row.last_catch_up_at, now)}", "see the log"
        )
    return Check("update stream", State.OK, f"caught up {ago(row.last_catch_up_at, now)} ago")


async def _account(connection: "asyncpg.Connection[Any]") -> Check:
    from storage.market import read_account

    row = await read_account(connection)
    now = utc_now()
    if row.taken_at is None:
        return Check("account", State.NOTE, "no snapshot yet: the first signal fetches one")
    stale = now - row.taken_at > SNAPSHOT_MAX
    return Check("account", State.NOTE if stale else State.OK, f"snapshot {ago(row.taken_at, now)} ago")


async def _unknown(connection: "asyncpg.Connection[Any]") -> Check:
    from storage.switches import unknown_orders

    found = await unknown_orders(connection)
    if found:
        return Check(
            "unknown outcomes", State.WRONG, ", ".join(found), "ask the broker; see `trading order show`"
        )
    return Check("unknown outcomes", State.OK, "none")


_LOOKS: Final[dict[str, Callable[["asyncpg.Connection[Any]"], Awaitable[Check]]]] = {
    "limits": _limits,
    "kill switch": _kill_switch,
    "market clock": _clock,
    "clocks": _own_clocks,
    "update stream": _stream,
    "account": _account,
    "unknown outcomes": _unknown,
}


async def _temporal(addresses: Addresses) -> AsyncIterator[Check]:
    from temporalio.service import RPCError

    client = await connect(addresses)
    yield Check("Temporal", State.OK, f"{addresses.need('temporal_address')}, namespace {client.namespace}")
    looks: list[tuple[str, Awaitable[Check]]] = [("retention", _retention(client))]
    isolated = await _is_isolated(client, addresses)
    looks += [(f"queue {queue}", _polled(client, queue)) for queue in _queues(isolated=isolated)]
    if isolated:
        looks += [(f"build of {queue}", _build(client, queue)) for queue in VERSIONED]
    looks += [(f"workflow {one}", _running(client, one)) for one in (ID_KILL_SWITCH, ID_TRADE_UPDATES)]
    for name, look in looks:
        try:
            yield await look
        except RPCError as error:
            yield Check(name, State.WRONG, f"{error.status.name}: {error}", "restart `trading up`")


async def _build(client: "Client", queue: Queue) -> Check:
    from activities.builds import Builds
    from activities.starter import TemporalUnavailable

    name, known = f"build of {queue}", Builds(client)
    try:
        found = await known.read(queue.value)
        asking = await known.attended(queue.value, utc_now())
    except TemporalUnavailable as error:
        return Check(name, State.WRONG, str(error), "see the log of Temporal")
    current = next((each.build_id for each in found if each.state is BuildState.CURRENT), None)
    draining = [each.build_id for each in found if each.state is BuildState.DRAINING]
    told = f"{current} gets new work" + (f"; still draining: {', '.join(draining)}" if draining else "")
    if current is None:
        return Check(name, State.WRONG, "none gets new work", "`trading promote BUILD`")
    if current not in asking:
        do = "start its workers, or `trading promote` one that runs"
        return Check(name, State.WRONG, f"{told}; no process runs it", do)
    return Check(name, State.NOTE if draining else State.OK, told)


async def _is_isolated(client: "Client", addresses: Addresses) -> bool:
    """A command line in a container has no folder that says it: there the workers' own Schedule does."""
    if addresses.get("topology"):
        return addresses.get("topology") == "isolated"
    try:
        return await operations_queue(client) != Queue.TRADING
    except DependencyDown:
        # Operations were never here. One process for all is what `trading up` starts, and that has a folder.
        return True


def _queues(*, isolated: bool) -> list[Queue]:
    if isolated:
        return [Queue.ORDERS, Queue.RISK, Queue.EXECUTION, Queue.OPERATIONS, Queue.KILL_SWITCH]
    return [Queue.TRADING, Queue.KILL_SWITCH]


async def _retention(client: "Client") -> Check:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    found = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=QUERY_RPC_TIMEOUT
    )
    kept = found.config.workflow_execution_retention_ttl.ToTimedelta()
    good = kept >= RETENTION_MIN
    do = "" if good else f"temporal operator namespace update --retention 720h -n {client.namespace}"
    return Check("retention", State.OK if good else State.WRONG, f"{kept.days} days", do)


async def _polled(client: "Client", queue: Queue) -> Check:
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    if queue in (Queue.TRADING, Queue.ORDERS, Queue.KILL_SWITCH):
        kind = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    found = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue.value), task_queue_type=kind
        ),
        timeout=QUERY_RPC_TIMEOUT,
    )
    # The server remembers pollers for minutes; one that lives comes back within its long poll.
    asked = [poller.last_access_time.ToDatetime(UTC) for poller in found.pollers]
    living = sum(utc_now() - at <= POLLED_WITHIN for at in asked)
    if living:
        return Check(f"queue {queue.value}", State.OK, f"{living} polled within {POLLED_WITHIN.seconds} s")
    detail = f"last polled {ago(max(asked), utc_now())} ago" if asked else "nobody polls"
    return Check(
        f"queue {queue.value}", State.WRONG, detail, "start its worker: `trading up` or `trading worker NAME`"
    )


async def _running(client: "Client", workflow_id: str) -> Check:
    from temporalio.client import WorkflowExecutionStatus

    found = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=QUERY_RPC_TIMEOUT)
    good = found.status is WorkflowExecutionStatus.RUNNING
    name = f"workflow {workflow_id}"
    detail = found.status.name.lower() if found.status else "unknown"
    return Check(name, State.OK if good else State.WRONG, detail, "" if good else "restart `trading up`")


async def _http(name: str, addresses: Addresses, key: str, path: str) -> Check:
    import httpx2

    try:
        url = addresses.need(key)
        async with httpx2.AsyncClient(timeout=HTTP_SECONDS, trust_env=False) as http:
            answer = await http.get(url + path)
    except CommandFailed as failed:
        return Check(name, State.DOWN, failed.what, failed.do)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        cause = str(error) or type(error).__name__
        return Check(
            name, State.DOWN, f"{addresses.get(key)} does not answer: {cause}", "is `trading up` running?"
        )
    if answer.status_code == 200:
        return Check(name, State.OK, url)
    return Check(name, State.WRONG, f"answers {answer.status_code}: {answer.text[:300]}", "see what it names")
