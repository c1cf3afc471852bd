"""Limits as rows: which are in force at a decision, how they change, and that nothing runs between."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from activities.risk import RiskActivities
from observability.metrics import Metrics
from risk.limit_changes import in_force, lasting
from schemas.audit import sha256_hex
from schemas.limits import LimitsRow, PastLimits, StrategyLimits, TickerLimits
from schemas.risk import CheckName, Limits, LimitScope
from schemas.runs import RiskQuestion
from storage import migrate, statements
from storage.database import Database
from storage.limits import (
    LimitsRefused,
    current_limits,
    lasting_limits,
    lock_limits,
    read_history,
    read_standing,
    save_limits,
)
from storage.risk import read_decision
from tests.postgres.books import LIMITS, market_clock, prepare, propose
from tests.servers.approvals import SIGNER
from workers.embedded import FIRST_LIMITS

D = Decimal
LOCK_WAITS = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    """Give a database with limits and quotes."""
    opened = await Database.connect(database)
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def risk(rows: Database) -> AsyncIterator[RiskActivities]:
    """Give the risk manager of that database."""
    async with market_clock() as clock:
        yield RiskActivities(rows, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)


def whole(**changes: Any) -> Limits:
    return Limits.model_validate({**LIMITS, **changes})


async def put(rows: Database, document: Any, name: str = "", until: datetime | None = None) -> int:
    """Store one version now."""
    async with rows.transaction("test") as connection:
        return await save_limits(
            connection,
            document,
            author="ann",
            reason="a test",
            now=datetime.now(UTC),
            name=name,
            expires_at=until,
        )


async def decided(rows: Database, risk: RiskActivities, signal_id: str, **terms: Any) -> Any:
    """A signal's stored decision; ``as_of`` is when."""
    as_of = terms.pop("as_of", None) or datetime.now(UTC)
    # No two are the same: the second would be a duplicate.
    await propose(rows, signal_id, limit_price=D(100) + D(signal_id[1:]) / 100, **terms)
    await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=as_of, refreshes=2))
    async with rows.connection() as connection:
        found = await read_decision(connection, signal_id)
    assert found is not None
    return found


async def test_a_decision_takes_the_tightest_of_account_strategy_and_ticker(
    rows: Database, risk: RiskActivities
) -> None:
    """$1,000 of AAPL each; what is set for another strategy or ticker has no part in it."""
    assert (await decided(rows, risk, "s0")).approved
    await put(rows, StrategyLimits(max_order_notional=D(1)), "carry")
    await put(rows, TickerLimits(max_order_notional=D(1)), "MSFT")
    first = await decided(rows, risk, "s1")
    assert (first.approved, first.limits_version) == (True, 1)
    of_strategy = await put(rows, StrategyLimits(max_order_notional=D("999.99")), "momentum")
    refused = await decided(rows, risk, "s2")
    assert (refused.approved, refused.reasons, refused.limits_version) == (
        False,
        ("ORDER_NOTIONAL",),
        of_strategy,
    )
    [told] = [check.formula for check in refused.checks if check.name is CheckName.ORDER_NOTIONAL]
    assert told.endswith(f"(max_order_notional of strategy momentum, version {of_strategy})")
    await put(rows, StrategyLimits(), "momentum")
    of_ticker = await put(rows, TickerLimits(max_ticker_exposure_pct=D("2.5")), "AAPL")
    refused = await decided(rows, risk, "s3")
    assert (refused.reasons, refused.limits_version) == (("TICKER_EXPOSURE",), of_ticker)
    wider = await put(rows, TickerLimits(max_ticker_exposure_pct=D(1000)), "AAPL")
    passed = await decided(rows, risk, "s4")
    assert (passed.approved, passed.limits_version) == (True, wider)
    payload = await _audited(rows, "s2")
    assert payload["narrowed_limits"] == [f"max_order_notional of strategy momentum, version {of_strategy}"]


