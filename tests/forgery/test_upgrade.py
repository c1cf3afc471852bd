"""What an earlier release approved bears no signature: its entries are refused, what it filled keeps its stops."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from schemas.wire import Leg
from tests.forgery.bench import Bench, bench_on
from tests.servers.approvals import KEYS

UNSIGNED = "update decisions set approval = null, approval_signature = null, approval_key_id = null"


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with bench_on(database) as made:
        yield made


async def test_older_stops_leave_by_rows_and_older_entries_do_not(bench: Bench) -> None:
    entry, old, late = await bench.approved(), await bench.protected(), await bench.protected()
    await bench.run(UNSIGNED)
    upgraded = datetime.now(UTC)
    await bench.run("update decisions set decided_at = $2 where signal_id = $1", late, upgraded)
    keys = replace(KEYS, unsigned_before=upgraded)
    execution = bench.placement(keys=keys)
    before = await bench.posts()
    assert await bench.place(entry, by=execution) == "APPROVAL_UNSIGNED"
    assert await bench.owner.fetchval("select count(*) from alerts") == 0, "nobody has forged anything"
    assert await bench.place(late, Leg.STOP, 0, by=execution) == "APPROVAL_UNSIGNED"
    assert await bench.posts() == before
    assert await bench.place(old, Leg.STOP, 0, by=execution) == "PLACED"
    assert await bench.posts() == before + 1


async def test_a_leg_that_is_refused_says_so_and_is_tried_again_after_a_pause(bench: Bench) -> None:
    """How: its price is edited; the next one is made from the protection's row, and is right."""
    signal_id = await bench.protected()
    await bench.run("update orders set stop_price = 80 where leg = 'stop'")
    assert await bench.place(signal_id, Leg.STOP, 0) == "LEG_NOT_APPROVED"
    row = await bench.owner.fetchrow(
        "select obstacle, obstacle_detail, retry_at, updated_at from protections"
    )
    assert row is not None
    assert (row["obstacle"], row["retry_at"] - row["updated_at"]) == ("OTHER", timedelta(seconds=1))
    assert "not what was approved" in row["obstacle_detail"]
    await bench.review(signal_id)
    assert await bench.owner.fetchval("select count(*) from alerts where code = 'UNPROTECTED'") == 1
    assert await bench.place(signal_id, Leg.STOP, 1) == "PLACED"


async def test_an_exit_keeps_to_the_collar_that_was_approved(bench: Bench) -> None:
    """How: the limits let prices go further by now; a stricter one would count."""
    for collar, wanted in (("10", "97.99"), ("1", "98.99")):
        signal_id = await bench.protected()
        await bench.run(
            "insert into limits (document, author, reason, created_at) select document || jsonb_build_object("
            "'price_collar_pct', $1::text), 'later', 'test', now() from limits order by version desc limit 1",
            collar,
        )
        await bench.run("update protections set exiting = true where signal_id = $1", signal_id)
        await bench.review(signal_id)
        limit = await bench.owner.fetchval(
            "select limit_price from orders where signal_id = $1 and leg = 'exit'", signal_id
        )
        assert limit == Decimal(wanted)
        assert await bench.place(signal_id, Leg.EXIT, 0) == "PLACED"
        await bench.run("delete from limits where author = 'later'")
