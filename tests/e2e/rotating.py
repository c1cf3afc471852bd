"""A product whose broker's keys are rotated: its store, its orders meanwhile, and the ledger that judges both."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from schemas.alerts import AlertCode, Severity
from storage.alerts import list_alerts
from tests.servers.stack import Stack, signal

WITHIN_SECONDS = 60
SIDE_BY_SIDE = 8
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


async def told(rotating: Rotating, code: AlertCode, severity: Severity | None) -> None:
    """Wait until the alert stands so; None: until it is over."""
    async with asyncio.timeout(WITHIN_SECONDS), rotating.stack.parts.database.connection() as connection:
        while True:
            found = {alert.code: alert.severity for alert in await list_alerts(connection)}
            if found.get(code) == severity:
                return
            await asyncio.sleep(0.1)
