"""A reader of Server-Sent Events as the standard says one reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

ENOUGH_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """What stands between two empty lines."""

    id: int | None = None
    event: str | None = None
    data: str | None = None
    comments: tuple[str, ...] = ()


@dataclass
class Reading:
    """An open stream. ``last_id`` is what a browser would send on coming back."""

    response: httpx2.Response = field(repr=False)
    last_id: int | None = None

    def __post_init__(self) -> None:
        self._blocks = self._read()

    async def _read(self) -> AsyncIterator[Block]:
        fields: dict[str, Any] = {}
        comments: list[str] = []
        async for line in self.response.aiter_lines():
            name, _, text = line.partition(":")
            if not line:
                yield self._block(fields, comments)
                fields, comments = {}, []
            elif not name:
                comments.append(text.removeprefix(" "))
            else:
                fields[name] = text.removeprefix(" ")

    async def events(self, count: int) -> list[Block]:
        """The next ``count`` events; fewer where the stream ends before."""
        found: list[Block] = []
        while len(found) < count and (block := await self.next()) is not None:
            if block.data is not None:
                found.append(block)
        return found

    async def next(self) -> Block | None:
        """The next block, None after the last."""
        return await anext(self._blocks, None)

    async def ending(self) -> str:
        """The last comment before the stream ends."""
        comments = [comment async for block in self._blocks for comment in block.comments]
        return comments[-1] if comments else ""

    def _block(self, fields: dict[str, Any], comments: list[str]) -> Block:
        number = int(fields["id"]) if "id" in fields else None
        self.last_id = self.last_id if number is None else number
        return Block(number, fields.get("event"), fields.get("data"), tuple(comments))


@asynccontextmanager
async def reading(
    http: httpx2.AsyncClient, token: str, *, last_id: int | None = None, **query: Any
) -> AsyncIterator[Reading]:
    """Follow ``/v1/events``. A stream that should end or tell and does not fails its test."""
    headers = {"Authorization": f"Bearer {token}"}
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    async with (
        asyncio.timeout(ENOUGH_SECONDS),
        http.stream("GET", "/v1/events", params=query, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reading(response)
