"""Trading from the command line on the whole product: submit, follow, look, cancel."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage.database import Database
from tests.console.commands import Trading, environment, of_stack
from tests.servers.stack import Stack, signal

RESTING_PRICE = "100.00"


def by_id(lines: str) -> dict[str, dict[str, Any]]:
    """JSON lines of ``signal submit`` by signal id."""
    found = [json.loads(line) for line in lines.splitlines()]
    return {each["signal_id"]: each for each in found}


async def test_one_signal_by_options_is_traded(stack: Stack, unique: Callable[[str], str]) -> None:
    trading = of_stack(stack)
    signal_id = unique("cli")
    options = ["--strategy", "momentum", "--ticker", "AAPL", "--action", "BUY_TO_OPEN", "--quantity", "10"]
    sent = await trading("signal", "submit", "--signal-id", signal_id, *options, "--wait", "--json")
    assert sent.code == 0, sent
    assert sent.json["order"]["status"] == "FILLED"

    shown = await trading("signal", "show", signal_id, "--json")
    assert shown.json["decision"]["approved"] is True
    assert shown.json["timeline"][0]["decision"] == "SIGNAL_ACCEPTED"
    for command in (["signal", "show", signal_id], ["order", "show", shown.json["order"]["client_order_id"]]):
        told = await trading(*command)
        assert told.code == 0
        assert "FILLED" in told.out
        assert "\x1b" not in told.out, "colours are for terminals"
    positions = await trading("positions", "--json")
    assert [(row["ticker"], row["quantity"]) for row in positions.json] == [("AAPL", "10")]
    account = await trading("account", "--json")
    assert (account.code, account.json["mode"]) == (0, "paper")


async def test_a_stop_limit_by_options_rests_and_shows_its_prices(
    stack: Stack, unique: Callable[[str], str]
) -> None:
    trading = of_stack(stack)
    signal_id = unique("cli")
    options = ["--strategy", "momentum", "--ticker", "AAPL", "--action", "BUY_TO_OPEN", "--quantity", "10"]
    prices = ["--stop-price", "250", "--limit-price", "250.50", "--time-in-force", "GTC"]
    sent = await trading("signal", "submit", "--signal-id", signal_id, *options, *prices, "--json")
    assert sent.code == 0, sent
    await stack.until(signal_id, lambda order: order["raw_status"] == "new")
    line = "stop 250.00 limit 250.50"
    for command in (
        ["order", "show", signal_id],
        ["orders"],
        ["signal", "show", signal_id],
        ["signal", "list"],
    ):
        told = await trading(*command, COLUMNS="300")
        assert line in told.out, (command, told)
    shown = await trading("order", "show", signal_id, "--json")
    assert (shown.json["order_type"], shown.json["stop_price"]) == ("STOP_LIMIT", "250")
    both = await trading("signal", "submit", *options, "--type", "STOP", *prices)
    assert both.code == 1
    assert "limit_price: a STOP order takes none" in both.out


async def test_many_from_standard_input_each_get_their_answer(
    stack: Stack, unique: Callable[[str], str]
) -> None:
    trading = of_stack(stack)
    good, short, broken, resting = (unique("cli") for _ in range(4))
    lines = [
        json.dumps(signal(good)),
        json.dumps(signal(short, ticker="QQQ", action="SELL_TO_OPEN")),
        json.dumps(signal(broken)).replace('"10"', "1e308"),
        json.dumps(signal(resting, order_type="LIMIT", limit_price=RESTING_PRICE, time_in_force="GTC")),
    ]
    sent = await trading("signal", "submit", "-", "--json", stdin="\n".join(lines).encode())
    assert sent.code == 1, "one was refused"
    found = by_id(sent.out)
    assert [found[each]["accepted"] for each in (good, short, broken, resting)] == [True, True, False, True]
    assert found[broken]["error"]["fields"][0]["field"] == "quantity"

    body = lines[0].encode()
    wrong = await trading("signal", "submit", "-", stdin=body, TRADING_TOKEN="wrong")
    assert wrong.code == 1
    dead = await trading("signal", "submit", "-", stdin=body, TRADING_GATEWAY_URL="http://127.0.0.1:1")
    assert dead.code == 3
    assert "trading up" in dead.err
    again = await trading("signal", "submit", "-", "--json", stdin=body)
    assert (again.code, again.json["repeated"]) == (0, True)

    assert (await stack.settled(short))["reason"] == "SHORT_SELLING"
    await stack.settled(good)
    await stack.until(resting, lambda order: order["status"] == "ACKNOWLEDGED")
    resting_ones = await trading("orders", "--open", "--json")
    assert [order["signal_id"] for order in resting_ones.json] == [resting]
    listed = await trading("signal", "list", "--json")
    assert {view["signal_id"] for view in listed.json} == {good, short, resting}

    cancelled = await trading("order", "cancel", resting, "--reason", "test", "--json")
    assert (cancelled.code, cancelled.json["answer"]) == (0, "REQUESTED")
    assert (await stack.settled(resting))["status"] == "CANCELED"
    late = await trading("order", "cancel", resting, "--json")
    assert (late.code, late.json["answer"], late.json["status"]) == (1, "TOO_LATE", "CANCELED")


async def test_a_signal_whose_answer_was_lost_is_sent_again_under_its_id(
    stack: Stack, unique: Callable[[str], str]
) -> None:
    """How: a door in between passes the request on and drops the answer; the same command is then repeated."""
    trading, lost = of_stack(stack), unique("cli")
    command = (
        "signal", "submit", "--signal-id", lost, "--strategy", "momentum", "--ticker", "AAPL",
        "--action", "BUY_TO_OPEN", "--quantity", "3",
    )  # fmt: skip
    async with answers_dropped(stack.settings.gateway_port) as url:
        first = await trading(*command, TRADING_GATEWAY_URL=url)
    assert first.code == 3
    assert lost in first.out
    assert f"may be taken: {lost}" in first.err
    again = await trading(*command, "--wait", "--json")
    assert again.code == 0, again
    assert (again.json["accepted"], again.json["repeated"]) == (True, True)
    other = await trading(*command[:-1], "4")
    assert other.code == 1
    assert "other content" in other.out
    assert len((await trading("orders", "--json")).json) == 1
    assert (await stack.ledger())["posts_total"] == 1


@asynccontextmanager
async def answers_dropped(port: int) -> AsyncIterator[str]:
    """An address that passes requests on to the gateway and hangs up where its answer comes."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway_reader, gateway = await asyncio.open_connection("127.0.0.1", port)

        async def forward() -> None:
            while data := await reader.read(65_536):
                gateway.write(data)
                await gateway.drain()

        forwarding = asyncio.create_task(forward())
        await gateway_reader.read(1)
        forwarding.cancel()
        gateway.close()
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("command", ["signal show none", "order show none", "order cancel none"])
async def test_what_does_not_exist_is_refused(database: str, command: str) -> None:
    done = await Trading(environment(TRADING_DATABASE_URL=database))(*command.split())
    assert done.code == 1
    assert "what to do" in done.err


@pytest.mark.parametrize("command", ["orders", "positions", "signal list", "status", "account"])
async def test_an_empty_installation_is_no_error(database: str, command: str) -> None:
    done = await Trading(environment(TRADING_DATABASE_URL=database))(*command.split())
    assert done.code == 0, done
    assert (await Trading(environment(TRADING_DATABASE_URL=database))(*command.split(), "--json")).code == 0


async def test_migrate_brings_an_empty_database_up(empty_database: str) -> None:
    trading = Trading(environment(TRADING_DATABASE_URL=empty_database))
    before = await trading("status")
    assert before.code == 3
    assert "trading migrate" in before.err
    first = await trading("migrate", "--json")
    assert first.json["applied"][0].startswith("0001")
    assert (await trading("migrate", "--json")).json == {"applied": []}
    database = await Database.connect(empty_database)
    await database.close()
    assert (await trading("status")).code == 0
