"""The one stream of the pages: that something has happened, and every few seconds that the page is still told.

It carries no payload: a page that is told fetches its part again, as the person it belongs to.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from console.web.access import Person, Viewer
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import Code, WebError, invalid
from storage.database import DATABASE_ERRORS
from storage.event_feed import EventFeed, FeedClosed, TooManyStreams
from storage.event_stream import NotInStream, start_position
from storage.sessions import role_of_session

router: Final = APIRouter()

TICK_SECONDS: Final = 5.0
RECONNECT_MS: Final = 1000
NEWS_APART_SECONDS: Final = 0.5

LastEventId = Annotated[str | None, Header(description="The position of the last `news` received.")]


class PageStream:
    """Reads on from ``position`` while its person's session lasts."""

    def __init__(self, deps: ConsoleDeps, feed: EventFeed, person: Person, position: int) -> None:
        self._deps = deps
        self._feed = feed
        self._person = person
        self._position = position

    async def items(self) -> AsyncIterator[ServerSentEvent]:
        """What is sent. After ``over`` there is nothing to come back with; otherwise coming back goes on."""
        yield ServerSentEvent(
            event="tick", raw_data=self._deps.now().isoformat(), id=str(self._position), retry=RECONNECT_MS
        )
        with suppress(FeedClosed, *DATABASE_ERRORS):
            while True:
                came = await self._something_came()
                if not await self._still_in():
                    yield ServerSentEvent(event="over", raw_data="the session has ended")
                    return
                yield ServerSentEvent(
                    event="news" if came else "tick",
                    raw_data=self._deps.now().isoformat(),
                    id=str(self._position),
                )
                if came:
                    # A burst is one piece of news: each has every open page fetch its part again.
                    await asyncio.sleep(NEWS_APART_SECONDS)

    async def _something_came(self) -> bool:
        """Whether anything has, within ``TICK_SECONDS``; reads on to the newest of it."""
        try:
            async with asyncio.timeout(TICK_SECONDS):
                page = await self._feed.after(self._position)
        except TimeoutError:
            return False
        if not page:
            return False  # Something else has changed that others wait for.
        self._position = max(page[-1].position, self._feed.newest)
        return True

    async def _still_in(self) -> bool:
        """Whether the session still lasts and its person may still look: read anew each time.

        By the session, not by the stream's cookie: a second factor shown in another tab changes it.
        """
        async with self._deps.entry.connection() as connection:
            role = await role_of_session(connection, self._person.session_id, self._deps.now())
        return role is self._person.role


async def _stream(
    request: Request, deps: Deps, person: Viewer, last_event_id: LastEventId = None
) -> AsyncIterator[PageStream]:
    try:
        since = None if last_event_id is None else int(last_event_id)
        async with deps.database.connection() as connection:
            position = await start_position(connection, since)
    except NotInStream:
        # Gone to cold storage, or of another database: the page fetches all it shows anyway.
        async with deps.database.connection() as connection:
            position = await start_position(connection, None)
    except ValueError as error:
        raise invalid("Last-Event-ID is a position") from error
    feed = cast(EventFeed, request.app.state.feed)
    try:
        async with feed.joined(person.person_id):
            yield PageStream(deps, feed, person, position)
    except TooManyStreams as error:
        raise WebError(429, Code.BUSY, "as many pages are live as may be: close one") from error


@router.get("/live/events", response_class=EventSourceResponse)
async def events(stream: Annotated[PageStream, Depends(_stream)]) -> AsyncIterator[ServerSentEvent]:
    """``news`` with the position of the newest event, ``tick`` where nothing came for 5 s, ``over`` at the end."""
    async for item in stream.items():
        yield item
