"""The broker's keys change while orders leave: none fails, none is doubled, and a revoked key is not used again.

Judged by the exchange's ledger, which notes the key of every request and every revocation.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.alpaca.transport import TOTAL_DEADLINE_SECONDS
from schemas.alerts import AlertCode, Severity
from security.secrets.opening import broker_path, open_source
from security.secrets.reader import READ_DEADLINE_SECONDS, SecretReader
from simulation.tcp_proxy import TcpProxy
from storage.halt import read_halt
from tests.contract_secrets.conftest import put_in_amazon
from tests.e2e import rotating as harness
from tests.e2e.rotating import TICKERS, WITHIN_SECONDS, Rotating, Store, rotate_during, told, until
from tests.servers.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon
from tests.servers.stack import StackFactory, signal
from tests.servers.vault import Engine
from workers import key_rotation
from workers.secret_settings import SecretStoreSettings
from workers.settings import SECRETS_DIR_VARIABLE

PREFIX = "trading"
LONG_SECONDS = 7200
"""However busy the machine is."""
ROTATIONS = int(os.environ.get("ROTATIONS", "100"))
"""Of the long run, with ten orders for each."""


StartRotating = Callable[..., Awaitable[Rotating]]


@pytest.fixture
def stores(engine: Engine, amazon: Amazon, unique: Callable[[str], str], tmp_path: Path) -> dict[str, Store]:
    """Give every source, on its real server, with nothing in it."""
    role_id, secret_id = engine.role(f"{PREFIX}/broker")
    prefix = unique("app")

    def write(key: str, secret: str) -> None:
        (tmp_path / "trading_broker_key").write_text(key)
        (tmp_path / "trading_broker_secret").write_text(secret)

    return {
        "vault": Store(
            {
                "secret_source": "vault", "secret_prefix": PREFIX, "vault_address": engine.vault.url,
                "vault_mount": engine.mount, "vault_role_id": role_id, "vault_secret_id": secret_id,
            },
            lambda key, secret: engine.put(f"{PREFIX}/broker", broker_key=key, broker_secret=secret),
        ),
        "aws": Store(
            {
                "secret_source": "aws", "secret_prefix": prefix, "aws_region": REGION,
                "aws_endpoint": amazon.url, "aws_access_key": ACCESS_KEY, "aws_secret_key": SECRET_KEY,
            },
            lambda key, secret: put_in_amazon(
                amazon, f"{prefix}/broker", broker_key=key, broker_secret=secret
            ),
        ),
        "embedded": Store({}, write, folder=tmp_path),
    }  # fmt: skip


@pytest.fixture(params=["vault"])
def store(request: pytest.FixtureRequest, stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Give the one that the product is started on."""
    chosen = stores[request.param]
    if chosen.folder is not None:
        chosen.write("none", "yet")
        monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(chosen.folder))
    return chosen


@pytest.fixture
def start(stack_factory: StackFactory, store: Store) -> StartRotating:
    """Give a function that starts the product on the store, with the exchange's own pair in it."""

    async def begin(**options: Any) -> Rotating:
        stack = await stack_factory(ours=store.settings, tickers=TICKERS, **options)
        assert stack.parts.watches.rotation is not None
        pair = (stack.exchange.key, stack.exchange.secret)
        await asyncio.to_thread(store.write, *pair)
        return Rotating(stack, store, [pair])

    return begin


def follow(rotating: Rotating, store: Store) -> None:
    """Let the product's keys follow another store than the one it was started on."""
    refresher = rotating.stack.parts.watches.rotation
    assert refresher is not None
    settings = SecretStoreSettings(**store.settings)
    source = open_source(settings, None if store.folder is None else str(store.folder))
    assert source is not None
    refresher._reader, refresher._path = SecretReader(source), broker_path(settings)
    rotating.store = store


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred rotations are too many for a look every half minute."""
    monkeypatch.setattr(key_rotation, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(key_rotation, "WOKEN_SECONDS", 0.1)


async def test_keys_rotate_while_orders_leave(
    start: StartRotating,
    stores: dict[str, Store],
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How: the product follows a vault; then, to spare two more starts, its keys follow the other two sources."""
    look_often(monkeypatch)
    rotating = await start()
    found = await rotate_during(rotating, unique("r"), orders=16, rotations=5)
    assert (found["orders"], found["posts"], found["rotations"]) == (16, 16, 5)
    for name in ("aws", "embedded"):
        await asyncio.to_thread(stores[name].write, *rotating.pairs[-1])
        follow(rotating, stores[name])
        found = await rotate_during(rotating, unique("r"), orders=12, rotations=5)
    assert (found["orders"], found["posts"], found["rotations"]) == (40, 40, 15)


