"""Route /v1/events: the live stream, as Server-Sent Events."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gateway.deps import Caller, Credentials, Deps, holder
from gateway.documents import INVALID_REQUEST, TOO_MANY_STREAMS, TOPIC_FORBIDDEN, problems
from gateway.event_reader import Reader
from gateway.problems import RETRY_AFTER_SECONDS, ApiError, Code, FieldProblem
from gateway.scopes import refused_use
from schemas.events import parse_since
from schemas.wire import Topic
from storage.event_feed import EventFeed, TooManyStreams
from storage.event_stream import NotInStream, start_position

LAST_EVENT_ID: Final = "Last-Event-ID"

router = APIRouter(prefix="/v1/events", tags=["events"])

Topics = Annotated[list[Topic] | None, Query(description="Only this topic; repeat it for several.")]
Since = Annotated[
    str | None,
    Query(
        description="Begin after this position (0: with the first event), or before the first event of this "
        "time, which needs its zone. Without it the stream begins with what comes next. What has gone to cold "
        "storage is refused, and the answer says where the stream begins."
    ),
]
LastEventId = Annotated[
    str | None, Header(description="The last `id` received; it outranks `since`. An EventSource sends it.")
]


async def _reader(
    request: Request, deps: Deps, token: Caller, credentials: Credentials,
    topic: Topics = None, since: Since = None, last_event_id: LastEventId = None,
) -> AsyncIterator[Reader]:  # fmt: skip
    async def still_allowed() -> bool:
        try:
            return await holder(deps, credentials) == token
        except ApiError:
            return False

    for each in topic or ():
        if not token.may_hear_of(each):
            raise await refused_use(deps, token, "topic", each, token.topics)
    position = await _position(deps, since, last_event_id)
    feed = cast(EventFeed, request.app.state.feed)
    try:
        async with feed.joined(token.token_id):
            yield Reader(feed, token, frozenset(topic or ()), position, still_allowed)
    except TooManyStreams as error:
        raise ApiError(
            429, Code.TOO_MANY_STREAMS, "as many streams are open as there may be: close one",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from error  # fmt: skip


async def _position(deps: Deps, since: str | None, last_event_id: str | None) -> int:
    name, text = ("since", since) if last_event_id is None else (LAST_EVENT_ID, last_event_id)
    try:
        start: int | datetime | None = None if text is None else parse_since(text)
        async with deps.database.connection() as connection:
            return await start_position(connection, start)
    except (ValueError, NotInStream) as error:
        raise ApiError(
            422, Code.INVALID_REQUEST, f"{name} is wrong: {error}",
            fields=[FieldProblem(field=name, message=str(error))],
        ) from error  # fmt: skip


@router.get(
    "",
    summary="Follow events live",
    response_class=EventSourceResponse,
    responses=problems(
        401, 500, 503, own={403: TOPIC_FORBIDDEN, 422: INVALID_REQUEST, 429: TOO_MANY_STREAMS}
    ),
)
async def follow_events(reader: Annotated[Reader, Depends(_reader)]) -> AsyncIterator[ServerSentEvent]:
    """Every event from `since` on, then each new one a moment after its commit, in one order for everybody.

    `id` is the event's position, `event` its topic, `data` the topic's payload. Coming back with
    `Last-Event-ID` neither loses nor repeats any. A token sees the events of the signals that it has sent,
    and of their orders: of `system.state_drift` those about its own signals, with `drift`, `drift_pct` and `equity`
    null. It also sees `system.killswitch.activated`, with `orders` and `unprotected` empty, and of a machine's
    `reason` the code alone. Made for some topics, it is told of these alone. Only the token of a local
    installation's setup, which is for any strategy and never taken in live mode, sees all.

    Lines that begin with `:` are comments: a heartbeat every 15 s, and `end: REASON` before the stream is
    ended. After `shutdown`, `slow-reader` (nothing was taken for 20 s) and `database-away` come back; after
    `token-ended` there is nothing to come back with. A block of an `id` alone tells how far the stream has read
    past what this reader is not shown.
    """
    async for item in reader.items():
        yield item
