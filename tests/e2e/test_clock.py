"""A machine whose clock is off does not trade: real time servers, one wrong by a real five seconds."""

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from market.ntp import NtpServers
from observability.metrics import Metrics
from risk.clock_sync import UNANSWERED_MAX
from risk.messages import UserMessage
from schemas.alerts import AlertCode
from schemas.clock import ClockVerdict
from schemas.runs import OrderQuestion
from storage.alerts import list_alerts
from storage.clock import read_clock_checks, read_clock_health
from storage.placement import read_gate
from tests.console.commands import of_stack
from tests.servers.approvals import BOTH
from tests.servers.exchange import Exchange
from tests.servers.ntp import TimeServer, TimeServers
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, seed, settings_for, signal
from workers import temporal
from workers.clock_watch import ClockRefused
from workers.own_clock import OwnClock, watch_own_clock
from workers.parts import build, build_gateway, build_risk, utc_now
from workers.run import EXIT_REFUSED, _main
from workers.settings import GatewaySettings, RiskSettings


def named(servers: list[TimeServer]) -> dict[str, str]:
    """As the setting."""
    return {"ntp_servers": ",".join(each.address for each in servers)}


async def tell(servers: list[TimeServer], *offsets: str | None) -> None:
    await asyncio.gather(*(each.tell(offset) for each, offset in zip(servers, offsets, strict=True)))


async def verdict(stack: Stack) -> ClockVerdict:
    """What one look finds."""
    await stack.parts.watches.clock.look()
    async with stack.parts.database.connection() as connection:
        (check,) = await read_clock_checks(connection)
    return check.verdict


async def alerts(stack: Stack) -> set[AlertCode]:
    async with stack.parts.database.connection() as connection:
        return {each.code for each in await list_alerts(connection)}


async def test_a_clock_that_is_off_halts_new_orders_until_it_is_right_twice(
    stack_factory: StackFactory, time_servers: TimeServers, unique: Callable[[str], str]
) -> None:
    """How: the look of every minute is made by hand; the servers' time is really five seconds off."""
    servers = await time_servers(None, None, None)
    stack = await stack_factory(ours=named(servers))
    resting, waiting = unique("resting"), unique("waiting")
    await stack.submit(signal(resting, order_type="LIMIT", limit_price="177.50", time_in_force="GTC"))
    await stack.until(resting, lambda order: order["raw_status"] == "new")
    assert await verdict(stack) is ClockVerdict.IN_SYNC

    await tell(servers, "+5s", "+5s", "+5s")
    assert await verdict(stack) is ClockVerdict.SKEWED
    posts = (await stack.ledger())["posts_total"]
    await stack.submit(signal(waiting, ticker="MSFT"))
    order = await stack.until(waiting, lambda order: order["user_message"] is not None)
    assert (order["user_message"], order["post_count"]) == (UserMessage.CLOCK_SKEW, 0)
    assert AlertCode.CLOCK_SKEW in await alerts(stack)
    told = (await of_stack(stack)("status", "--json")).json["clocks"]
    assert told[0]["verdict"] == "SKEWED"
    assert 4.9 < told[0]["offset_seconds"] < 5.1
    assert told[0]["halted_since"]
    assert "NEW ORDERS WAIT" in (await of_stack(stack)("status")).out
    assert (await of_stack(stack)("order", "cancel", resting, "--reason", "test")).code == 0
    assert (await stack.settled(resting))["status"] == "CANCELED"
    assert (await stack.ledger())["posts_total"] == posts

    await tell(servers, None, None, None)
    assert await verdict(stack) is ClockVerdict.IN_SYNC
    async with stack.parts.database.connection() as connection:
        question = OrderQuestion(signal_id=waiting, as_of=utc_now())
        assert (await read_gate(connection, question)).wrong_clock, "once is not twice"
        assert await verdict(stack) is ClockVerdict.IN_SYNC
        assert (await read_gate(connection, question)).wrong_clock is None
        assert (await read_clock_health(connection)).in_sync
    assert (await stack.settled(waiting))["status"] == "FILLED"
    assert AlertCode.CLOCK_SKEW not in await alerts(stack)
    # One that lies moves nothing; two that lie differently leave nobody to believe; nor is one alone believed.
    await tell(servers, None, "-90s", None)
    assert await verdict(stack) is ClockVerdict.IN_SYNC
    await tell(servers, None, "-90s", "+90s")
    assert await verdict(stack) is ClockVerdict.NO_SOURCE
    await servers[0].stop()
    await servers[1].stop()
    assert await verdict(stack) is ClockVerdict.NO_SOURCE


async def test_a_process_on_a_machine_that_is_off_does_not_start(
    database: str, temporal_addresses: temporal.Server, exchange: Exchange, time_servers: TimeServers
) -> None:
    servers = await time_servers("-5s", "-5s", None)
    await seed(database, "token", WIDE_LIMITS)
    settings = settings_for(database, temporal_addresses, exchange, **named(servers), audit_target="/nowhere")
    with pytest.raises(ClockRefused, match=re.escape(UserMessage.CLOCK_SKEW)):
        async with build(settings):
            pytest.fail("it started")
    assert await _main("compact", settings) == EXIT_REFUSED


async def test_who_judges_times_and_writes_no_row_refuses_too(
    database: str, temporal_addresses: temporal.Server, time_servers: TimeServers
) -> None:
    """How: gateway and risk, as their processes build them, before servers that are really five seconds off."""
    servers = await time_servers("+5s", "+5s", "+5s")
    await seed(database, "token", WIDE_LIMITS)
    own: dict[str, Any] = {"database_url": database, "temporal_address": temporal_addresses.address}
    gateway = GatewaySettings(**own, **named(servers))
    risk = RiskSettings(**own, **BOTH, **named(servers))
    for built in (build_gateway(gateway), build_risk(risk)):
        with pytest.raises(ClockRefused, match=re.escape(UserMessage.CLOCK_SKEW)):
            async with built:
                pytest.fail("it started")
    assert await _main("gateway", gateway) == EXIT_REFUSED
    await tell(servers, None, None, None)
    async with build_gateway(gateway) as parts:
        assert parts.clock_fault() is None
    silent = GatewaySettings(**own, ntp_servers="127.0.0.1:1,127.0.0.2:1,127.0.0.3:1")
    async with AsyncExitStack() as stack:
        with pytest.raises(ClockRefused, match="nobody can say"):
            await watch_own_clock(stack, silent, Metrics(), mode="live")


async def test_a_running_process_judges_nothing_by_a_wrong_clock_until_it_is_right_twice(
    time_servers: TimeServers,
) -> None:
    servers = await time_servers(None, None, None)
    asked = NtpServers([each.address for each in servers])
    times = [0.0]
    clock = OwnClock(asked, Metrics(), is_live=False, monotonic=lambda: times[0])
    await clock.refuse_wrong_clock()
    assert clock.fault() is None
    await tell(servers, "-5s", "-5s", "-5s")
    await clock.look()
    assert UserMessage.CLOCK_SKEW in str(clock.fault())
    await tell(servers, None, None, None)
    await clock.look()
    assert clock.fault() is not None, "once is not twice"
    await clock.look()
    assert clock.fault() is None
    for each in servers:
        await each.stop()
    await clock.look()
    assert clock.fault() is None
    times[0] = UNANSWERED_MAX.total_seconds() + 1
    await clock.look()
    assert "nobody has said" in str(clock.fault())
    asked.close()
