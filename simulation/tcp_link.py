"""One connection through the TCP proxy: bytes on their way, and what becomes of them."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

CHUNK_BYTES: Final = 65_536
CHUNKS_ON_THE_WAY_MAX: Final = 64
CONNECT_TIMEOUT_SECONDS: Final = 10.0
MS_PER_SECOND: Final = 1_000
# Linger for no time: closing then resets the connection.
AT_ONCE: Final = struct.pack("ii", 1, 0)

Mode = Literal["forward", "silence", "refuse"]


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a proxy behaves. ``cut_after_bytes``: each connection ends after so much more of the answer."""

    mode: Mode = "forward"
    latency_ms: int = 0
    cut_after_bytes: int | None = None


class _Cut(Exception):
    """The answer has reached the byte it shall end at."""


class TcpLink:
    """A client's connection and its way on to the target; ``conduct`` tells at any moment how to behave."""

    def __init__(
        self,
        target: tuple[str, int],
        conduct: Callable[[], Conduct],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.answered_bytes = 0
        self.has_lost = False
        self.ended = asyncio.Event()
        self._target = target
        self._conduct = conduct
        self._reader = reader
        self._writers = [writer]
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Forward until both sides have said their end, or one connection broke: then both are."""
        self._tasks = [asyncio.create_task(self._forward())]
        try:
            await self._finish()
        except (OSError, asyncio.CancelledError):
            # Broken by us, by the client or by the target: all the same to the other end.
            self.reset()
        except _Cut:
            pass
        finally:
            for writer in self._writers:
                writer.close()
            self.ended.set()

    def reset(self) -> None:
        """Break both connections at once; what is on the way is lost."""
        for writer in self._writers:
            known = writer.get_extra_info("socket")
            if known is not None and not writer.transport.is_closing():
                known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    async def _finish(self) -> None:
        """Wait for every task there is and will be. Raises what the first that failed raised."""
        try:
            while waiting := [task for task in self._tasks if not task.done()]:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
                for task in self._tasks:
                    if task.done():
                        task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self) -> None:
        if self._conduct().mode == "silence":
            self.has_lost = True
            while await self._reader.read(CHUNK_BYTES):
                pass
            return
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(*self._target)
        client = self._writers[0]
        self._writers.append(writer)
        for source, sink, is_answer in ((self._reader, writer, False), (reader, client, True)):
            way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY_MAX)
            self._tasks += [
                asyncio.create_task(self._take(source, way)),
                asyncio.create_task(self._give(way, sink, is_answer=is_answer)),
            ]

    async def _take(self, reader: asyncio.StreamReader, way: "asyncio.Queue[tuple[float, bytes]]") -> None:
        loop, chunk = asyncio.get_running_loop(), b"?"
        while chunk:
            chunk = await reader.read(CHUNK_BYTES)
            await way.put((loop.time() + self._conduct().latency_ms / MS_PER_SECOND, chunk))

    async def _give(
        self, way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        loop, chunk = asyncio.get_running_loop(), b"?"
        while chunk:
            due_seconds, chunk = await way.get()
            await asyncio.sleep(due_seconds - loop.time())
            if self._conduct().mode == "silence":
                self.has_lost = True
            elif chunk:
                await self._write(chunk, writer, is_answer=is_answer)
            elif writer.can_write_eof():
                writer.write_eof()

    async def _write(self, chunk: bytes, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        limit = self._conduct().cut_after_bytes if is_answer else None
        if limit is not None:
            chunk = chunk[: max(0, limit - self.answered_bytes)]
            self.answered_bytes += len(chunk)
        writer.write(chunk)
        await writer.drain()
        if limit is not None and self.answered_bytes >= limit:
            raise _Cut
