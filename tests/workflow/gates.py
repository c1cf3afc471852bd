"""Steps that a test scripts and holds."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from temporalio.exceptions import ApplicationError


@dataclass
class Gate:
    """A step that a test holds: it has been asked, and answers only when opened."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Gates:
    """``calls`` holds the steps asked for, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._words: dict[str, deque[str]] = defaultdict(deque)
        self._gates: dict[str, Gate] = {}

    def script(self, step: str, *words: str) -> None:
        """What the next calls of ``step`` come to; after them it goes well again."""
        self._words[step].extend(words)

    def heal(self, step: str) -> None:
        """Every further call of ``step`` goes well."""
        self._words[step].clear()

    @asynccontextmanager
    async def held(self, step: str) -> AsyncIterator[Gate]:
        """Hold the answer of the next call of ``step`` until the block ends."""
        gate = self._gates[step] = Gate()
        try:
            yield gate
        finally:
            gate.opened.set()

    async def asked(self, step: str) -> str:
        """Note the call, wait while a test holds it, and tell what it comes to."""
        self.calls.append(step)
        await self.pause(step)
        return self.word(step)

    async def pause(self, step: str) -> None:
        """Wait while a test holds the step."""
        gate = self._gates.pop(step, None)
        if gate is not None:
            gate.asked.set()
            await gate.opened.wait()

    def word(self, step: str) -> str:
        """What the script says of this call of ``step``; empty where it says nothing.

        Raises:
            ApplicationError: the word begins with ``!``: a failure of that type, to be tried again, or with
                ``!!``: a final one.
        """
        word = self._words[step].popleft() if self._words[step] else ""
        if word.startswith("!"):
            code = word.lstrip("!")
            raise ApplicationError(f"scripted {code}", type=code, non_retryable=word.startswith("!!"))
        return word