async def test_a_raise_ends_by_itself_at_the_decisions_instant(rows: Database, risk: RiskActivities) -> None:
    """Nothing is written when it ends; an argument from the future can end it early and never make it last."""
    await put(rows, whole(max_order_notional="500"))
    until = datetime.now(UTC) + timedelta(minutes=2)
    raised = await put(rows, whole(max_order_notional="5000"), until=until)
    under = await decided(rows, risk, "s1")
    assert (under.approved, under.limits_version) == (True, raised)
    early = await decided(rows, risk, "s2", as_of=until)
    assert "ORDER_NOTIONAL" in early.reasons
    assert early.limits_version == raised - 1
    async with rows.connection() as connection:
        for moment, expected in ((until - timedelta(microseconds=1), raised), (until, raised - 1)):
            assert (await current_limits(connection, moment)).version == expected
        assert (await lasting_limits(connection)).max_order_notional == D(500), "exits know no raise"
    lowered = await put(rows, whole(max_order_notional="600"))
    after = await decided(rows, risk, "s3")
    assert (after.reasons, after.limits_version) == (("ORDER_NOTIONAL",), lowered), (
        "a newer row ends it at once"
    )


async def test_what_may_not_be_stored(rows: Database) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    for document, name, until, why in (
        (whole(max_order_notional="1"), "", soon, "would be lower"),
        (whole(max_order_notional="90000"), "", soon + timedelta(days=1), "24 hours at most"),
        (StrategyLimits(max_order_notional=D(1)), "momentum", soon, "nothing is set for strategy momentum"),
        (StrategyLimits(max_order_notional=D(1)), "No Name", None, "is not the name of a strategy"),
        (TickerLimits(max_order_notional=D(1)), "aapl", None, "is not the name of a ticker"),
        (whole(restricted_tickers=["(none)"]), "", None, "restricted_tickers: '(none)'"),
    ):
        with pytest.raises(LimitsRefused) as refused:
            await put(rows, document, name, until)
        assert why in str(refused.value)
    async with rows.connection() as connection:
        assert len(await read_history(connection)) == 1


async def test_every_change_is_audited_with_what_it_changes(rows: Database) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    await put(rows, whole(max_order_notional="900"))
    await put(rows, whole(max_order_notional="1000"), until=soon)
    await put(rows, whole(max_order_notional="950"))
    await put(rows, TickerLimits(max_order_notional=D(1)), "AAPL")
    await put(rows, TickerLimits(), "AAPL")
    async with rows.connection() as connection:
        found = await connection.fetch(
            "select actor, decision, payload from audit_log join audit_payloads on audit_id = id"
            " where correlation_id = 'limits' order by id"
        )
    assert [row["decision"] for row in found] == [
        "LIMITS_SET", "LIMITS_LOWERED", "LIMITS_RAISED",
        # Below the raise that it ends, above what would have been in force again.
        "LIMITS_RAISED", "LIMITS_LOWERED", "LIMITS_RAISED",
    ]  # fmt: skip
    told = [json.loads(row["payload"]) for row in found]
    assert [row["actor"] for row in found] == ["test"] + ["ann"] * 5
    assert told[2]["expires_at"] == soon.isoformat()
    assert told[2]["changes"] == [
        {"field": "max_order_notional", "before": "900", "after": "1000", "wider": True}
    ]
    assert told[3]["changes"][0]["before"] == "1000"
    assert told[3]["changes_of_what_lasts"][0]["before"] == "900"
    assert (told[5]["scope"], told[5]["name"], told[5]["limits"]) == ("ticker", "AAPL", {})


async def test_a_change_waits_for_the_decision_that_is_being_made(
    rows: Database, risk: RiskActivities
) -> None:
    """And a decision for the change: none by the former limits is committed after it."""
    async with rows.transaction("test") as connection:
        await lock_limits(connection)
        change = asyncio.create_task(put(rows, whole(max_order_notional="1")))
        await _waiting(rows, 1)
        decision = asyncio.create_task(decided(rows, risk, "s1"))
        await _waiting(rows, 2)
        assert len(await read_history(connection)) == 1
    version = await change
    assert (await decision).limits_version == version
    assert (await decision).reasons == ("ORDER_NOTIONAL",)


