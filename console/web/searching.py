"""Pages that read many rows: a few at once, each for a few seconds, so that everything else goes on beside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from console.web.deps import SEARCH_SECONDS, ConsoleDeps
from console.web.problems import Code, WebError, refused

if TYPE_CHECKING:
    from storage.database import Connection

PROOF_SECONDS: Final = 60.0
TOO_LONG: Final = (
    "that took too long, or too many look for something at this moment: ask for less, or try again"
)
PROOF_TOO_LONG: Final = "the proof took too long: `trading audit prove` on the machine takes its time"
ONE_PROOF: Final = "another proof is being made: try again in a moment"


@asynccontextmanager
async def searching(deps: ConsoleDeps) -> AsyncIterator["Connection"]:
    """A connection for one search; what it has not found in time is given up, on the server too.

    Raises:
        WebError: 503, it took too long, the wait for others' searches counted.
    """
    async with _within(SEARCH_SECONDS, TOO_LONG), deps.searches, deps.database.connection() as connection:
        yield connection


@asynccontextmanager
async def proving(deps: ConsoleDeps) -> AsyncIterator["Connection"]:
    """A connection for one proof; nobody holds one while somebody else's is made.

    Raises:
        WebError: 409, another is being made; 503, it took too long.
    """
    if deps.proving.locked():
        raise refused(ONE_PROOF)
    async with _within(PROOF_SECONDS, PROOF_TOO_LONG), deps.proving, deps.database.connection() as connection:
        yield connection


@asynccontextmanager
async def _within(seconds: float, otherwise: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise WebError(503, Code.BUSY, otherwise) from None
