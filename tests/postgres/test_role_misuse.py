"""What somebody who has taken over one process might try with its database role, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities.evidence import take_in
from activities.kill_alerts import alert
from activities.placement import PlacementActivities
from activities.risk import RiskActivities
from activities.row_alerts import RowAlerts
from broker.errors import UnknownOutcome
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.kill import KillCommand, KillScope, KillState
from schemas.risk import AssessmentKind
from schemas.runs import OrderQuestion, PlaceKind, RiskQuestion
from schemas.wire import Topic, event_id
from storage import sweeps, switches
from storage.alerts import ALERT_LOCKS, clear_alert, list_alerts, raise_alert
from storage.database import PLACEMENT_SLOTS, POOL_MAX, Database
from storage.events import KEY_LOCKS
from storage.fence import fence_holders, try_fence
from storage.grants import Role
from storage.halt import note_failure, read_halt
from storage.migrate import migrate
from storage.orders import read_order
from storage.placement import FENCE_KEY, free_fence, take_fence, write_pre_trade
from storage.switches import bind_installation
from tests.postgres.as_role import PASSWORD, connected, roles
from tests.postgres.books import market_clock, prepare, propose, reconciled
from tests.postgres.scripted_broker import NoLimit, ScriptedBroker, told
from tests.servers.approvals import KEYS, SIGNER

__all__ = ["roles"]

OWNER_PASSWORD: Final = "owner-of-this-test"

FORGED_ORDER: Final = """
    insert into orders (internal_order_id, signal_id, leg, generation, strategy, ticker, action, order_type,
        time_in_force, extended_hours, quantity, limit_price, status, created_at, updated_at{more})
    select gen_random_uuid(), 'evil', 'entry', 0, strategy, 'TSLA', 'SELL_TO_OPEN', order_type, time_in_force,
        extended_hours, 1, 1, 'CREATED', received_at, received_at{values}
    from signals where signal_id = 'evil'"""
FORGED_SIGNAL: Final = """
    insert into signals
    select 'evil', token_id, content_hash, document, strategy, ticker, action, order_type, time_in_force, quantity,
        limit_price, hard_stop_loss, extended_hours, created_at, valid_until, received_at, traceparent, stop_price
    from signals where signal_id = 'good'"""
FORGED_AUDIT: Final = """
    insert into audit_log (id, occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs)
    overriding system value values (1, now(), 'kill-switch', 'x', 'x', 'x', 'KILL_RELEASED', '[]', '[]')"""
FORGED_EVENT: Final = """
    insert into events (event_id, topic, key, payload, occurred_at, {column})
    overriding system value values ('forged', 'system.killswitch.activated', 'kill-switch', '{{}}', now(), 1)"""


def as_role(dsn: str, role: Role) -> str:
    parts = urlsplit(dsn)
    netloc = f"{role}:{quote(PASSWORD, safe='')}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc))


class Desk:
    """Risk and execution, each with its own role; the broker is scripted."""

    def __init__(self, risk: RiskActivities, placement: PlacementActivities, broker: ScriptedBroker) -> None:
        self.risk = risk
        self.placement = placement
        self.broker = broker

    async def place(self, signal_id: str) -> PlaceKind:
        question = OrderQuestion(signal_id=signal_id, as_of=datetime.now(UTC))
        return (await self.placement.place_order(question)).kind


@asynccontextmanager
async def desk(dsn: str) -> AsyncIterator[tuple[Desk, Database]]:
    """Books that are ready to trade, and one signal ``good``."""
    async with AsyncExitStack() as stack:
        owner = await Database.connect(dsn)
        stack.push_async_callback(owner.close)
        await prepare(owner)
        await reconciled(owner)
        await propose(owner, "good")
        async with owner.transaction("test") as connection:
            installation = await bind_installation(
                connection, account="A1", mode="paper", now=datetime.now(UTC)
            )
        rows = await Database.connect(as_role(dsn, Role.RISK))
        stack.push_async_callback(rows.close)
        fenced = await Database.connect(as_role(dsn, Role.EXECUTION), fences=True)
        stack.push_async_callback(fenced.close)
        clock = await stack.enter_async_context(market_clock())
        broker = ScriptedBroker()
        risk = RiskActivities(rows, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
        placement = PlacementActivities(fenced, broker, clock, installation, Metrics(), NoLimit(), KEYS)  # type: ignore[arg-type]
        yield Desk(risk, placement, broker), owner


async def test_an_order_that_is_not_its_signal_is_refused_by_risk_and_never_sent(roles: str) -> None:
    """How: a gateway writes a signal to buy AAPL with an order to sell TSLA, as far as its role lets it."""
    async with desk(roles) as (both, _):
        async with connected(roles, Role.GATEWAY) as gateway:
            await gateway.execute(FORGED_SIGNAL)
            for column, value in (
                ("pre_trade_at", "'2100-01-01'"), ("client_order_id", "'ti-forged'"), ("post_open", "true"),
                ("post_count", "1"), ("posting_deadline", "'2100-01-01'"), ("flags", "'{outcome_unknown}'"),
            ):  # fmt: skip
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await gateway.execute(FORGED_ORDER.format(more=f", {column}", values=f", {value}"))
            await gateway.execute(FORGED_ORDER.format(more="", values=""))
        answer = await both.risk.assess_risk(RiskQuestion(signal_id="evil", as_of=datetime.now(UTC)))
        assert answer.kind is AssessmentKind.REJECTED
        assert "ORDER_NOT_AS_SIGNAL" in answer.reasons
        assert await both.place("evil") is PlaceKind.ENDED
        assert both.broker.posts == []


@pytest.mark.parametrize(
    "change",
    [
        "ticker = 'TSLA'", "strategy = 'carry'", "action = 'SELL_TO_OPEN'", "order_type = 'MARKET'",
        "time_in_force = 'GTC'", "extended_hours = true", "order_type = 'STOP_LIMIT', stop_price = 99",
    ],
)  # fmt: skip
async def test_an_order_changed_after_its_approval_is_not_sent(roles: str, change: str) -> None:
    async with desk(roles) as (both, owner):
        answer = await both.risk.assess_risk(RiskQuestion(signal_id="good", as_of=datetime.now(UTC)))
        assert answer.kind is AssessmentKind.APPROVED
        async with owner.transaction("test") as connection:
            await write_pre_trade(connection, await read_order(connection, "good"), datetime.now(UTC))
            await connection.execute(f"update orders set {change}")
        assert await both.place("good") is PlaceKind.ENDED
        async with owner.connection() as connection:
            assert await connection.fetchval("select reason from orders") == "ORDER_NOT_AS_SIGNAL"
        assert both.broker.posts == []


async def test_checks_of_the_future_are_made_again(roles: str) -> None:
    async with desk(roles) as (both, owner):
        await both.risk.assess_risk(RiskQuestion(signal_id="good", as_of=datetime.now(UTC)))
        for ahead, wanted in ((timedelta(hours=1), PlaceKind.RECHECK), (timedelta(0), PlaceKind.PLACED)):
            async with owner.transaction("test") as connection:
                await write_pre_trade(
                    connection, await read_order(connection, "good"), datetime.now(UTC) + ahead
                )
            assert await both.place("good") is wanted
        assert len(both.broker.posts) == 1


@pytest.mark.parametrize("role", Role)
async def test_nobody_names_the_place_of_a_record(roles: str, role: Role) -> None:
    """An id or position taken in advance would stop the kill switch's audit row, or the relay."""
    async with connected(roles, role) as connection:
        for attempt in (
            FORGED_AUDIT, FORGED_EVENT.format(column="position"), FORGED_EVENT.format(column="sequence"),
        ):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)