async def test_the_server_and_we_agree_on_what_is_in_force(rows: Database) -> None:
    """200 rows of three scopes, a third of them with an end, at 60 moments; rows as they lie, not as saved."""
    dice, start = random.Random(5), datetime(2026, 11, 26, tzinfo=UTC)
    names = ((LimitScope.ACCOUNT, ""), (LimitScope.STRATEGY, "momentum"), (LimitScope.TICKER, "AAPL"))
    async with rows.transaction("test") as connection:
        for minute in range(200):
            scope, name = dice.choice(names)
            made_at = start + timedelta(minutes=minute)
            until = made_at + timedelta(minutes=dice.randrange(1, 60)) if dice.random() < 0.33 else None
            document = json.dumps(LIMITS if scope is LimitScope.ACCOUNT else {})
            await connection.execute(
                "insert into limits (scope, name, document, author, reason, created_at, expires_at) "
                "values ($1, $2, $3::jsonb, 'a', 'r', $4, $5)",
                scope.value, name, document, made_at, until,
            )  # fmt: skip
            if minute % 10:
                continue
            by_scope: dict[tuple[LimitScope, str], list[LimitsRow]] = {}
            for row in await read_history(connection):
                by_scope.setdefault((row.scope, row.name), []).append(row)
            moment = made_at + timedelta(minutes=dice.randrange(60))
            for key in names:
                standing = await read_standing(connection, *key, moment)
                known = by_scope.get(key, [])
                assert (standing.in_force, standing.lasting) == (in_force(known, moment), lasting(known))


async def test_an_older_installation_gets_careful_values_for_what_its_limits_lack(
    empty_database: str,
) -> None:
    old = {name: value for name, value in LIMITS.items() if name in _BEFORE_0016} | {
        "max_order_notional": "77"
    }
    connection = await asyncpg.connect(empty_database)
    await connection.execute(statements.load("migrations")["create_record"])
    for each in migrate.load():
        if each.version < "0016":
            await connection.execute(each.up)
            await connection.execute(
                "insert into schema_migrations (version, sha256) values ($1, $2)", each.version, each.sha256
            )
    await connection.execute(
        "insert into limits (document, author, reason, created_at) values ($1::jsonb, 'a', 'r', now())",
        json.dumps(old),
    )
    await migrate.migrate(empty_database)
    found = await current_limits(connection, datetime.now(UTC))
    [audited] = await connection.fetch(
        "select * from audit_log join audit_payloads on audit_id = id where actor = 'migration 0016'"
    )
    before = await read_history(connection)
    await connection.close()
    assert (found.version, found.author) == (2, "migration 0016")
    assert found.limits == Limits.model_validate({**FIRST_LIMITS, **old, "short_selling_strategies": []})
    assert (audited["correlation_id"], audited["decision"]) == ("limits", "LIMITS_SET")
    payload = json.loads(audited["payload"])
    assert payload["version"] == 2
    assert audited["input_hash"] == sha256_hex(payload)
    past = before[1].document
    assert isinstance(past, PastLimits), "what is not whole any more is still shown"
    assert past.max_order_notional == D(77)


_BEFORE_0016 = (
    "max_order_notional", "max_order_quantity", "price_collar_pct", "max_ticker_exposure_pct",
    "max_gross_exposure_pct", "max_strategy_exposure_pct",
)  # fmt: skip


async def _audited(rows: Database, signal_id: str) -> Any:
    async with rows.connection() as connection:
        payload = await connection.fetchval(
            "select payload from audit_log join audit_payloads on audit_id = id"
            " where correlation_id = $1 and decision in ('APPROVED', 'REJECTED')",
            signal_id,
        )
    return json.loads(payload)


async def _waiting(rows: Database, count: int) -> None:
    async with rows.connection() as watcher:
        while await watcher.fetchval(LOCK_WAITS) < count:
            await asyncio.sleep(0.01)
