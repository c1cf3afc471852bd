"""`trading kill --direct`: orders are cancelled from here while Temporal, the workers or the database are away."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from broker.alpaca import hosts
from broker.alpaca.hosts import ALPACA_LIVE
from console.addresses import Addresses
from console.common import Common
from console.errors import Refused
from console.kill_direct import _reader, kill_direct
from schemas.kill import KillCommand
from schemas.mode import Mode
from tests.console.commands import Trading, environment, of_stack
from tests.servers.live import live_settings
from tests.servers.stack import Stack, signal
from tests.servers.vault import Engine
from tests.unit.broker_server import ORDER, Request, http, serving
from workers.datadir import free_port

NOWHERE = "127.0.0.1:1"
WITHIN_SECONDS = 40
POLL_SECONDS = 0.05


def direct(stack: Stack, folder: Path, **variables: str) -> Trading:
    """The program with the operator's secrets, and Temporal away."""
    (folder / "trading_broker_key").write_text(stack.exchange.key)
    (folder / "trading_broker_secret").write_text(stack.exchange.secret)
    chosen = {
        "TRADING_SECRETS_DIR": str(folder),
        "TRADING_BROKER_TRADING_URL": stack.exchange.url,
        "TRADING_TEMPORAL_ADDRESS": NOWHERE,
    }
    return Trading(of_stack(stack).variables | chosen | variables)


async def rest(stack: Stack, signal_id: str, ticker: str = "AAPL") -> str:
    """An order that rests at the exchange; its client order id."""
    await stack.submit(signal(signal_id, ticker=ticker, order_type="LIMIT", limit_price="100.00"))
    order = await stack.until(signal_id, lambda found: found["status"] == "ACKNOWLEDGED")
    return str(order["client_order_id"])


async def at_exchange(stack: Stack) -> list[dict[str, Any]]:
    answer = await stack.exchange_http.get("/v2/orders", params={"status": "open"})
    found: list[dict[str, Any]] = answer.json()
    return found


@asynccontextmanager
async def forwarded(port: int, dsn: str) -> AsyncIterator[None]:
    """The database behind ``port``, for as long as the block lasts."""
    parts = urlsplit(dsn)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pipe(reader, back_writer), pipe(back_reader, writer))

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async with await asyncio.start_server(forward, "127.0.0.1", port):
        yield


async def test_it_cancels_while_the_database_is_away_and_engages_when_it_is_back(
    stack: Stack, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    await a_database_that_takes_no_writes_is_as_one_that_is_away(
        stack, tmp_path, await rest(stack, unique("reader"))
    )
    order_id = await rest(stack, unique("direct"))
    parts = urlsplit(stack.dsn)
    port = free_port()
    away = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password or ''}@127.0.0.1:{port}"))
    trading = direct(stack, tmp_path, TRADING_DATABASE_URL=away)

    told = await trading("kill", "--direct", "--wait-seconds", "1")
    assert told.code == 3
    assert "NOT ENGAGED" in told.out
    assert f"{order_id}  cancelled" in told.out
    assert await at_exchange(stack) == []
    assert (await trading("kill", "--json")).json["do"].startswith("run `trading kill --direct`")

    second = await rest(stack, unique("direct"))
    running = asyncio.create_task(
        trading("kill", "--direct", "--wait-seconds", str(WITHIN_SECONDS), "--json")
    )
    async with asyncio.timeout(WITHIN_SECONDS):
        while await at_exchange(stack):
            await asyncio.sleep(POLL_SECONDS)
    assert not running.done()
    async with forwarded(port, stack.dsn):
        done = await running
    assert (done.code, done.json["engaged"], done.json["fenced"], done.json["signalled"]) == (
        0,
        True,
        True,
        False,
    )
    assert done.json["fates"] == {second: "cancelled"}


