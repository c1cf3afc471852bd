"""Slack and PagerDuty as a fault run needs them: one HTTP server on loopback that keeps what it took.

It takes a webhook's message at ``SLACK_PATH`` and an event at ``PAGERDUTY_PATH``, and answers as the two do, unless
it was told to answer otherwise.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

SLACK_PATH: Final = "/services/T0000/B0000/a-canary-webhook-path"
PAGERDUTY_PATH: Final = "/v2/enqueue"
ROUTING_KEY: Final = "0123456789abcdefcanary0123456789"
WITHIN_SECONDS: Final = 60.0
_USUAL: Final = {
    SLACK_PATH: (200, b"ok"),
    PAGERDUTY_PATH: (202, b'{"status": "success", "message": "Event processed"}'),
}


@dataclass(frozen=True)
class Answer:
    """What the next request gets in place of the usual."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False
    """No answer at all, until the other end gives up."""
    taken: bool = False
    """It is kept as taken all the same: the answer is lost."""


@dataclass(frozen=True)
class Told:
    """One message as it came."""

    path: str
    body: dict[str, Any]
    at: float
    """Of the monotonic clock."""


@dataclass
class Receiver:
    """What came, and how the next ones are answered."""

    port: int = 0
    told: list[Told] = field(default_factory=list)
    """Those that were taken."""
    asked: int = 0
    answers: deque[Answer] = field(default_factory=deque)
    always: Answer | None = None
    """How all are answered that no entry of ``answers`` is for."""
    refused: set[str] = field(default_factory=set)
    """A message with one of these in it is refused for ever: 400."""
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def slack(self) -> list[dict[str, Any]]:
        """Messages that Slack took."""
        return [each.body for each in self.told if each.path == SLACK_PATH]

    @property
    def pagerduty(self) -> list[dict[str, Any]]:
        """Events that PagerDuty took."""
        return [each.body for each in self.told if each.path == PAGERDUTY_PATH]

    @property
    def incidents(self) -> dict[str, str]:
        """``dedup_key`` → the last action: what PagerDuty would show."""
        return {each["dedup_key"]: each["event_action"] for each in self.pagerduty}

    async def until(self, condition: Callable[[], bool], *, seconds_max: float = WITHIN_SECONDS) -> None:
        """Wait for what came to be so. Raises TimeoutError: it never is."""
        async with asyncio.timeout(seconds_max), self.came:
            await self.came.wait_for(condition)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Listen for the length of the block; again on the same port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            path, body = await _request(reader)
            answer = self.answers.popleft() if self.answers else self.always
            if any(each in body.decode() for each in self.refused):
                answer = Answer(400)
            if answer is None:
                status, said = _USUAL.get(path, (404, b"no_service"))
                answer = Answer(status, body=said, taken=status < 300)
            async with self.came:
                self.asked += 1
                if answer.taken:
                    self.told.append(Told(path, json.loads(body), time.monotonic()))
                self.came.notify_all()
            if answer.hangs:
                await reader.read()
            else:
                writer.write(_response(answer))
                await writer.drain()
        self._open.discard(writer)
        writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first.split()[1], await reader.readexactly(int(headers.get("content-length", "0")))


def _response(answer: Answer) -> bytes:
    headers = {"Content-Length": str(len(answer.body)), "Connection": "close", **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} Status\r\n{head}\r\n".encode() + answer.body
