"""One reader of the event stream: what it may see, how far it has read, and why it is sent away."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from fastapi.sse import ServerSentEvent

from schemas.wire import Topic
from storage.database import DATABASE_ERRORS
from storage.event_feed import PAGE, EventFeed, FeedClosed
from storage.event_stream import StreamEvent
from storage.signals import Token

SLOW_SECONDS: Final = 20.0
"""Who takes no event for so long is sent away; coming back with Last-Event-ID, it goes on where it was."""
CHECK_SECONDS: Final = 10.0
"""How often a reader's token is looked at again where nobody says that one has changed, and how far it has read is
told where it was shown nothing."""
RECONNECT_MS: Final = 1000
TOLD_TO_ALL: Final = frozenset({Topic.KILLSWITCH_ACTIVATED})
"""Topics of no strategy that every strategy must know of."""
HIDDEN: Final[Mapping[str, Mapping[str, object]]] = {
    # Other strategies' orders, and tickers that the account holds.
    Topic.KILLSWITCH_ACTIVATED: {"orders": {}, "unprotected": []},
    # Of the whole account, though the difference itself is about the reader's own signal.
    Topic.STATE_DRIFT: {"drift": None, "drift_pct": None, "equity": None},
}
"""What a reader that is not for any strategy is not told of an event, and what stands in its place."""
_MACHINES_REASON: Final = re.compile(r"([A-Z][A-Z_]{2,})(?=: | on )")
"""A code, and then what it was found by: amounts, tickers, order ids."""


class End(StrEnum):
    """Why a stream ends, as its last comment says."""

    SHUTDOWN = "shutdown"
    SLOW_READER = "slow-reader"
    REVOKED = "token-ended"
    DATABASE_AWAY = "database-away"


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Reader:
    """Reads on from ``position``. It holds one page at most, however slowly its events are taken."""

    feed: EventFeed
    token: Token
    topics: frozenset[Topic]
    position: int
    still_allowed: Callable[[], Awaitable[bool]]
    _checked_at: float = field(default_factory=_now)
    _tokens_seen: int = field(init=False)

    def __post_init__(self) -> None:
        self._tokens_seen = self.feed.tokens_changed

    def shows(self, event: StreamEvent) -> bool:
        """Whether this reader sees the event: its own, and the kill switch's. What no rule here lets through is
        for unbound tokens only."""
        if (self.topics and event.topic not in self.topics) or not self.token.may_hear_of(event.topic):
            return False
        own = self.token.strategies is None or event.token_id == self.token.token_id
        return own or event.topic in TOLD_TO_ALL

    def told(self, event: StreamEvent) -> str:
        """The payload as this reader may read it: who is bound to strategies learns of no other's orders and
        holdings, and not what the account is worth."""
        hidden = HIDDEN.get(event.topic)
        if self.token.strategies is None or hidden is None:
            return event.payload
        payload = json.loads(event.payload)
        payload |= {name: blank for name, blank in hidden.items() if name in payload}
        if event.topic == Topic.KILLSWITCH_ACTIVATED:
            payload["reason"] = _code_of(str(payload["reason"]))
        return json.dumps(payload)

    async def items(self) -> AsyncIterator[ServerSentEvent]:
        """What is sent, until the stream must end; the last item says why."""
        yield ServerSentEvent(comment="following", id=str(self.position), retry=RECONNECT_MS)
        told, end = self.position, End.REVOKED
        try:
            while await self._allowed():
                page = await self._page()
                for event in filter(self.shows, page):
                    if not await self._allowed():
                        yield _ended(End.REVOKED)
                        return
                    handed_at = _now()
                    yield ServerSentEvent(
                        id=str(event.position), event=event.topic, raw_data=self.told(event)
                    )
                    told = event.position
                    if _now() - handed_at > SLOW_SECONDS:
                        yield _ended(End.SLOW_READER)
                        return
                self.position = page[-1].position if page else self.position
                if told < self.position and (not page or len(page) == PAGE):
                    # So that coming back does not read again what others were shown.
                    yield ServerSentEvent(id=str(self.position))
                    told = self.position
        except FeedClosed:
            end = End.SHUTDOWN
        except DATABASE_ERRORS:
            end = End.DATABASE_AWAY
        yield _ended(end)

    async def _page(self) -> list[StreamEvent]:
        """The next events, none where nothing has come for ``CHECK_SECONDS``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                return await self.feed.after(self.position, self._tokens_seen)
        return []

    async def _allowed(self) -> bool:
        changed = self.feed.tokens_changed
        if changed == self._tokens_seen and _now() - self._checked_at < CHECK_SECONDS:
            return True
        self._tokens_seen, self._checked_at = changed, _now()
        return await self.still_allowed()


def _code_of(reason: str) -> str:
    """A machine's reason without its particulars; a person's words as they are."""
    found = _MACHINES_REASON.match(reason)
    return found[1] if found else reason


def _ended(end: End) -> ServerSentEvent:
    return ServerSentEvent(comment=f"end: {end.value}")
