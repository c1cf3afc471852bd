"""The doors that a fault run uses: the gateway as a strategy would, the exchange as its judge."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx2

GATEWAY_TIMEOUT_SECONDS: Final = 20.0
EXCHANGE_TIMEOUT_SECONDS: Final = 30.0
TRY_AGAIN_PAUSE_SECONDS: Final = 0.1
TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
"""Answers after which a client sends the same signal again, as it does after none."""


def new_signal(signal_id: str, **fields: Any) -> dict[str, Any]:
    """A signal as a strategy sends it: ten AAPL at market now, unless ``fields`` say otherwise."""
    return {
        "signal_id": signal_id,
        "strategy": "momentum",
        "ticker": "AAPL",
        "action": "BUY_TO_OPEN",
        "order_type": "MARKET",
        "time_in_force": "DAY",
        "quantity": "10",
        "created_at": datetime.now(UTC).isoformat(),
        **fields,
    }


class GatewayDoor:
    """The gateway, with a strategy's token."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def submit(self, signal: Mapping[str, Any]) -> httpx2.Response:
        """POST one signal once. Raises httpx2.TransportError when nobody answers."""
        return await self.http.post("/v1/signals", json=dict(signal))

    async def submit_until_taken(self, signal: Mapping[str, Any]) -> httpx2.Response:
        """POST the same signal again until an answer is final, as a client must. Its time is the caller's."""
        while True:
            try:
                answer = await self.submit(signal)
            except httpx2.TransportError:
                await asyncio.sleep(TRY_AGAIN_PAUSE_SECONDS)
                continue
            if answer.status_code not in TRY_AGAIN:
                return answer
            await asyncio.sleep(TRY_AGAIN_PAUSE_SECONDS)

    async def signal(self, signal_id: str) -> dict[str, Any]:
        """GET one signal with its order and its history. Raises httpx2.HTTPError."""
        answer = await self.http.get(f"/v1/signals/{signal_id}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


class ExchangeDoor:
    """The paper exchange: its own account of what it was asked and did, and its control routes."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def read(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The ledger's records with a ``seq`` above ``after``, oldest first, one by one."""
        async with self.http.stream("GET", "/_exchange/ledger", params={"after": after}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line:
                    yield json.loads(line)

    async def records(self, after: int = 0) -> list[dict[str, Any]]:
        """The same as a list."""
        return [record async for record in self.read(after)]

    async def summary(self) -> dict[str, Any]:
        """Its counts."""
        found: dict[str, Any] = await self.ask("GET", "/_exchange/ledger/summary")
        return found

    async def control(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> Any:
        """Order something of it: ``faults``, ``quotes``, ``freeze``, ``clock``, ``adjust``, ``bust``."""
        return await self.ask(method, f"/_exchange/{path}", body)

    async def clear_faults(self) -> None:
        """No fault any more, of any kind."""
        await self.ask("DELETE", "/_exchange/faults")

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request with the account's keys, as somebody else with the same account. Raises httpx2.HTTPError."""
        answer = await self.http.request(method, path, json=None if body is None else dict(body))
        answer.raise_for_status()
        return answer.json() if answer.content else None