@pytest.mark.slow
@pytest.mark.timeout(LONG_SECONDS)
@pytest.mark.parametrize("store", ["vault", "aws", "embedded"], indirect=True)
async def test_a_hundred_rotations_during_a_thousand_orders(
    start: StartRotating, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    # However busy the machine is: what is judged here is what became of the orders, not when.
    monkeypatch.setattr(harness, "WITHIN_SECONDS", LONG_SECONDS)
    rotating = await start()
    for http in (rotating.stack.http, rotating.stack.exchange_http):
        http.timeout = httpx2.Timeout(LONG_SECONDS)
    began = time.monotonic()
    found = await rotate_during(rotating, unique("r"), orders=10 * ROTATIONS, rotations=ROTATIONS)
    seconds = round(time.monotonic() - began)
    assert (found["orders"], found["posts"], found["rotations"]) == (
        10 * ROTATIONS,
        10 * ROTATIONS,
        ROTATIONS,
    )
    print(json.dumps({"source": rotating.stack.parts.settings.secret_source, **found, "seconds": seconds}))


def test_a_revoked_key_is_out_of_use_after_a_minute_by_the_sum_of_all_limits() -> None:
    """A look, a store as slow as it may be, a trial that waits for its token and for its answer."""
    longest = (
        key_rotation.LOOK_SECONDS
        + READ_DEADLINE_SECONDS
        + key_rotation.TRIAL_PATIENCE_SECONDS
        + TOTAL_DEADLINE_SECONDS
    )
    assert longest <= 60


@pytest.mark.slow
async def test_a_key_revoked_without_notice_is_replaced_at_once_and_the_halt_ends(
    start: StartRotating, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the next look is an hour away, so that nothing but the broker's first refusal can wake it."""
    monkeypatch.setattr(key_rotation, "LOOK_SECONDS", 3600.0)
    rotating = await start()
    stack = rotating.stack
    first, second = unique("first"), unique("second")
    await stack.submit(signal(first))
    assert (await stack.settled(first))["status"] == "FILLED"
    await rotating.next_pair("PKEMERGENCY")
    await rotating.revoke(stack.exchange.key)
    await until(lambda: rotating.current == "PKEMERGENCY")
    async with asyncio.timeout(WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while (await read_halt(connection)).is_open:
            await asyncio.sleep(0.1)
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            answer = await stack.submit(signal(second))
            assert answer.is_success, answer.text
            if (await stack.settled(second))["status"] == "FILLED":
                break
            second = unique("again")  # What opens is refused while the halt lasts.
    records = await rotating.records()
    revoked = next(each["seq"] for each in records if each.get("control") == "revoke_key")
    late = [each for each in records if each["kind"] == "request" and each["seq"] > revoked]
    assert {each["key"] for each in late if each["status"] != 401} == {"PKEMERGENCY"}
    began = datetime.fromisoformat(next(each["wall"] for each in records if each["seq"] == revoked))
    refused = [datetime.fromisoformat(each["wall"]) for each in late if each["status"] == 401]
    assert all((at - began).total_seconds() <= 60 for at in refused)


@pytest.mark.slow
async def test_a_pair_the_broker_does_not_take_is_not_used_and_halts_nothing(
    start: StartRotating, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    rotating = await start()
    await asyncio.to_thread(rotating.store.write, "PKUNKNOWN", "wrong")
    async with asyncio.timeout(WITHIN_SECONDS):
        while AlertCode.BROKER_KEYS_REFUSED not in await rotating.alerts():
            await asyncio.sleep(0.1)
    assert rotating.current == rotating.stack.exchange.key
    one = unique("one")
    await rotating.stack.submit(signal(one))
    assert (await rotating.stack.settled(one))["status"] == "FILLED"
    assert AlertCode.BROKER_HALT not in await rotating.alerts()
    await rotating.rotate()
    async with asyncio.timeout(WITHIN_SECONDS):
        while AlertCode.BROKER_KEYS_REFUSED in await rotating.alerts():
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_store_that_goes_down_leaves_trading_as_it_was(
    stack_factory: StackFactory, store: Store, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a proxy before the vault refuses connections; minutes and hours are made short."""
    look_often(monkeypatch)
    monkeypatch.setattr(key_rotation, "TELL_AFTER", timedelta(seconds=1))
    host, _, port = str(store.settings["vault_address"]).removeprefix("http://").partition(":")
    async with TcpProxy(host, int(port)) as proxy:
        settings = store.settings | {"vault_address": f"http://127.0.0.1:{proxy.port}"}
        stack = await stack_factory(ours=settings)
        rotating = Rotating(stack, store)
        await asyncio.to_thread(store.write, stack.exchange.key, stack.exchange.secret)
        await proxy.refuse()
        proxy.cut_all()
        await told(rotating, AlertCode.SECRETS_UNREADABLE, Severity.HIGH)
        one = unique("one")
        await stack.submit(signal(one))
        assert (await stack.settled(one))["status"] == "FILLED"
        monkeypatch.setattr(key_rotation, "CRITICAL_AFTER", timedelta(seconds=1))
        await told(rotating, AlertCode.SECRETS_UNREADABLE, Severity.CRITICAL)
        await proxy.heal()
        await rotating.next_pair("PKAFTERWARDS")
        await until(lambda: rotating.current == "PKAFTERWARDS")
        await told(rotating, AlertCode.SECRETS_UNREADABLE, None)
