"""The matrices that move rows (replaced orders, restatements, busts, corrections), through the database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from activities.evidence import Evidence, take_in
from schemas.broker import TradeUpdate
from schemas.orders import BrokerOrder, Fill
from storage.database import Database
from storage.orders import StoredOrder, lock_order
from tests.fix.life import Life
from tests.fix.matrices import MATRICES, ORDER_QUANTITY, Matrix
from tests.fix.test_matrices import assert_shows
from tests.postgres.books import prepare, propose

STORED = [matrix for matrix in MATRICES if matrix.ref[0] in "CDEHJ"]


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    await prepare(opened)
    yield opened
    await opened.close()


def signal_of(matrix: Matrix) -> str:
    return matrix.ref.replace("/", "-")


async def opened(rows: Database, matrix: Matrix) -> Life:
    """An order of the matrix' own, sent; its broker has answered."""
    signal_id = signal_of(matrix)
    await propose(rows, signal_id, quantity=ORDER_QUANTITY)
    life = Life(ORDER_QUANTITY, prefix=f"{signal_id}-", client_order_id=f"c-{signal_id}")
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update orders set client_order_id = $1, post_count = 1, status = 'SUBMITTED' where signal_id = $2",
            f"c-{signal_id}", signal_id,
        )  # fmt: skip
    await tell(rows, life.say("status"))
    return life


async def tell(rows: Database, update: object) -> StoredOrder | None:
    if not isinstance(update, TradeUpdate | BrokerOrder | Fill):
        return None
    evidence: Evidence = update
    taken = await take_in(rows, evidence, now=datetime.now(UTC), source="test")
    assert taken is not None, "it is of an order of ours"
    return taken.order


async def test_each_message_leaves_the_row_that_the_appendix_says(rows: Database) -> None:
    """Each is told twice, and the second time writes nothing; a catch-up at the end finds nothing new."""
    for matrix in STORED:
        life = await opened(rows, matrix)
        for row in matrix.rows:
            update = life.say(row.line)
            first, again = [await tell(rows, update) for _ in range(2)]
            assert first == again, row
            async with rows.transaction("test") as connection:
                assert_shows((await lock_order(connection, signal_of(matrix))).state, row)
        async with rows.connection() as connection:
            before = await connection.fetchrow(*counted(matrix))
        for update in life.rest():
            await tell(rows, update)
        async with rows.connection() as connection:
            assert await connection.fetchrow(*counted(matrix)) == before, matrix
        last = matrix.rows[-1]
        assert before is not None
        assert before["shares"] == last.cumulative, matrix
        assert before["cash"] == last.cumulative * Decimal(last.average or 0), matrix
    async with rows.connection() as connection:
        booked = await connection.fetchrow("select quantity, cash from positions where ticker = 'AAPL'")
    assert booked is not None
    assert booked["quantity"] == sum(matrix.rows[-1].cumulative for matrix in STORED)
    assert -booked["cash"] == sum(
        matrix.rows[-1].cumulative * Decimal(matrix.rows[-1].average or 0) for matrix in STORED
    )


def counted(matrix: Matrix) -> tuple[str, str]:
    """What the executions of an order come to, in shares and US dollars, and the version of its row."""
    sql = """select coalesce(sum(e.quantity), 0) as shares, coalesce(sum(e.quantity * e.price), 0) as cash,
        o.row_version
        from orders o left join executions e on e.internal_order_id = o.internal_order_id and not e.busted
        where o.signal_id = $1 group by o.row_version"""
    return sql, signal_of(matrix)


async def test_executions_of_a_replaced_order_are_found_by_any_of_its_ids(rows: Database) -> None:
    """How: every message is lost but the POST's answer; reading the broker's lists brings everything back."""
    for matrix in STORED:
        if matrix.amends:
            continue
        life = await opened(rows, matrix)
        for line in matrix.lines:
            life.say(line)
        rest = life.rest()
        for update in rest:
            if not isinstance(update, Fill | BrokerOrder):
                continue
            await take_in(rows, update, now=datetime.now(UTC), source="fill list")
        async with rows.transaction("test") as connection:
            assert_shows((await lock_order(connection, signal_of(matrix))).state, matrix.rows[-1])
