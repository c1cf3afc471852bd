"""The rows of the request budget and of the broker halt: counted once, by however many processes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from activities.row_alerts import RowAlerts
from broker.budget import WINDOW_SECONDS, BudgetUnavailable, NoToken, Share, allowance, share_size
from broker.errors import (
    NetworkError,
    NothingSent,
    RateLimited,
    Unauthorized,
    UnknownOutcome,
    ValidationRefused,
)
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from storage import budget, halt
from storage.alerts import list_alerts
from storage.database import Connection, Database
from storage.grants import Role
from workers.broker_budget import SharedBudget

NOW = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)
LIMIT = 200


async def take(connection: Any, share: Share, at: datetime, wanted: int = 1) -> budget.Grant:
    terms = allowance(share, LIMIT)
    return await budget.take(
        connection, share.value, wanted, burst=terms.burst, interval_seconds=terms.interval_seconds, now=at
    )


@pytest.mark.parametrize("share", list(Share))
async def test_no_minute_ever_sees_more_than_the_share(database: str, share: Share) -> None:
    """How: three minutes of virtual time, asked greedily each half second, after a rest as well."""
    rows = await Database.connect(database)
    granted: list[datetime] = []
    async with rows.connection() as connection, connection.transaction():
        for step in [*range(240), *range(300, 420)]:
            at = NOW + timedelta(seconds=step / 2)
            grant = await take(connection, share, at, wanted=7)
            granted += [at] * grant.granted
            assert (grant.wait_seconds == 0) or grant.granted < 7
    window = timedelta(seconds=WINDOW_SECONDS)
    most = max(sum(start <= each <= start + window for each in granted) for start in granted)
    size = share_size(share, LIMIT)
    assert size - 1 <= most <= size, "all of the share is given out, but for a rounded interval, and no more"
    await rows.close()


async def test_three_processes_share_one_budget(database: str) -> None:
    """How: three pools ask at once, many at a time, until none is left."""
    pools = [await Database.connect(database) for _ in range(3)]
    sharers = [SharedBudget(pool, Metrics(), requests_per_minute=LIMIT) for pool in pools]
    began = datetime.now(UTC)
    asked = await asyncio.gather(
        *(each.take(Share.STOPS) for _ in range(20) for each in sharers), return_exceptions=True
    )
    terms = allowance(Share.STOPS, LIMIT)
    refilled = (datetime.now(UTC) - began).total_seconds() / float(terms.interval_seconds)
    refused = [error for error in asked if error is not None]
    assert terms.burst <= 60 - len(refused) <= terms.burst + refilled + 1
    assert all(isinstance(error, NoToken) and error.retry_after_seconds for error in refused)
    for pool in pools:
        await pool.close()


async def test_a_token_that_was_given_back_can_be_taken_again(database: str) -> None:
    rows = await Database.connect(database)
    terms = allowance(Share.ORDERS, LIMIT)
    async with rows.connection() as connection, connection.transaction():
        assert (await take(connection, Share.ORDERS, NOW, wanted=terms.burst)).granted == terms.burst
        assert (await take(connection, Share.ORDERS, NOW)).granted == 0
        await budget.give_back(connection, Share.ORDERS.value, 1, interval_seconds=terms.interval_seconds)
        assert [(await take(connection, Share.ORDERS, NOW)).granted for _ in range(2)] == [1, 0]
    await rows.close()


async def test_after_a_429_nobody_asks_before_the_brokers_reset(database: str) -> None:
    first, second = await Database.connect(database), await Database.connect(database)
    told = SharedBudget(first, Metrics(), requests_per_minute=LIMIT)
    other = SharedBudget(second, Metrics(), requests_per_minute=LIMIT)
    await told.heard(Share.READS, RateLimited("429", retry_after_seconds=30))
    with pytest.raises(NoToken) as none:
        await other.take(Share.READS)
    assert 25 < (none.value.retry_after_seconds or 0) <= 30
    await other.take(Share.ORDERS)
    await first.close()
    await second.close()


async def test_without_the_database_nothing_is_sent(database: str) -> None:
    rows = await Database.connect(database)
    closed = SharedBudget(rows, Metrics(), requests_per_minute=LIMIT)
    await rows.close()
    with pytest.raises(BudgetUnavailable):
        await closed.take(Share.ORDERS)
    await closed.give_back(Share.ORDERS)
    await closed.heard(Share.ORDERS, NetworkError("no answer"))


async def halted(rows: Database) -> halt.HaltRow:
    async with rows.connection() as connection:
        return await halt.read_halt(connection)


async def decisions(rows: Database) -> list[str]:
    """What the halt's own story says."""
    async with rows.connection() as connection:
        told = await connection.fetch(
            "select decision from audit_log where correlation_id = $1 and decision like 'BROKER%' order by id",
            halt.SUBJECT,
        )
    return [row["decision"] for row in told]


