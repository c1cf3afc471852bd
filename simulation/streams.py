"""What the two WebSockets share: bounded queues to clients, and the pump that drains them."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from simulation.faults import Fate
from simulation.injecting import MS_PER_SECOND
from simulation.transport import cut_socket, deafen, undeafen

FRAMES_QUEUED_MAX = 10_000
AUTH_TIMEOUT_SECONDS = 10.0
CLOSE_NORMAL = 1000
SWAP_WAITS_SECONDS = 1.0
"""How long a frame waits for another to overtake it: in a quiet market it comes late, and is not lost."""

Frame = bytes | str


class Vacancy:
    """How many sockets a stream has, and since when it has none."""

    def __init__(self) -> None:
        self.count = 0
        self._since_seconds: float | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Count one more for the length of the context."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._since_seconds = time.monotonic()

    def vacant_ms(self) -> int | None:
        """0 while a socket is connected, None if none ever was."""
        if self.count:
            return 0
        if self._since_seconds is None:
            return None
        return int((time.monotonic() - self._since_seconds) * MS_PER_SECOND)


class Subscriber:
    """One connected client; frames wait in a bounded queue, a client too slow for it is cut off."""

    def __init__(self, socket: WebSocket, stream: str) -> None:
        self.socket = socket
        self.stream = stream
        self.key = ""
        """With which it logged in."""
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue(FRAMES_QUEUED_MAX)
        self.overrun = False
        self._is_mute = False
        self._hears_again: asyncio.TimerHandle | None = None

    def offer(self, frame: Frame) -> None:
        """Queue a frame; never blocks. What a mute socket should have said is lost."""
        if self.overrun or self._is_mute:
            return
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.overrun = True

    def suffer(self, fate: Fate) -> None:
        """Queue what a fault left of a frame; a cut connection is gone at once, without a handshake."""
        for frame in fate.frames:
            self.offer(frame)
        if fate.cut:
            cut_socket(self.socket)
        if fate.mute and not self._is_mute:
            self._fall_mute(fate)

    def _fall_mute(self, fate: Fate) -> None:
        self._is_mute = True
        if fate.deaf:
            deafen(self.socket)
        if fate.mute_ms is not None:
            loop = asyncio.get_running_loop()
            self._hears_again = loop.call_later(fate.mute_ms / MS_PER_SECOND, self._speak_again)

    def _speak_again(self) -> None:
        self._is_mute = False
        undeafen(self.socket)

    def end(self) -> None:
        """Close the connection once everything queued is out."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def run(self, on_message: Callable[[Frame], Awaitable[None]]) -> None:
        """Serve until the client goes, falls behind, or ``end`` is called."""
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive(on_message))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._hears_again is not None:
                self._hears_again.cancel()
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await self._close()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
                raise outcome

    async def _send(self) -> None:
        while not self.overrun:
            frame = await self._queue.get()
            if frame is None:
                return
            if isinstance(frame, bytes):
                await self.socket.send_bytes(frame)
            else:
                await self.socket.send_text(frame)

    async def _receive(self, on_message: Callable[[Frame], Awaitable[None]]) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await on_message(message["bytes"] if message.get("bytes") is not None else message["text"])

    async def _close(self) -> None:
        if self.socket.client_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self.socket.close(CLOSE_NORMAL)
