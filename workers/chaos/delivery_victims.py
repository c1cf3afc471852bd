"""Who is killed in a delivery run: processes of the nursery, started and ended by orders to it."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from workers.chaos.victims import StageError


class Nursery:
    """The program that forks them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()

    async def start(self, **order: Any) -> int:
        """A new process as ordered; its id."""
        pid: int = (await self._ask({"start": order}))["pid"]
        return pid

    async def kill(self, pid: int) -> None:
        """Signal 9; returns when it is dead.

        Raises:
            StageError: it had ended by itself.
        """
        answer = await self._ask({"kill": pid})
        if answer["signal"] != signal.SIGKILL:
            raise StageError("a process of the run ended by itself before it was killed; see what it printed")

    async def answer(self) -> dict[str, Any]:
        """The next line it prints."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise StageError("the nursery of the run ended; see what it printed")
        found: dict[str, Any] = json.loads(line)
        return found

    async def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        async with self._asking:
            self._process.stdin.write((json.dumps(order) + "\n").encode())
            return await self.answer()


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """The program, ready; it and all its children end with the block, or with this process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.chaos.delivery_nursery",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        found = Nursery(process)
        await found.answer()
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