async def a_database_that_takes_no_writes_is_as_one_that_is_away(
    stack: Stack, folder: Path, order_id: str
) -> None:
    """How: sessions of the command line's may only read, as at a server that has become a replica."""
    reader = f"{stack.dsn}{'&' if '?' in stack.dsn else '?'}default_transaction_read_only=on"
    trading = direct(stack, folder, TRADING_DATABASE_URL=reader)
    plain = await trading("kill", "--json")
    assert (plain.code, plain.json["confirmed"]) == (3, False)
    assert "NOT ENGAGED" in plain.json["message"]
    told = await trading("kill", "--direct", "--wait-seconds", "1", "--json")
    assert (told.code, told.json["engaged"], told.json["recorded"]) == (3, False, False)
    assert told.json["fates"] == {order_id: "cancelled"}
    other = await trading("lock", "AAPL", "--reason", "test")
    assert (other.code, "takes no writes" in other.err) == (3, True)


async def test_risk_adding_keeps_the_stop_that_closes_a_position_and_names_what_has_none(
    stack: Stack, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    for ticker in ("AAPL", "MSFT"):
        bought = unique(ticker)
        await stack.submit(signal(bought, ticker=ticker))
        await stack.settled(bought)
    stop = unique("stop")
    selling = {"action": "SELL_TO_CLOSE", "order_type": "STOP", "time_in_force": "GTC"}
    await stack.submit(signal(stop, **selling, stop_price="100.00"))
    await stack.until(stop, lambda found: found["status"] == "ACKNOWLEDGED")
    resting = await rest(stack, unique("direct"), "MSFT")
    trading = direct(stack, tmp_path)

    kept = await trading("kill", "--direct", "--scope", "risk-adding", "--json")
    assert kept.code == 0, kept
    assert (kept.json["fates"], kept.json["unprotected"]) == ({resting: "cancelled"}, ["MSFT"])
    assert [order["type"] for order in await at_exchange(stack)] == ["stop"]
    # What the workers' own sweep says of the same.
    async with asyncio.timeout(WITHIN_SECONDS):
        while not (status := (await trading("status", "--json")).json)["kill_switch"]["sweep_confirmed"]:
            await asyncio.sleep(POLL_SECONDS)
    assert status["kill_switch"]["unprotected"] == ["MSFT"]
    async with asyncio.timeout(WITHIN_SECONDS):  # Told right after the sweep, in a commit of its own.
        while not {"KILL_SWITCH", "UNPROTECTED"} <= {
            each["code"] for each in (await trading("alerts", "--json")).json
        }:
            await asyncio.sleep(POLL_SECONDS)


async def test_it_cancels_at_the_live_brokerage_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How: a server stands at the live brokerage's two addresses, and there is no database."""
    order = ORDER | {"client_order_id": "ti-1", "status": "new"}
    cancelled = False

    async def brokerage(request: Request, writer: Any) -> None:
        nonlocal cancelled
        if request.method == "DELETE":
            cancelled = True
            writer.write(http([{"id": order["id"], "status": 200}], 207))
        elif "status=open" in request.target:
            writer.write(http([] if cancelled else [order]))
        elif f"/orders/{order['id']}" in request.target:
            writer.write(http(order | {"status": "canceled"}))
        elif "/orders" in request.target:
            writer.write(http([order | {"status": "canceled"}]))
        else:
            writer.write(http([]))

    away = Addresses(tmp_path, {"database_url": f"postgresql://u@{NOWHERE}/none"}, running=False)
    command = KillCommand(reason="real money", triggered_by="test")
    monkeypatch.setenv("TRADING_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("LIVE_MODE", "true")
    (tmp_path / "trading_broker_key").write_text("AKLIVELIVELIVELIVE")
    (tmp_path / "trading_broker_secret").write_text("a-secret-of-real-money")
    async with serving() as server:
        server.answer = brokerage
        monkeypatch.setenv("TRADING_BROKER_TRADING_URL", hosts.ALPACA_LIVE.trading_url)
        assert _reader(away).mode is Mode.LIVE  # type: ignore[attr-defined]
        monkeypatch.setattr(hosts, "ALPACA_LIVE", live_settings(server).live_hosts)
        monkeypatch.setenv("TRADING_BROKER_TRADING_URL", server.url)
        assert await kill_direct(Common(json=True), away, command, 1) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["broker"], told["fates"]) == ("answered", {"ti-1": "cancelled"})
    assert {each.method for each in server.requests} == {"GET", "DELETE"}


async def test_without_keys_it_says_where_they_should_be(tmp_path: Path) -> None:
    done = await Trading(environment(TRADING_BROKER_TRADING_URL="http://127.0.0.1:1"))("kill", "--direct")
    assert done.code == 1
    assert "TRADING_SECRETS_DIR" in done.err


async def test_it_takes_the_keys_from_the_store_that_the_processes_use(
    stack: Stack, engine: Engine, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    """How: a real vault by AppRole, then one that does not answer, then that with a pair in a folder."""
    pair = {"broker_key": stack.exchange.key, "broker_secret": stack.exchange.secret}
    engine.put("trading/broker", **pair)
    role_id, secret_id = engine.role("trading/broker")
    (tmp_path / "trading_vault_secret_id").write_text(secret_id)
    variables = of_stack(stack).variables | {
        "TRADING_SECRETS_DIR": str(tmp_path), "TRADING_BROKER_TRADING_URL": stack.exchange.url,
        "TRADING_SECRET_SOURCE": "vault", "TRADING_SECRET_PREFIX": "trading", "TRADING_VAULT_ROLE_ID": role_id,
        "TRADING_VAULT_ADDRESS": engine.vault.url, "TRADING_VAULT_MOUNT": engine.mount,
    }  # fmt: skip
    order_id = await rest(stack, unique("direct"))
    looked = (await Trading(variables)("doctor", "--json")).json
    [key] = [each for each in looked if each["name"] == "broker key"]
    assert (key["state"], key["detail"].partition("from ")[2]) == (
        "ok",
        f"vault {engine.mount}/trading/broker",
    )
    away = variables | {"TRADING_VAULT_ADDRESS": "http://127.0.0.1:9"}
    refused = await Trading(away)("kill", "--direct", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (3, "DEPENDENCY_DOWN")
    assert "a folder in memory" in refused.json["error"]["do"]
    assert len(await at_exchange(stack)) == 1, "nothing was cancelled without keys"
    done = await Trading(variables)("kill", "--direct", "--wait-seconds", str(WITHIN_SECONDS), "--json")
    assert done.json["fates"] == {order_id: "cancelled"}
    for name, text in pair.items():
        (tmp_path / f"trading_{name}").write_text(text)
        assert text not in f"{done.out}{done.err}{refused.out}{refused.err}{looked}"
    assert (await Trading(away)("kill", "--direct", "--json")).json["broker"] == "answered"
    engine.put("trading/broker", **pair, more="than the pair")
    for name in pair:
        (tmp_path / f"trading_{name}").unlink()
    wide = await Trading(variables)("kill", "--direct", "--json")
    assert (wide.code, "holds more too" in wide.json["error"]["message"]) == (1, True)


@pytest.mark.parametrize("words", [("true",), ("true", "true"), ("true", "false"), ("1",), ()])
async def test_the_live_brokerage_is_reached_by_who_says_live_mode_alone(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read and cancel there takes no grant; nothing is asked of it here."""
    monkeypatch.setenv("TRADING_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TRADING_BROKER_TRADING_URL", ALPACA_LIVE.trading_url)
    for name in ("trading_broker_key", "trading_broker_secret"):
        (tmp_path / name).write_text("AKLIVE")
    for name in ("LIVE_MODE", "TRADING_LIVE_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, said in zip(("LIVE_MODE", "TRADING_LIVE_MODE"), words, strict=False):
        monkeypatch.setenv(name, said)
    if set(words) == {"true"}:
        reader = _reader(Addresses(tmp_path, {}, running=False))
        assert not hasattr(reader, "place_order")
        await reader.close()
        return
    with pytest.raises(Refused) as refused:
        _reader(Addresses(tmp_path, {}, running=False))
    assert refused.value.do == "set LIVE_MODE=true"