async def engage(dsn: str) -> KillState:
    """As the console does."""
    async with connected(dsn, Role.CONSOLE) as connection, connection.transaction():
        command = KillCommand(reason="drill", triggered_by="op", scope=KillScope.ALL)
        return await switches.engage(
            connection, command, request_id="r1", now=datetime.now(UTC), component="Console"
        )


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.RISK])
async def test_no_lock_of_another_keeps_the_switch_from_being_engaged(roles: str, role: Role) -> None:
    """How: the role holds every lock that it can get, in a transaction that stays open."""
    async with connected(roles, role) as holder, holder.transaction():
        for first, second in ((KEY_LOCKS, "kill-switch"), (ALERT_LOCKS, "KILL_SWITCH:kill-switch")):
            await holder.fetchval("select pg_advisory_xact_lock($1, hashtext($2))", first, second)
        engaged = asyncio.create_task(engage(roles))
        state = await asyncio.wait_for(engaged, 30)
    assert (state.engaged, state.epoch) == (True, 1)
    async with connected(roles) as owner:
        assert await owner.fetchval("select count(*) from events where key = 'kill-switch'") == 1


async def test_no_lock_of_another_keeps_a_conflict_or_a_halt_from_stopping_orders(roles: str) -> None:
    """How: `risk` holds the alerts' locks, then their whole table. An order under our id is not ours; the broker
    refuses our keys. The alerts come once the locks are gone, each once."""
    async with desk(roles) as (both, owner), AsyncExitStack() as stack:
        await both.risk.assess_risk(RiskQuestion(signal_id="good", as_of=datetime.now(UTC)))
        async with owner.transaction("test") as connection:
            await write_pre_trade(connection, await read_order(connection, "good"), datetime.now(UTC))
        both.broker.answer = UnknownOutcome("504")
        with suppress(ApplicationError):
            await both.place("good")
        [client_id] = both.broker.posts
        rows = await Database.connect(as_role(roles, Role.EXECUTION))
        stack.push_async_callback(rows.close)
        alerts = RowAlerts(rows, now=lambda: datetime.now(UTC))
        async with connected(roles, Role.RISK) as holder, holder.transaction():
            for alert_id in (f"IDENTITY_CONFLICT:{client_id}", "BROKER_HALT:broker"):
                await holder.fetchval("select pg_advisory_xact_lock($1, hashtext($2))", ALERT_LOCKS, alert_id)
            await holder.execute("lock table alerts")
            not_ours = told(client_id, "new", quantity=Decimal(999))
            async with asyncio.timeout(5):
                await take_in(rows, not_ours, now=datetime.now(UTC), source="test")
                async with rows.transaction("test") as connection:
                    assert await note_failure(connection, "401", at_once=True, now=datetime.now(UTC))
            async with owner.connection() as connection:
                state = await switches.read_state(connection)
                assert state.engaged
                assert client_id in (state.reason or "")
                assert (await read_halt(connection)).is_open
        for _ in range(2):
            await alerts.keep_conflicts()
            await alerts.keep_halt()
        async with owner.transaction("test") as connection:
            found = {(each.code, each.subject): each for each in await list_alerts(connection)}
            assert set(found) == {
                (AlertCode.IDENTITY_CONFLICT, client_id), (AlertCode.BROKER_HALT, "broker"),
            }  # fmt: skip
            assert "999" in found[AlertCode.IDENTITY_CONFLICT, client_id].text
            assert {each.times for each in found.values()} == {1}
            await clear_alert(
                connection, AlertCode.IDENTITY_CONFLICT, client_id, component="test", now=datetime.now(UTC)
            )
        await alerts.keep_conflicts()
        async with owner.connection() as connection:
            assert [each.code for each in await list_alerts(connection)] == [AlertCode.BROKER_HALT]


