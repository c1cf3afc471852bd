"""Corrections of executions: the latest stands, and who reads the events can tell what counts no more."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.evidence import take_in
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import Fill, Side
from storage.database import Database
from storage.orders import read_order
from storage.signals import find_token, save_token
from tests.postgres.books import prepare, propose
from tests.postgres.scripted_broker import told

BEGAN = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    await prepare(opened)
    await propose(opened, "s1")
    async with opened.transaction("test") as connection:
        await connection.execute("update orders set client_order_id = 'c1', post_count = 1")
    yield opened
    await opened.close()


async def tell(rows: Database, event: TradeEvent, price: str, at: int) -> None:
    """One message of the stream about execution e1, ``at`` seconds after its beginning."""
    order = told("c1", "partially_filled", filled=4)
    fill = Fill(
        execution_id="e1", broker_order_id=order.broker_order_id, ticker="AAPL", side=Side.BUY,
        quantity=Decimal(4), price=Decimal(price), cumulative_quantity=Decimal(4),
        executed_at=BEGAN + timedelta(seconds=at),
    )  # fmt: skip
    update = TradeUpdate(event=event, raw_event=event.value, at=fill.executed_at, order=order, fill=fill)
    await take_in(rows, update, now=datetime.now(UTC), source="test")


async def price(rows: Database) -> Decimal | None:
    async with rows.connection() as connection:
        return (await read_order(connection, "s1")).average_price


async def fills(rows: Database) -> list[dict[str, Any]]:
    async with rows.connection() as connection:
        found = await connection.fetch("select payload from events where topic = 'trading.execution.fill'")
    return [json.loads(row["payload"]) for row in found]


async def test_an_older_correction_that_comes_late_does_not_win(rows: Database) -> None:
    await tell(rows, TradeEvent.PARTIAL_FILL, "100", 0)
    for correction, at in (("101", 1), ("102", 3), ("101.5", 2)):
        await tell(rows, TradeEvent.TRADE_CORRECT, correction, at)
    assert await price(rows) == Decimal(102)


async def test_a_correction_says_which_execution_it_replaces(rows: Database) -> None:
    await tell(rows, TradeEvent.PARTIAL_FILL, "100", 0)
    await tell(rows, TradeEvent.TRADE_CORRECT, "101", 1)
    told_fills = {each["execution_id"]: each["replaces"] for each in await fills(rows)}
    assert told_fills == {"e1": None, "e1/corrected": "e1"}


async def test_an_execution_busted_before_it_came_is_no_fill(rows: Database) -> None:
    await tell(rows, TradeEvent.TRADE_BUST, "100", 1)
    await tell(rows, TradeEvent.PARTIAL_FILL, "100", 0)
    assert await fills(rows) == []


async def test_a_token_made_again_speaks_for_its_new_strategy_only(rows: Database) -> None:
    moment = datetime.now(UTC)
    async with rows.transaction("test") as connection:
        await save_token(connection, name="n", strategy=None, secret="first", now=moment)
        await save_token(connection, name="n", strategy="momentum", secret="second", now=moment)
        assert await find_token(connection, "first", moment) is None
        token = await find_token(connection, "second", moment)
    assert token is not None
    assert token.strategies == {"momentum"}
