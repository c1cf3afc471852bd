"""A loss over its limit stops trading by itself; a runaway account too. On the real exchange and kill switch."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from schemas.alerts import AlertCode
from schemas.conduct import KillRequest
from storage.alerts import list_alerts
from storage.conduct import ask_for_kill
from storage.equity import read_breaches
from storage.switches import read_state
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, signal

WITHIN_SECONDS = 60
DEPOSIT = 25_000


async def equity_is(stack: Stack, cash: str, **fields: Any) -> None:
    """Money comes or goes at the exchange, and the account is read anew."""
    await stack.control("adjust", {"cash": cash, **fields})
    await stack.parts.catch_up.read_account()


async def until_engaged(stack: Stack) -> Any:
    async with asyncio.timeout(WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while not (state := await read_state(connection)).engaged:
            await asyncio.sleep(0.1)
        return state


async def until_seen(stack: Stack, *, seen: bool) -> None:
    """The watch has held the newest reading against the limits."""
    async with asyncio.timeout(WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while bool(await read_breaches(connection)) is not seen:
            await asyncio.sleep(0.1)


async def test_two_readings_of_a_loss_over_the_limit_engage_the_kill_switch(
    stack_factory: StackFactory, unique: Any
) -> None:
    """How: 2 % may be lost a day of $100,000; $2,000 are lost, then a cent. A reading between shows less."""
    stack = await stack_factory(limits=WIDE_LIMITS | {"max_daily_loss_pct": "2"})
    await equity_is(stack, "-2000.01")
    await until_seen(stack, seen=True)
    await equity_is(stack, "0.01")
    await until_seen(stack, seen=False)
    async with stack.parts.database.connection() as connection:
        assert not (await read_state(connection)).engaged, "exactly the limit is no loss over it"
    await equity_is(stack, "-0.01")
    refused = unique("refused")
    await stack.submit(signal(refused))
    order = await stack.settled(refused)
    assert order["reason"] in ("DAILY_LOSS", "KILL_SWITCH,DAILY_LOSS")
    state = await until_engaged(stack)
    assert state.triggered_by == "EquityWatch"
    assert "MAX_DAILY_LOSS_EXCEEDED: equity at the session's start 100000" in state.reason
    assert "2000.01 > 2 % of 100000 = 2000" in state.reason


async def test_money_paid_out_is_no_loss_and_a_request_of_the_kill_switch_is_carried_out_once(
    stack_factory: StackFactory, unique: Any
) -> None:
    stack = await stack_factory(
        limits=WIDE_LIMITS | {"max_daily_loss_pct": "2", "max_drawdown_pct": "2"},
        ours={"reconcile_pause_seconds": 0.1},
    )
    await equity_is(stack, f"-{DEPOSIT}", activity_type="CSW")
    await until_seen(stack, seen=True)
    await until_seen(stack, seen=False)
    async with stack.parts.database.transaction("test") as connection:
        assert not (await read_state(connection)).engaged
        request = KillRequest(
            request_id="runaway-0", reason="RUNAWAY_RATE: a test", triggered_by="RiskManager"
        )
        for fresh in (True, False):
            assert await ask_for_kill(connection, request, component="test", now=datetime.now(UTC)) is fresh
    state = await until_engaged(stack)
    assert (state.reason, state.triggered_by) == (request.reason, request.triggered_by)
    assert state.epoch == 1
    async with asyncio.timeout(WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while AlertCode.KILL_SWITCH not in {alert.code for alert in await list_alerts(connection)}:
            await asyncio.sleep(0.1)