async def test_who_may_engage_may_neither_narrow_it_nor_call_it_swept(roles: str) -> None:
    await engage(roles)
    async with connected(roles, Role.CONSOLE) as connection:
        for attempt in (
            "swept_at = now(), sweep_confirmed = true",
            "sweep = '{}'",
            "unprotected = '{}'",
            "scope = 'risk_adding'",
            "reason = 'nothing happened'",
            "changed_at = now() + interval '1 day'",
            "triggered_by = 'somebody else'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"update kill_switch set {attempt}")
    async with connected(roles, Role.OPERATIONS) as connection:
        await connection.execute("update kill_switch set swept_at = now(), sweep_confirmed = true")
        assert (await switches.read_state(connection)).sweep_confirmed
    async with connected(roles, Role.CONSOLE) as connection, connection.transaction():
        command = KillCommand(reason="again", triggered_by="op")
        again = await switches.engage(
            connection, command, request_id="r2", now=datetime.now(UTC), component="Console"
        )
    assert (again.sweep_confirmed, again.swept_at, again.reason) == (False, None, "drill")


async def test_no_event_taken_before_hides_the_kill(roles: str) -> None:
    """How: a role takes every id that the first activation's events had in earlier releases."""
    ids = [event_id(Topic.KILLSWITCH_ACTIVATED, 1, part) for part in ("engaged", "swept", "unconfirmed")]
    async with connected(roles, Role.RISK) as connection:
        for each in ids:
            await connection.execute(
                "insert into events (event_id, topic, key, payload, occurred_at)"
                " values ($1, 'x', 'x', '{}', now())",
                each,
            )
    began = await engage(roles)
    async with connected(roles, Role.OPERATIONS) as connection, connection.transaction():
        for confirmed in (False, False, True):
            await sweeps.save_sweep(
                connection, began, {}, confirmed=confirmed, unprotected=(), now=datetime.now(UTC)
            )
    async with connected(roles) as owner:
        events = await owner.fetch(
            "select payload->>'action_taken' as action from events where key = 'kill-switch' order by sequence"
        )
    assert [row["action"] for row in events] == [
        "NEW_ORDERS_BLOCKED_CANCELS_REQUESTED",
        "CANCELS_NOT_ALL_CONFIRMED",
        "ALL_OPEN_ORDERS_CANCELED",
    ]


@pytest.mark.parametrize("role", [Role.RISK, Role.EXECUTION, Role.OPERATIONS, Role.CONSOLE])
async def test_who_may_alert_can(roles: str, role: Role) -> None:
    drill = alert(AlertCode.KILL_SWITCH, "a drill")
    async with connected(roles, role) as connection, connection.transaction():
        assert await raise_alert(connection, drill, component="test", now=datetime.now(UTC))
        assert await clear_alert(
            connection, drill.code, drill.subject, component="test", now=datetime.now(UTC)
        )


async def test_the_console_can_name_who_holds_the_fence(roles: str) -> None:
    placing = await asyncpg.connect(
        as_role(roles, Role.EXECUTION), server_settings={"application_name": "trading execution 7@here"}
    )
    try:
        assert await take_fence(placing)
        async with connected(roles, Role.CONSOLE) as connection:
            fence = await try_fence(connection)
            assert not fence.free
            [holder] = fence.held_by
            assert (holder.process, holder.role, holder.exclusive) == (
                "trading execution 7@here",
                "ti_execution",
                False,
            )
            await free_fence(placing)
            assert (await try_fence(connection)).free
            async with placing.transaction():
                await placing.fetchval("select pg_try_advisory_xact_lock($1)", FENCE_KEY)
                assert [each.exclusive for each in await fence_holders(connection)] == [True]
    finally:
        await placing.close()


async def test_the_fence_is_only_for_those_who_need_it(roles: str) -> None:
    async with connected(roles) as owner:
        functions: list[Any] = await owner.fetch(
            "select oid::regprocedure::text as name, proname, pronargs from pg_proc"
            " where proname ~ '^pg_(try_)?advisory_(xact_)?lock'"
        )
        assert len(functions) == 16
        connections = await owner.fetch("select rolname, rolconnlimit from pg_roles where rolname ~ '^ti_'")
        most = await owner.fetchval("select current_setting('max_connections')::int")
    assert all(row["rolconnlimit"] > 0 for row in connections)
    assert sum(row["rolconnlimit"] for row in connections) < most - 10
    sessions = {row["rolname"]: row["rolconnlimit"] for row in connections}
    assert sessions.pop(Role.EXECUTION) >= 4 * (POOL_MAX + PLACEMENT_SLOTS), (
        "docs/SCALING.md: four that place"
    )
    assert min(sessions.values()) >= 2 * POOL_MAX
    taken: dict[Role, set[str]] = {}
    for role in Role:
        taken[role] = set()
        async with connected(roles, role) as connection:
            for function in functions:
                arguments = f"{FENCE_KEY}::bigint" if function["pronargs"] == 1 else "1, 2"
                try:
                    async with connection.transaction():
                        await connection.execute(f"select {function['proname']}({arguments})")
                except asyncpg.InsufficientPrivilegeError:
                    continue
                taken[role].add(function["name"])
    writers, exclusive = "pg_advisory_xact_lock(integer,integer)", "pg_try_advisory_xact_lock(bigint)"
    assert taken == {
        Role.GATEWAY: {writers},
        Role.RISK: {writers},
        Role.EXECUTION: {writers, exclusive, "pg_try_advisory_lock_shared(bigint)"},
        Role.OPERATIONS: {writers, exclusive, "pg_try_advisory_lock(bigint)"},
        Role.CONSOLE: {writers, exclusive},
    }


async def test_an_owner_who_is_no_superuser_migrates_and_says_what_stays_open(
    empty_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(empty_database) as superuser:
        name = await superuser.fetchval("select current_database()")
        await superuser.execute(f"create role plain_owner login createrole password '{OWNER_PASSWORD}'")
        await superuser.execute(f"alter database {name} owner to plain_owner")
        try:
            parts = urlsplit(empty_database)
            netloc = f"plain_owner:{OWNER_PASSWORD}@{parts.hostname}:{parts.port}"
            await migrate(urlunsplit(parts._replace(netloc=netloc)))
            assert "advisory locks stay open" in caplog.text
            assert not await superuser.fetchval(
                "select has_table_privilege('ti_gateway', 'decisions', 'insert')"
            )
        finally:
            await superuser.execute("drop owned by plain_owner cascade")
            await superuser.execute(f"alter database {name} owner to current_user")
            await superuser.execute("drop role plain_owner")
