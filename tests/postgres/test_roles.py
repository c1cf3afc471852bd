"""What each database role may do and, above all, may not: held against the schema and every statement of ours."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from storage import grants, statements
from storage.grants import GrantsUnsound, Role, parse, set_passwords, verifier
from workers import postgres

PASSWORD: Final = "a password for tests: it's / got % signs"
ALL: Final = "gateway risk execution operations console"
BOTH_BROKERS: Final = "execution operations"
CONSUMERS: Final = "operations console"
WRITERS: Final[Mapping[str, str]] = {
    "alerts.acknowledge": "risk execution operations console",
    "alerts.cut_silence": "risk execution operations console",
    "alerts.end_silence": "risk execution operations console",
    "alerts.raise_alert": "risk execution operations console",
    "alerts.silence": "risk execution operations console",
    "alerts.clear_alert": "risk execution operations console",
    "alerts.mark_alerted": "operations",
    "archives.begin": "operations",
    "archives.mark_checked": "operations",
    "audit_sealing.lock_head": "operations",
    "audit_sealing.insert_leaves": "operations",
    "audit_sealing.forget_waiting": "operations",
    "audit_sealing.grow_head": "operations",
    "audit_sealing.insert_checkpoint": "operations",
    "audit_sealing.mark_published": "operations",
    "audit_sealing.name_checkpoint": "operations",
    "budget.give_back": BOTH_BROKERS,
    "budget.pause": BOTH_BROKERS,
    "budget.take": BOTH_BROKERS,
    "builds.save_build": "operations",
    "builds.forget_builds": "operations",
    "bus.acknowledge": CONSUMERS,
    "bus.begin_generation": "console",
    "bus.begin_publishing": "operations",
    "bus.begin_rebuild": "operations",
    "bus.bury": CONSUMERS,
    "bus.bury_letter": CONSUMERS,
    "bus.claim": CONSUMERS,
    "bus.copy_cursor": CONSUMERS,
    "bus.count_letter_tries": CONSUMERS,
    "bus.create_cursors": CONSUMERS,
    "bus.create_group": CONSUMERS,
    "bus.drop_cursors": "console",
    "bus.drop_group": "console",
    "bus.drop_letters": CONSUMERS,
    "bus.hold": CONSUMERS,
    "bus.letter_sent": CONSUMERS,
    "bus.letters_done": CONSUMERS,
    "bus.lock_cursors": CONSUMERS,
    "bus.lock_lease": CONSUMERS,
    "bus.note_taken": CONSUMERS,
    # Operations by the rights alone: who buries a letter can mark it due.
    "bus.put_back": CONSUMERS,
    "bus.release": CONSUMERS,
    "bus.reset_cursors": CONSUMERS,
    "bus.wait_after_failure": CONSUMERS,
    "clock.close_halt": BOTH_BROKERS,
    "clock.lock_check": BOTH_BROKERS,
    "clock.note_check": BOTH_BROKERS,
    "clock.open_halt": BOTH_BROKERS,
    "conduct.ask_for_kill": "risk operations",
    "conduct.enable_strategy": "console",
    "conduct.stop_strategy": "risk console",
    "conduct.take_kill_request": "operations",
    "deliveries.queue_again": "operations",
    "deliveries.set_channel": "operations",
    "deliveries.queue_open": "operations",
    "deliveries.bury_all": "operations",
    # The console by the rights alone: who has messages sent again can claim them.
    "deliveries.claim": "operations console",
    "deliveries.mark_sent": "operations",
    "deliveries.mark_failed": "operations",
    "deliveries.resend": "operations console",
    "doubts.forget_denials": BOTH_BROKERS,
    "doubts.note_denial": BOTH_BROKERS,
    "equity.begin_breach": "operations",
    "equity.confirm_breach": "operations",
    "equity.end_breach": "operations",
    "equity.move_peak": "operations",
    "equity.reset_peak": "operations console",
    "events.append_records": ALL,
    "events.lock_relay": "operations",
    "events.number_events": "operations",
    "events.set_asleep": "operations",
    "funds.cover": BOTH_BROKERS,
    "funds.note_refusal": "execution",
    "halt.claim_probe": BOTH_BROKERS,
    "halt.close_halt": BOTH_BROKERS,
    "halt.count_failure": BOTH_BROKERS,
    "halt.forget_failures": BOTH_BROKERS,
    "halt.open_halt": BOTH_BROKERS,
    "journal.add_to_position": BOTH_BROKERS,
    "journal.clear_positions": "operations",
    "journal.insert_entry": BOTH_BROKERS,
    "journal.lock_books": BOTH_BROKERS,
    "journal.save_day_marks": "operations",
    "journal.save_trading_day": "operations",
    "market.save_quote": BOTH_BROKERS,
    "market.save_account": BOTH_BROKERS,
    "market.note_equity": BOTH_BROKERS,
    "market.save_clock": BOTH_BROKERS,
    "migrations.record_applied": "",
    "orders.lock_order": "risk execution operations",
    "orders.lock_by_broker_id": "execution operations",
    "orders.lock_by_chain": "execution operations",
    "orders.insert_execution": BOTH_BROKERS,
    "orders.update_execution": BOTH_BROKERS,
    "orders.add_to_position": BOTH_BROKERS,
    "orders.save_order": "risk execution operations",
    "orders.begin_denials_anew": BOTH_BROKERS,
    "orders.settle_order": "risk execution operations",
    "orders.raise_reservation_price": BOTH_BROKERS,
    "orders.restore_reservation": "risk execution operations",
    "orders.request_cancel": "execution",
    "people.hold": "console",
    "people.lock_admins": "console",
    "people.insert_person": "console",
    "people.set_role": "console",
    "people.set_disabled": "console",
    "people.set_password": "console",
    "people.forget_factors": "console",
    "people.forget_passkeys": "console",
    "people.forget_recovery_codes": "console",
    "people.insert_recovery_codes": "console",
    "people.use_recovery_code": "console",
    "people.offer_totp": "console",
    "people.take_totp": "console",
    "people.remove_totp": "console",
    "people.use_totp_step": "console",
    "people.read_passkey": "console",
    "people.insert_passkey": "console",
    "people.use_passkey": "console",
    "people.remove_passkey": "console",
    "people.insert_link": "console",
    "people.use_link": "console",
    "people.end_links": "console",
    "placement.write_intent": "execution",
    "placement.write_not_sent": "execution",
    "placement.mark_conflict": BOTH_BROKERS,
    "placement.mark_taken": "execution",
    "placement.write_delay": "risk execution operations",
    "placement.write_pre_trade": "execution",
    "placement.write_absence": "execution",
    "reconciliation.carry_findings": "operations",
    "reconciliation.drop_readings": "operations",
    "reconciliation.end_external": "operations",
    "reconciliation.finish_run": "operations",
    "reconciliation.open_run": "operations",
    "reconciliation.save_broker_side": "operations",
    "reconciliation.save_external": "operations",
    "reconciliation.save_reading": "operations",
    "reconciliation.take_kill": "operations",
    "closing.ask": "console",
    "limits.insert_limits": "console",
    "live.insert_grant": "console",
    "live.revoke_grants": "console",
    "live.save_configuration": "execution",
    "locks.lift": "console",
    "locks.lock": "console",
    "two_persons.ask": "console",
    "two_persons.end_asked": "console",
    "two_persons.lock_asked": "console",
    "two_persons.set_rule": "",
    "two_persons.take_up": "console",
    "risk.lock_account": "risk execution operations console",
    "risk.lapse_reservations": "risk execution operations",
    "protection.ensure_protection": BOTH_BROKERS,
    "protection.lock_protection": BOTH_BROKERS,
    "protection.lock_legs": "risk execution operations",
    "protection.lock_lots": BOTH_BROKERS,
    "protection.insert_leg": "execution",
    "protection.fit_leg": "risk execution",
    "protection.save_cover": BOTH_BROKERS,
    "protection.save_obstacle": BOTH_BROKERS,
    "protection.give_up": BOTH_BROKERS,
    "protection.lock_given": BOTH_BROKERS,
    "protection.reopen": BOTH_BROKERS,
    "risk.insert_rejection": "risk",
    "risk.approve_order": "risk",
    "sessions.insert_session": "console",
    "sessions.touch_session": "console",
    "sessions.rotate_session": "console",
    "sessions.end_surplus": "console",
    "sessions.end_session": "console",
    "sessions.end_sessions_of": "console",
    "sessions.keep_challenge": "console",
    "sessions.take_challenge": "console",
    "sessions.spend_try": "console",
    "sessions.give_try_back": "console",
    "sessions.forget_tries": "console",
    "sessions.forget_old_tries": "console",
    "signals.insert_signal": "gateway",
    "signals.insert_token": "",
    "tokens.make_token": "console",
    "tokens.revoke_token": "console",
    "tokens.use_token": "gateway",
    "switches.lock_switch": "execution operations console",
    "switches.engage": "execution operations console",
    "switches.engage_again": "execution operations console",
    # By the rights alone; the trigger below lets nobody do it without a row.
    "switches.release": BOTH_BROKERS,
    "switches.save_sweep": BOTH_BROKERS,
    "switches.forget_fate": BOTH_BROKERS,
    "switches.insert_release": BOTH_BROKERS,
    "switches.bind_installation": BOTH_BROKERS,
    "switches.save_operator_key": "",
    "switches.stream_connected": "operations",
    "switches.stream_seen": "operations",
    "switches.doubt_stream": "operations",
    "switches.stream_lost": "operations",
    "switches.caught_up": "operations",
    "wake.answer_wake": "operations",
    "wake.claim_wake": "operations",
    "wake.forget_wakes": "gateway",
    "wake.wake": "gateway",
    "watch.mark_checked": "risk execution operations",
    "watch.mark_signalled": BOTH_BROKERS,
    "watch.mark_unchecked": "risk execution operations",
    "watch.note_message": BOTH_BROKERS,
}
"""Every statement that writes or locks, and the roles that can run it. "": the owner alone."""
MOVES: Final = ("- 1", "+ 1", "+ 9223372036854775000")
"""Of the epoch alone: back, or so far on that nobody could engage any more."""
WRITES: Final = re.compile(r"\b(?:insert into|update \w+ |delete from|for update|lock table)", re.IGNORECASE)

FORBIDDEN: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.GATEWAY: (
        "update orders set status = 'FILLED'",
        "insert into decisions select * from decisions",
        "update kill_switch set engaged = false",
        "select * from kill_switch",
        "select * from account",
        "select * from operator_keys",
        "insert into api_tokens select * from api_tokens",
        "update api_tokens set revoked_at = null",
        "select * from live_grants",
        "update signals set quantity = 1",
    ),
    Role.RISK: (
        "select document from signals",
        "update orders set client_order_id = 'ti-forged'",
        "update orders set post_count = 1",
        "update orders set request = '{}'",
        "update account set equity = 1000000",
        "update account set peak_equity = 1",
        "update strategy_stops set enabled_at = now(), enabled_by = 'x', enable_reason = 'x'",
        "insert into approval_bindings select * from approval_bindings",
        "insert into executions default values",
        "update installation set account = 'another'",
        "insert into limits (document, author, reason, created_at) values ('{}', 'x', 'x', now())",
        "update kill_switch set engaged = false",
        "select * from api_tokens",
        "select * from audit_log",
    ),
    Role.EXECUTION: (
        "select document from signals",
        "insert into decisions select * from decisions",
        "update decisions set approved = true",
        "insert into reservations select * from reservations",
        "insert into orders select * from orders",
        "insert into limits (document, author, reason, created_at) values ('{}', 'x', 'x', now())",
        "insert into operator_keys (key_id, public_key, person, created_at) values ('k', '', 'x', now())",
        "insert into live_grants select * from live_grants",
        "update live_grants set revoked_at = null",
        "select * from api_tokens",
        "select * from audit_log",
    ),
    Role.OPERATIONS: (
        "select document from signals",
        "update orders set client_order_id = 'ti-forged'",
        "update orders set post_count = 1",
        "update orders set pre_trade_at = now()",
        "select * from decisions",
        "insert into decisions (signal_id, leg, generation) values ('s', 'entry', 0)",
        "insert into approval_bindings select * from approval_bindings",
        "insert into operator_keys (key_id, public_key, person, created_at) values ('k', '', 'x', now())",
        "select * from audit_payloads",
    ),
    Role.CONSOLE: (
        "select document from signals",
        "update orders set status = 'CANCELED'",
        "insert into kill_releases select * from kill_releases",
        "insert into decisions select * from decisions",
        "update installation set account = 'another'",
        "insert into executions default values",
        "select * from api_tokens",
        "select token_hash from api_tokens",
        "update api_tokens set token_hash = 'x'",
        "update api_tokens set strategies = null",
        "insert into api_tokens (token_id, name, token_hash, created_at) values (uuidv7(), 'n', 'h', now())",
        "update live_grants set document = '{}'",
        "insert into live_configuration select * from live_configuration",
        "select * from operator_keys",
    ),
}
FORBIDDEN_TO_ALL: Final = (
    "delete from orders",
    "delete from audit_log",
    "update audit_log set decision = 'APPROVED'",
    "update decisions set approval = 'x', approval_signature = 'x', approval_key_id = 'x'",
    "truncate audit_log",
    "update events set payload = '{}'",
    "delete from events",
    "alter table orders disable trigger all",
    "create table mine (id integer)",
    "create temporary table mine (id integer)",
    "drop table orders",
    "create role another",
    "update schema_migrations set sha256 = ''",
    f"set role {postgres.SUPERUSER}",
)


@asynccontextmanager
async def connected(dsn: str, role: Role | None = None) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """As the owner, or as a role with its password."""
    password = None
    if role is not None:
        parts = urlsplit(dsn)
        dsn = urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))
        password = PASSWORD
    connection = await asyncpg.connect(dsn, password=password)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def roles(database: str) -> str:
    """The database, with a password for every role."""
    async with connected(database) as owner:
        # A database made from a template has its tables' rights, but not those of the database itself.
        await grants.apply(owner)
        await set_passwords(owner, dict.fromkeys(Role, PASSWORD), datetime.now(UTC))
    return database


async def test_every_table_says_of_every_role_what_it_may_do(database: str) -> None:
    async with connected(database) as owner:
        tables = {row["name"] for row in await owner.fetch(statements.load("roles")["tables"])}
    assert tables - grants.load().keys() == set(), "add a section to storage/grants.toml"
    assert grants.load().keys() - tables == set(), "storage/grants.toml names tables that are not there"


async def test_every_statement_that_writes_can_be_run_by_those_who_must_and_by_nobody_else(
    database: str,
) -> None:
    """How: EXPLAIN asks for the rights of a statement and does nothing."""
    texts = {
        f"{group}.{name}": sql
        for group in statements.groups()
        for name, sql in statements.load(group).items()
        if WRITES.search(sql)
    }
    assert texts.keys() == WRITERS.keys(), "say in WRITERS who runs each statement that writes"
    found = {}
    async with connected(database) as owner:
        for name, sql in texts.items():
            able = [role.short for role in Role if await may(owner, role, sql)]
            found[name] = " ".join(able)
    assert found == WRITERS


async def may(owner: "asyncpg.Connection[Any]", role: Role, sql: str) -> bool:
    # A lock cannot be explained; this one ends with the transaction.
    question = sql if sql.lower().startswith("lock table") else f"explain (generic_plan) {sql}"
    async with owner.transaction():
        await owner.execute(f"set local role {role}")
        try:
            async with owner.transaction():
                await owner.execute(question)
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True


@pytest.mark.parametrize("role", Role)
async def test_what_a_role_may_not_do_is_refused(roles: str, role: Role) -> None:
    async with connected(roles, role) as connection:
        assert await connection.fetchval("select current_user") == role
        allowed = []
        for attempt in (*FORBIDDEN[role], *FORBIDDEN_TO_ALL):
            try:
                await connection.execute(attempt)
            except asyncpg.InsufficientPrivilegeError:
                continue
            allowed.append(attempt)
        assert allowed == []


async def test_nobody_releases_the_kill_switch_by_hand(roles: str) -> None:
    release = "update kill_switch set engaged = false, epoch = epoch + 1"
    async with connected(roles) as owner:
        await owner.execute("update kill_switch set engaged = true, epoch = epoch + 1")
        for role in (Role.CONSOLE, Role.EXECUTION, Role.OPERATIONS, None):
            async with connected(roles, role) as connection:
                for attempt in (release, *(f"update kill_switch set epoch = epoch {by}" for by in MOVES)):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(attempt)
        assert await owner.fetchval("select engaged and epoch = 1 from kill_switch")


async def test_rights_given_by_hand_are_taken_back(database: str) -> None:
    async with connected(database) as owner:
        await owner.execute(
            "grant delete on orders to ti_risk; grant update (document) on signals to ti_console"
        )
        assert await may(owner, Role.RISK, "delete from orders")
        await grants.apply(owner)
        assert not await may(owner, Role.RISK, "delete from orders")
        assert not await may(owner, Role.CONSOLE, "update signals set document = '{}'")


async def test_a_table_without_a_section_is_closed(database: str) -> None:
    async with connected(database) as owner:
        await owner.execute("create table later (id integer)")
        await grants.apply(owner)
        assert [role for role in Role if await may(owner, role, "select * from later")] == []


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("truncate", "may have select, insert, update, delete"),
        ("all", "may have select, insert, update, delete"),
        ("select; drop table orders", "may have select, insert, update, delete"),
        ("select (a), insert on other to public", "may have select, insert, update, delete"),
        ("", "may have select, insert, update, delete"),
    ],
)
def test_rights_that_nobody_may_have_are_no_rights(right: str, told: str) -> None:
    others = "".join(f'{role.short} = "none"\n' for role in Role if role is not Role.RISK)
    with pytest.raises(GrantsUnsound, match=told):
        parse(f'[orders]\nrisk = "{right}"\n{others}')


def test_a_role_that_is_not_named_is_missed() -> None:
    with pytest.raises(GrantsUnsound, match="name every role"):
        parse('[orders]\nrisk = "select"\n')


def test_the_verifier_holds_no_password() -> None:
    assert "secret" not in verifier("secret")
    assert verifier("secret") != verifier("secret")
