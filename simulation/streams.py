"""What the two WebSockets share: bounded queues to clients, and the pump that drains them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from simulation.faults import Fate
from simulation.transport import cut_socket

FRAMES_QUEUED_MAX = 10_000
AUTH_TIMEOUT_SECONDS = 10.0
CLOSE_NORMAL = 1000

Frame = bytes | str


class Subscriber:
    """One connected client; frames wait in a bounded queue, a client too slow for it is cut off."""

    def __init__(self, socket: WebSocket, stream: str) -> None:
        self.socket = socket
        self.stream = stream
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue(FRAMES_QUEUED_MAX)
        self.overrun = False

    def offer(self, frame: Frame) -> None:
        """Queue a frame; never blocks."""
        if self.overrun:
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
