"""The broker's keys change while orders leave: none fails, none is doubled, and a revoked key is not used again.

Judged by the exchange's ledger, which notes the key of every request and every revocation.
"""

import asyncio
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.alpaca.transport import TOTAL_DEADLINE_SECONDS
from schemas.alerts import AlertCode, Severity
from security.secrets.opening import broker_path, open_source
from security.secrets.reader import READ_DEADLINE_SECONDS, SecretReader
from simulation.tcp_proxy import TcpProxy
from storage.alerts import list_alerts
from storage.halt import read_halt
from tests.contract_secrets.conftest import put_in_amazon
from tests.servers.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon
from tests.servers.stack import Stack, StackFactory, signal
from tests.servers.vault import Engine
from workers import key_rotation
from workers.secret_settings import SecretStoreSettings
from workers.settings import SECRETS_DIR_VARIABLE

PREFIX = "trading"
WITHIN_SECONDS = 60
SIDE_BY_SIDE = 8
LONG_SECONDS = 7200
"""However busy the machine is."""
ROTATIONS = int(os.environ.get("ROTATIONS", "100"))
"""Of the long run, with ten orders for each."""
TICKERS = 100


@dataclass
class Store:
    """A source of secrets with the broker's pair in it."""

    settings: dict[str, Any]
    write: Callable[[str, str], None]
    """Key and secret."""
    folder: Path | None = None
    """Where the files are."""