async def test_five_failures_in_a_row_of_any_process_open_the_halt_and_a_success_forgets_them(
    database: str,
) -> None:
    rows = await Database.connect(database)
    one, two = (SharedBudget(rows, Metrics(), requests_per_minute=LIMIT) for _ in range(2))
    for sender in (one, two, one, two):
        await sender.heard(Share.READS, NetworkError("no answer"))
    await one.take(Share.READS)
    await one.heard(Share.READS, None)
    assert (await halted(rows)).failures == 0
    for error in (
        UnknownOutcome("504"),
        NothingSent("refused"),
        NetworkError("502"),
        UnknownOutcome("reset"),
    ):
        await one.heard(Share.ORDERS, error)
    for answer in (ValidationRefused("qty"), RateLimited("429", retry_after_seconds=0)):
        await two.take(Share.READS)
        await two.heard(Share.READS, answer)
        assert (await halted(rows)).failures == 0, "a definite answer is no failure"
    for _ in range(5):
        assert not (await halted(rows)).is_open
        await one.heard(Share.ORDERS, NetworkError("no answer"))
    state = await halted(rows)
    assert (state.is_open, state.cause) == (True, "ERR_NETWORK: no answer")
    await rows.close()


async def test_a_refusal_of_keys_that_are_replaced_meanwhile_halts_nothing(database: str) -> None:
    rows = await Database.connect(database)
    budget = SharedBudget(rows, Metrics(), requests_per_minute=LIMIT)
    late = Unauthorized("401")
    late.of_replaced_keys = True
    await budget.heard(Share.ORDERS, late)
    assert not (await halted(rows)).is_open
    await budget.heard(Share.ORDERS, Unauthorized("401"))
    assert (await halted(rows)).is_open
    await rows.close()


async def test_many_that_open_and_close_it_at_once_do_it_once(database: str) -> None:
    """How: twenty refusals of our keys at once, then three probes that come to the same end."""
    rows = await Database.connect(database)
    senders = [SharedBudget(rows, Metrics(), requests_per_minute=LIMIT) for _ in range(3)]
    await asyncio.gather(
        *(sender.heard(Share.READS, Unauthorized("401")) for sender in senders for _ in range(7))
    )
    assert (await halted(rows)).is_open
    alerts = RowAlerts(rows, now=lambda: datetime.now(UTC))
    for _ in range(2):
        await alerts.keep_halt()
    async with rows.connection() as connection:
        raised = await list_alerts(connection)
    assert [(alert.code, alert.times) for alert in raised] == [(AlertCode.BROKER_HALT, 1)]
    async with rows.transaction("test") as connection:
        assert not await halt.claim_probe(connection, every=timedelta(hours=1))
        await probed(connection, timedelta(hours=-1))
        claims = [await halt.claim_probe(connection, every=timedelta(hours=1)) for _ in range(3)]
        assert claims == [True, False, False]

    async def close() -> bool:
        async with rows.transaction("test") as connection:
            return await halt.close_halt(connection, "it answers", now=datetime.now(UTC))

    assert sorted(await asyncio.gather(*(close() for _ in range(3)))) == [False, False, True]
    assert await decisions(rows) == ["BROKER_HALT_OPENED", "BROKER_HALT_CLOSED"]
    await alerts.keep_halt()
    async with rows.connection() as connection:
        assert await list_alerts(connection) == []
    await rows.close()


async def probed(connection: Connection, ago: timedelta) -> None:
    """As if the broker had been asked at that time of the database's clock."""
    await connection.execute("update broker_halt set probed_at = clock_timestamp() + $1::interval", ago)


async def test_no_clock_of_ours_puts_the_probe_off(database: str) -> None:
    """How: one that is an hour fast opens the halt; then the database's own was, and is set back."""
    rows = await Database.connect(database)
    fast = datetime.now(UTC) + timedelta(hours=1)
    async with rows.transaction("test") as connection:
        assert await halt.note_failure(connection, "401", at_once=True, now=fast)
    probed_at = (await halted(rows)).probed_at
    assert probed_at is not None
    assert fast - probed_at > timedelta(minutes=30)
    async with rows.transaction("test") as connection:
        assert not await halt.claim_probe(connection, every=timedelta(hours=1))
        await probed(connection, timedelta(hours=1))
        claims = [await halt.claim_probe(connection, every=timedelta(hours=1)) for _ in range(2)]
        assert claims == [True, False]
    await rows.close()


async def test_each_role_that_asks_the_broker_may_halt_trading(database: str) -> None:
    """How: as the role, because a halt writes rows that only it needs."""
    owner = await asyncpg.connect(database)
    for role in (Role.EXECUTION, Role.OPERATIONS):
        async with owner.transaction():
            await owner.execute(f"set local role {role}")
            now = datetime.now(UTC)
            assert await halt.note_failure(owner, "401", at_once=True, now=now)
            assert await halt.close_halt(owner, "it answers", now=now)
    await owner.close()
