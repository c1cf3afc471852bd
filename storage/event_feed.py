"""The numbered events as this process knows them: one listener and one query for all who follow."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final
from uuid import UUID

from observability.logging import get_logger
from storage.database import DATABASE_ERRORS, Database
from storage.event_stream import NUMBERED, StreamEvent, events_after, start_position
from storage.signals import TOKENS_CHANGED
from storage.wakeups import Bell, bell_of

PAGE: Final = 200
"""Events read or handed out at once."""
RECENT_MAX: Final = 1000
"""Newest events kept once for everyone; who is further behind reads pages of its own."""
CATCHING_UP_MAX: Final = 2
"""Streams that read older pages at once: the pool's other connections belong to signals."""
STREAMS_MAX: Final = 200
STREAMS_PER_READER_MAX: Final = 20
TICK_SECONDS: Final = 5.0
"""Between two looks, should a wake-up have been lost."""
RECONNECT_SECONDS: Final = 1.0

_log = get_logger(__name__)


class TooManyStreams(Exception):
    """No further stream may be followed now."""


class FeedClosed(Exception):
    """The process is ending."""


class EventFeed:
    """Follows the relay's positions while at least one stream is open."""

    def __init__(self, database: Database, dsn: str) -> None:
        self._database = database
        self._dsn = dsn
        self._streams: Counter[UUID] = Counter()
        self._following: asyncio.Task[None] | None = None
        self._newest = -1
        self._recent: deque[StreamEvent] = deque(maxlen=RECENT_MAX)
        """Without a gap, up to ``_newest``."""
        self._news = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP_MAX)
        self._closed = False
        self.tokens_changed = 0
        """Grows whenever a token may have changed: who reads for one looks at it again."""

    @asynccontextmanager
    async def joined(self, reader_id: UUID) -> AsyncIterator[None]:
        """Take one stream's place for the length of the block. ``reader_id``: whose, a token or a person.

        Raises:
            TooManyStreams: there is none left, for this reader or at all.
        """
        if self._streams[reader_id] >= STREAMS_PER_READER_MAX or self.open_streams >= STREAMS_MAX:
            raise TooManyStreams
        self._streams[reader_id] += 1
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="event feed")
        try:
            yield
        finally:
            self._streams[reader_id] -= 1
            self._streams += Counter()  # Forgets readers without a stream.
            if not self._streams and self._following is not None:
                self._following.cancel()
                self._following = None

    @property
    def open_streams(self) -> int:
        """How many are followed now."""
        return self._streams.total()

    @property
    def newest(self) -> int:
        """The newest position that is known; -1 while nobody follows."""
        return self._newest

    def close(self) -> None:
        """Let every stream end now, and every later one at once."""
        self._closed = True
        self._tell()

    async def after(self, position: int, tokens: int | None = None) -> list[StreamEvent]:
        """The events after ``position``, at most ``PAGE``; waits until there is one, or a token may have changed.

        ``tokens``: `tokens_changed` as it was before the token was last looked at; what has changed while it
        was being looked at is a change too. None: as it is now.

        Raises:
            FeedClosed: the process is ending.
            DATABASE_ERRORS: an older page cannot be read.
        """
        tokens = self.tokens_changed if tokens is None else tokens
        while self._newest <= position and not self._closed and tokens == self.tokens_changed:
            await self._news.wait()
        if self._closed:
            raise FeedClosed
        if self._newest <= position:
            return []
        skip = position - (self._newest - len(self._recent))
        if skip >= 0:
            return list(islice(self._recent, skip, skip + PAGE))
        async with self._catching_up, self._database.connection() as connection:
            return await events_after(connection, position, limit=PAGE)

    async def _follow(self) -> None:
        self._recent.clear()
        self._newest = -1
        while True:
            try:
                async with bell_of(self._dsn, NUMBERED, name="trading-event-feed") as bell:
                    await bell.connection.add_listener(TOKENS_CHANGED, self._look_at_tokens)
                    # One may have been revoked while nobody listened.
                    self._look_at_tokens()
                    await self._read_on(bell)
            except DATABASE_ERRORS as error:
                _log.warning("event feed: connection lost, starting again", reason=type(error).__name__)
            except Exception:  # noqa: BLE001
                # A feed that ended would leave its streams open and mute; the error is in the log each time.
                _log.exception("event feed failed, starting again")
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read_on(self, bell: Bell) -> None:
        if self._newest < 0:
            self._newest = await start_position(bell.connection, None)
            self._tell()
        while True:
            page = await events_after(bell.connection, self._newest, limit=PAGE)
            if page:
                self._recent.extend(page)
                self._newest = page[-1].position
                self._tell()
            if len(page) < PAGE:
                await bell.wait(TICK_SECONDS)

    def _look_at_tokens(self, *_: object) -> None:
        self.tokens_changed += 1
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
