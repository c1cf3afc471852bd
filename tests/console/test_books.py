"""``trading books`` and the day's result that ``account`` and ``positions`` show: the exchange's, to the cent."""

import asyncio
from decimal import Decimal
from typing import Any

from tests.console.commands import of_stack
from tests.e2e import books
from tests.e2e.books import POLL_SECONDS, QUIET, WITHIN_SECONDS, count, filled, quote
from tests.servers.stack import Stack, StackFactory


async def until_quoted(stack: Stack, ask: str) -> None:
    """Wait until our rows hold that quote."""
    sql = f"select count(*) from latest_quotes where provider = 'primary' and ask = {ask}"
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await count(stack, sql):
            await asyncio.sleep(POLL_SECONDS)


async def test_books_and_the_days_result_are_the_exchanges(stack_factory: StackFactory, unique: Any) -> None:
    stack = await stack_factory(ours=QUIET)
    trading = of_stack(stack)
    await filled(stack, unique, "AAPL", 10)
    await stack.control("adjust", {"symbol": "AAPL", "qty": "4"})
    await stack.control("adjust", {"cash": "-2.50", "activity_type": "FEE"})
    await stack.control("adjust", {"cash": "1000", "activity_type": "CSD"})
    await stack.control("adjust", {"cash": "-12.34"})
    await books.reconcile(stack)
    await quote(stack, "AAPL", "101.00", "101.10")
    await until_quoted(stack, "101.10")

    found = await trading("books", "--json")
    assert (found.code, found.json["differences"]) == (0, []), found
    account = (await stack.exchange_http.get("/v2/account")).json()
    gained = Decimal(account["equity"]) - Decimal(account["last_equity"])
    for told in (found.json, (await trading("account", "--json")).json["books"]):
        assert told["day_result"]["unpriced"] == []
        assert Decimal(told["day_result"]["result"]) == gained - 1000, "a deposit is no profit"
        assert Decimal(told["cash"]) == Decimal(account["cash"])
    positions = (await trading("positions", "--json")).json
    assert all(row["day"] is not None for row in positions)
    assert "sum of executions and journal" in (await trading("books")).out

    async with stack.parts.database.connection() as connection:
        await connection.execute("update positions set quantity = quantity + 1 where strategy = 'momentum'")
    wrong = await trading("books")
    assert wrong.code == 1
    assert "WRONG: AAPL of momentum is kept as 11 shares" in wrong.out
    await books.reconcile(stack)
    assert (await trading("books", "--json")).code == 0