@dataclass
class Rotating:
    """A product, the store its keys come from, and whoever rotates them."""

    stack: Stack
    store: Store
    pairs: list[tuple[str, str]] = field(default_factory=list)
    orders: int = 0
    """Of which the ledger is judged."""
    ended: int = 0

    async def rotate(self) -> None:
        """The next pair: accepted by the broker, stored, taken by us; then the one before the last is revoked."""
        key = f"PK{secrets.token_hex(9).upper()}"
        await self.next_pair(key)
        await until(lambda: self.current == key)
        if len(self.pairs) > 2:
            await self.revoke(self.pairs[-3][0])

    async def next_pair(self, key: str) -> None:
        secret = secrets.token_hex(20)
        await self.stack.control("keys", {"key": key, "secret": secret})
        await asyncio.to_thread(self.store.write, key, secret)
        self.pairs.append((key, secret))

    async def revoke(self, key: str) -> None:
        answer = await self.stack.exchange_http.delete(f"/_exchange/keys/{key}")
        assert answer.is_success, answer.text

    @property
    def current(self) -> str:
        return self.stack.parts.keys.current.key_id.get_secret_value()

    async def records(self) -> list[dict[str, Any]]:
        answer = await self.stack.exchange_http.get("/_exchange/ledger")
        return [json.loads(line) for line in answer.text.splitlines()]

    async def alerts(self) -> set[AlertCode]:
        async with self.stack.parts.database.connection() as connection:
            return {alert.code for alert in await list_alerts(connection)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


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


async def orders_meanwhile(rotating: Rotating, prefix: str, count: int) -> None:
    """That many orders, a few at a time, each filled: the first that is not ends the run."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(number: int) -> None:
        async with gate:
            # Made when its turn has come: a signal lives for minutes, and all of them may take an hour.
            order = signal(f"{prefix}-{number}", ticker=f"T{1 + number % TICKERS:04d}", quantity="1")
            await submit_until_answered(rotating.stack, order)
            ended = await ended_order(rotating.stack, order["signal_id"])
        assert (ended["status"], ended["reason"]) == ("FILLED", None), ended
        rotating.ended += 1

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


async def submit_until_answered(stack: Stack, order: dict[str, Any]) -> None:
    """A loaded machine's database may be late for the gateway, and its answer for us: the same request again is
    taken once."""
    while (answer := await answered(stack, partial(stack.submit, order))) is None:
        await asyncio.sleep(0.5)
    assert answer.is_success, answer.text


async def ended_order(stack: Stack, signal_id: str) -> dict[str, Any]:
    """Its order, settled; the test's own limit ends the wait."""
    while True:
        answer = await answered(stack, partial(stack.http.get, f"/v1/signals/{signal_id}"))
        if answer is not None:
            assert answer.status_code == 200, answer.text
            order: dict[str, Any] = answer.json()["order"]
            if order["settled"]:
                return order
        await asyncio.sleep(0.1)


async def answered(stack: Stack, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response | None:
    """None where it is to be asked again; a product that has ended ends the test."""
    if stack.running.done():
        pytest.fail(f"the product has ended: {stack.running!r}")
    with suppress(httpx2.TransportError):
        answer = await ask()
        return None if answer.status_code == 503 else answer
    return None


async def judge(rotating: Rotating, orders: int, rotations: int) -> dict[str, Any]:
    """By the ledger: each order placed once, no request refused, no key used after its revocation."""
    records = await rotating.records()
    requests = [each for each in records if each["kind"] == "request"]
    posts = [each for each in requests if (each["method"], each["path"]) == ("POST", "/v2/orders")]
    placed = Counter(each["client_order_id"] for each in posts)
    assert len(placed) == orders
    assert set(placed.values()) == {1}, "doubled"
    assert {each["status"] for each in posts} == {200}
    # A trial may be refused: two files are not replaced at once.
    refused = [each for each in requests if each["status"] == 401 and each["path"] != "/v2/account"]
    assert refused == []
    revoked = {each["key"]: each["seq"] for each in records if each.get("control") == "revoke_key"}
    assert len(revoked) >= rotations - 1
    late = [each for each in requests if each["seq"] > revoked.get(each["key"], each["seq"])]
    assert late == []
    by_key = Counter(each["key"] for each in requests)
    used_to_place = len({each["key"] for each in posts})
    return {
        "orders": len(placed), "posts": len(posts), "rotations": rotations, "revoked": len(revoked),
        "keys used": len(by_key), "keys that placed": used_to_place,
        "longest use of a replaced key, s": longest_after_stored(records),
    }  # fmt: skip


def longest_after_stored(records: list[dict[str, Any]]) -> float:
    """From when the next pair was accepted to the last request with the former."""
    accepted = [each for each in records if each.get("control") == "accept_key"]
    order = {each["key"]: place for place, each in enumerate(accepted)}
    longest = 0.0
    for each in records:
        place = order.get(each.get("key", "")) if each["kind"] == "request" else None
        if place is not None and place + 1 < len(accepted):
            stored = datetime.fromisoformat(accepted[place + 1]["wall"])
            longest = max(longest, (datetime.fromisoformat(each["wall"]) - stored).total_seconds())
    return round(longest, 3)


async def rotate_during(rotating: Rotating, prefix: str, orders: int, rotations: int) -> dict[str, Any]:
    before = rotating.ended

    async def rotate() -> None:
        for number in range(rotations):
            # Spread over all of them.
            await until(partial(reached, rotating, before + number * orders // rotations))
            await rotating.rotate()

    async with asyncio.TaskGroup() as group:
        group.create_task(orders_meanwhile(rotating, prefix, orders))
        group.create_task(rotate())
    rotating.orders += orders
    found = await judge(rotating, rotating.orders, len(rotating.pairs) - 1)
    async with rotating.stack.parts.database.connection() as connection:
        rows = await connection.fetchval(
            "select count(*) from audit_log where decision = 'BROKER_KEYS_ROTATED'"
        )
    assert rows == len(rotating.pairs) - 1
    return found


def reached(rotating: Rotating, orders: int) -> bool:
    return rotating.ended >= orders


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
    await rotate_during(rotating, unique("r"), orders=16, rotations=5)
    for name in ("aws", "embedded"):
        await asyncio.to_thread(stores[name].write, *rotating.pairs[-1])
        follow(rotating, stores[name])
        await rotate_during(rotating, unique("r"), orders=12, rotations=5)


@pytest.mark.slow
@pytest.mark.timeout(LONG_SECONDS)
@pytest.mark.parametrize("store", ["vault", "aws", "embedded"], indirect=True)
async def test_a_hundred_rotations_during_a_thousand_orders(
    start: StartRotating, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    # However busy the machine is: what is judged here is what became of the orders, not when.
    monkeypatch.setattr(f"{__name__}.WITHIN_SECONDS", LONG_SECONDS)
    rotating = await start()
    for http in (rotating.stack.http, rotating.stack.exchange_http):
        http.timeout = httpx2.Timeout(LONG_SECONDS)
    began = time.monotonic()
    found = await rotate_during(rotating, unique("r"), orders=10 * ROTATIONS, rotations=ROTATIONS)
    seconds = round(time.monotonic() - began)
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
    start: StartRotating, unique: Callable[[str], str]
) -> None:
    """How: at the product's own pace, a look every half minute; the first refused request wakes it."""
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
        while (await stack.submit(signal(second))).is_success and (await stack.settled(second))[
            "status"
        ] != "FILLED":
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


async def told(rotating: Rotating, code: AlertCode, severity: Severity | None) -> None:
    """Wait until the alert stands so; None: until it is over."""
    async with asyncio.timeout(WITHIN_SECONDS), rotating.stack.parts.database.connection() as connection:
        while True:
            found = {alert.code: alert.severity for alert in await list_alerts(connection)}
            if found.get(code) == severity:
                return
            await asyncio.sleep(0.1)
