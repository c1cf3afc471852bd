"""What is done in Redis, as scripts: each happens whole or not at all, and finds the same names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from events.port import BadAddress, BusUnavailable

PREFIX: Final = "{trading-events}"
"""How every key of ours begins; in braces, so that a cluster keeps them together. One installation a database."""
WAKE: Final = f"{PREFIX}:wake"
"""Channel on which everyone is told that something has come. Only a wake-up."""
SOCKET_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 3.0

LOST: Final = (RedisError, OSError, TimeoutError)

T = TypeVar("T")


def connect(url: str) -> "Redis":
    """A client that answers in text and tries nothing twice by itself.

    Raises:
        BadAddress.
    """
    try:
        client: Redis = Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise BadAddress(
            "Redis' address cannot be read: it is redis://USER:PASSWORD@HOST:PORT/NUMBER, and in the password "
            "%2F stands for /, %3F for ?, %23 for #, %40 for @"
        ) from None
    return client


@asynccontextmanager
async def told_as_unavailable() -> AsyncIterator[None]:
    """What Redis fails with, as the port's error."""
    try:
        yield
    except LOST as error:
        raise BusUnavailable(f"Redis does not answer: {str(error) or type(error).__name__}") from error


async def heard(work: Awaitable[T]) -> T:
    """What it comes to, unless this task was cancelled meanwhile.

    The ``wait_for`` of Python 3.11, by which the client reads and writes, passes a cancellation over where what it
    waits for has just come: a consumer that was told to end, or whose time was up, would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    found = await work
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return found


@cache
def script_text(name: str) -> str:
    """The script of that name."""
    return (resources.files("events") / "scripts" / f"{name}.lua").read_text("utf-8")


class Scripts:
    """The scripts on one client."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._registered: dict[str, Any] = {}

    async def published(self) -> int | None:
        """Up to where the streams were published; None: Redis has forgotten. Raises as `run`."""
        found = await heard(self._client.hget(f"{PREFIX}:bus", "published"))
        return None if found is None else int(found)

    async def run(self, name: str, *arguments: str | int) -> Any:
        """Run one.

        Raises:
            RedisError, OSError, TimeoutError: it may have been done or not.
        """
        if name not in self._registered:
            self._registered[name] = self._client.register_script(script_text("common") + script_text(name))
        return await heard(self._registered[name](keys=[PREFIX], args=list(arguments)))


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash or an entry as Redis lists it: name, value, name, value."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
