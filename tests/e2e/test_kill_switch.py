"""The kill switch by raw signals of the real `temporal` command, and its release by signed grant."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas import wire
from schemas.kill import KillState, ReleaseAnswer, ReleaseGrant
from security.grants import make_grant, make_key_file
from storage.alerts import list_alerts
from storage.switches import read_installation, read_state, save_operator_key
from tests.servers.stack import Stack, StackFactory, signal
from workers import temporal

RAW_SIGNALS = {
    "good input": ("activate", '{"reason": "drawdown", "triggered_by": "desk", "scope": "all"}'),
    "no input": ("activate", None),
    "extra field": ("activate", '{"reason": "x", "colour": "red"}'),
    "bare string": ("activate", '"stop now"'),
    "wrong name": ("actvate", '{"reason": "typo"}'),
    "a number": ("activate", "42"),
    "a list": ("kill", "[1, 2]"),
}


async def cli(stack: Stack, *arguments: str) -> int:
    """Run the real command against the test's server."""
    process = await asyncio.create_subprocess_exec(
        str(temporal.find_program()), *arguments, "--address", stack.temporal.address, "--namespace", "trading",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


async def switch(stack: Stack) -> KillState:
    async with stack.parts.database.connection() as connection:
        return await read_state(connection)


async def until_swept(stack: Stack) -> KillState:
    async with asyncio.timeout(40):
        while True:
            state = await switch(stack)
            if state.engaged and state.swept_at is not None and state.sweep_confirmed:
                return state
            await asyncio.sleep(0.05)


@pytest.fixture
async def key_file(stack: Stack, tmp_path: Path) -> Path:
    path = tmp_path / "operator.json"
    key_id, public_key = make_key_file(path, "an operator")
    async with stack.parts.database.transaction("test") as connection:
        await save_operator_key(
            connection, key_id=key_id, public_key=public_key, person="an operator", now=datetime.now(UTC)
        )
    return path


async def grant(stack: Stack, key_file: Path, **changes: Any) -> ReleaseGrant:
    async with stack.parts.database.connection() as connection:
        account = (await read_installation(connection)).account or ""
    epoch = (await switch(stack)).epoch
    made = make_grant(key_file, account=account, epoch=epoch, reason="looked into it", now=datetime.now(UTC))
    return made.model_copy(update=changes)


async def release(stack: Stack, with_grant: ReleaseGrant) -> ReleaseAnswer:
    handle = stack.client.get_workflow_handle(wire.ID_KILL_SWITCH)
    return await handle.execute_update(wire.UPDATE_RELEASE, with_grant, result_type=ReleaseAnswer)


async def open_alerts(stack: Stack) -> set[str]:
    async with stack.parts.database.connection() as connection:
        return {alert.code.value for alert in await list_alerts(connection)}


async def until_alerts(stack: Stack, codes: set[str]) -> None:
    """The watchers follow the row within a second or two."""
    async with asyncio.timeout(40):
        while await open_alerts(stack) != codes:
            await asyncio.sleep(0.05)


async def test_every_raw_signal_engages_and_no_new_order_follows(
    stack: Stack, key_file: Path, unique: Any
) -> None:
    epoch = 0
    for case, (name, text) in RAW_SIGNALS.items():
        posts = (await stack.ledger())["posts_total"]
        given = ("--input", text) if text is not None else ()
        code = await cli(stack, "workflow", "signal", "--workflow-id", "kill-switch", "--name", name, *given)
        assert code == 0, case
        state = await until_swept(stack)
        assert state.epoch == epoch + 1, case
        assert state.reason, case
        signal_id = unique("killed")
        await stack.submit(signal(signal_id))
        order = await stack.settled(signal_id)
        assert (order["status"], order["reason"]) == ("REJECTED", "KILL_SWITCH"), case
        assert (await stack.ledger())["posts_total"] == posts, case
        if name != "activate":
            assert "KILL_MISSPELT" in await open_alerts(stack), case
        answer = await release(stack, await grant(stack, key_file))
        assert answer.released, answer.message
        epoch = (await switch(stack)).epoch
    signal_id = unique("after")
    await stack.submit(signal(signal_id))
    assert (await stack.settled(signal_id))["status"] == "FILLED"


async def test_the_sweep_cancels_what_rests_and_names_every_fate(stack: Stack, unique: Any) -> None:
    await stack.control(
        "quotes", {"symbol": "MSFT", "bid": "400", "ask": "400.10", "bid_size": 500, "ask_size": 500}
    )
    resting = [unique("rest") for _ in range(5)]
    for number, signal_id in enumerate(resting):
        price = str(399 - number)  # no two are the same
        await stack.submit(
            signal(signal_id, ticker="MSFT", order_type="LIMIT", limit_price=price, quantity="1")
        )
    for signal_id in resting:
        await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")
    assert await cli(stack, "workflow", "signal", "--workflow-id", "kill-switch", "--name", "activate") == 0
    state = await until_swept(stack)
    orders = [await stack.settled(signal_id) for signal_id in resting]
    assert {order["status"] for order in orders} == {"CANCELED"}
    assert {order["client_order_id"]: "cancelled" for order in orders} == dict(state.fates)
    async with stack.parts.database.connection() as connection:
        actions = await connection.fetch(
            "select payload->>'action_taken' as action from events where topic = 'system.killswitch.activated'"
            " order by occurred_at"
        )
    assert [row["action"] for row in actions] == [
        "NEW_ORDERS_BLOCKED_CANCELS_REQUESTED",
        "ALL_OPEN_ORDERS_CANCELED",
    ]


async def test_a_release_needs_a_genuine_grant(stack: Stack, key_file: Path, tmp_path: Path) -> None:
    assert await cli(stack, "workflow", "signal", "--workflow-id", "kill-switch", "--name", "activate") == 0
    state = await until_swept(stack)
    good = await grant(stack, key_file)
    stranger = tmp_path / "stranger.json"
    make_key_file(stranger, "a stranger")
    forged = {
        "another person": good.model_copy(update={"person": "somebody else"}),
        "another epoch": good.model_copy(update={"epoch": state.epoch + 1}),
        "another account": good.model_copy(update={"account": "another"}),
        "an unknown key": await grant(stack, stranger),
        "no signature": good.model_copy(update={"signature": ""}),
        "expired": make_grant(
            key_file,
            account=good.account,
            epoch=state.epoch,
            reason="late",
            now=datetime.now(UTC) - timedelta(hours=1),
        ),
        "for longer than grants may be": make_grant(
            key_file,
            account=good.account,
            epoch=state.epoch,
            reason="early",
            now=datetime.now(UTC) + timedelta(days=1),
        ),
    }
    for case, each in forged.items():
        answer = await release(stack, each)
        assert not answer.released, case
        assert answer.message, case
    assert await cli(stack, "workflow", "signal", "--workflow-id", "kill-switch", "--name", "release") == 0
    assert (await switch(stack)).engaged
    await until_alerts(stack, {"KILL_SWITCH", "KILL_RELEASE_REFUSED"})
    assert (await release(stack, good)).released
    await until_alerts(stack, set())
    epoch = (await switch(stack)).epoch
    again = await release(stack, good)
    assert again.released, "the repeat of a release whose answer was lost is answered as done"
    assert (await switch(stack)).epoch == epoch, "and changes nothing"
    assert await cli(stack, "workflow", "signal", "--workflow-id", "kill-switch", "--name", "activate") == 0
    await until_swept(stack)
    assert not (await release(stack, good)).released, "a grant releases one activation"
    async with stack.parts.database.connection() as connection:
        refused = await connection.fetchval(
            "select count(*) from audit_log where decision = 'RELEASE_REFUSED'"
        )
    assert refused == len(forged) + 1, "each refusal is in the audit log"


async def test_without_its_workflow_the_watcher_sweeps(stack_factory: StackFactory, unique: Any) -> None:
    """Temporal and its workflow may be dead: the row alone stops trading and cancels what rests."""
    from schemas.kill import KillCommand
    from storage.switches import engage

    stack = await stack_factory()
    await stack.control(
        "quotes", {"symbol": "MSFT", "bid": "400", "ask": "400.10", "bid_size": 500, "ask_size": 500}
    )
    signal_id = unique("rest")
    await stack.submit(signal(signal_id, ticker="MSFT", order_type="LIMIT", limit_price="399"))
    await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")
    await stack.client.get_workflow_handle(wire.ID_KILL_SWITCH).terminate("a test")
    async with stack.parts.database.transaction("test") as connection:
        command = KillCommand(reason="by row", triggered_by="test")
        await engage(connection, command, request_id="row", now=datetime.now(UTC), component="test")
    await until_swept(stack)
    assert (await stack.settled(signal_id))["status"] == "CANCELED"
