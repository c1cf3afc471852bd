"""A TCP proxy that fails on order, to stand between a client and any server: PostgreSQL, Temporal, Valkey.

From Python: ``async with TcpProxy(host, port) as proxy``. As a process: ``python -m simulation.tcp_proxy
--target HOST:PORT``; it obeys lines on standard input and ends when that closes, so never after its parent.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, Self

from simulation.tcp_link import Conduct, TcpLink

HOST: Final = "127.0.0.1"
LATENCY_MS_MAX: Final = 60_000
EXIT_DONE, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2


class TcpProxy:
    """Forwards ``127.0.0.1:port`` to a target; everything can be switched while connections are open."""

    def __init__(self, host: str, port: int, *, listen_port: int = 0) -> None:
        """``listen_port`` 0 picks a free one."""
        self.target = (host, port)
        self.port = listen_port
        self.conduct = Conduct()
        self.accepted = 0
        self._links: set[TcpLink] = set()
        self._server: asyncio.Server | None = None
        self._held_port: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Raises OSError if the port is taken."""
        await self._listen()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._stop_listening()
        self._free_port()
        self.cut_all()
        await asyncio.gather(*(link.ended.wait() for link in self._links))

    @property
    def open_links(self) -> int:
        """Connections that stand."""
        return len(self._links)

    def slow_down(self, *, latency_ms: int) -> None:
        """Every byte arrives so much later, both ways; 0 ends that. Raises ValueError."""
        if not 0 <= latency_ms <= LATENCY_MS_MAX:
            raise ValueError(f"latency must be 0 to {LATENCY_MS_MAX} ms, got {latency_ms}")
        self.conduct = replace(self.conduct, latency_ms=latency_ms)

    def fall_silent(self) -> None:
        """A black hole: connections are accepted and read, and nothing comes back or gets through."""
        self.conduct = replace(self.conduct, mode="silence")

    async def refuse(self) -> None:
        """New connections are refused, by the kernel itself; those that stand go on."""
        self.conduct = replace(self.conduct, mode="refuse")
        self._stop_listening()
        if self._held_port is None:
            self._held_port = _bound(self.port)

    def cut_answers(self, *, after_bytes: int) -> None:
        """Each connection gets so many bytes more of its answer, then its end. Raises ValueError."""
        if after_bytes < 0:
            raise ValueError(f"bytes must be 0 or more, got {after_bytes}")
        self.conduct = replace(self.conduct, cut_after_bytes=after_bytes)
        for link in self._links:
            link.answered_bytes = 0

    def cut_all(self) -> None:
        """Reset every connection that stands."""
        for link in list(self._links):
            link.reset()

    async def heal(self) -> None:
        """Forward again as if nothing had been; connections that lost bytes to the silence are reset."""
        self.conduct = Conduct()
        for link in list(self._links):
            if link.has_lost:
                link.reset()
        if self._server is None:
            self._free_port()
            await self._listen()

    def status(self) -> dict[str, Any]:
        """The conduct, connections that stand, and how many there have been."""
        return {**asdict(self.conduct), "open": self.open_links, "accepted": self.accepted}

    async def _listen(self) -> None:
        listening = _bound(self.port)
        self.port = listening.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listening)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _free_port(self) -> None:
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = TcpLink(self.target, lambda: self.conduct, reader, writer)
        self.accepted += 1
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


async def obey(proxy: TcpProxy, line: str) -> dict[str, Any]:
    """Do what one control line says; the answer says whether, and how the proxy behaves now."""
    verb, *numbers = line.split()
    try:
        match verb, [int(number) for number in numbers]:
            case "latency", [latency_ms]:
                proxy.slow_down(latency_ms=latency_ms)
            case "silence", []:
                proxy.fall_silent()
            case "refuse", []:
                await proxy.refuse()
            case "cut_after", [after_bytes]:
                proxy.cut_answers(after_bytes=after_bytes)
            case "cut", []:
                proxy.cut_all()
            case "heal", []:
                await proxy.heal()
            case "status", []:
                pass
            case _:
                raise ValueError("latency MS, silence, refuse, cut_after BYTES, cut, heal or status")
    except (ValueError, OSError) as error:
        return {"ok": False, "error": f"{line.strip()}: {error}"}
    return {"ok": True, **proxy.status()}


def _lines(take: Callable[[str | None], None]) -> None:
    for line in sys.stdin:
        take(line)
    take(None)


async def _run(host: str, port: int, listen_port: int) -> None:
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, lines.put_nowait, None)

    def take(line: str | None) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=_lines, args=(take,), name="control", daemon=True).start()
    async with TcpProxy(host, port, listen_port=listen_port) as proxy:
        _tell({"ready": True, "port": proxy.port, "target": f"{host}:{port}"})
        while (line := await lines.get()) is not None:
            if line.strip():
                _tell(await obey(proxy, line))


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run until standard input ends or a signal. Exit codes: 0 stopped, 1 refused, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="tcp_proxy", description="Forward a port, and fail on order.")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 (default) picks a free one")
    given = parser.parse_args(arguments)
    host, _, port = given.target.rpartition(":")
    if not host or not port.isdigit():
        sys.stderr.write(f"tcp_proxy: --target: {given.target!r} is not HOST:PORT\n")
        return EXIT_USAGE
    try:
        asyncio.run(_run(host, int(port), given.port))
    except BrokenPipeError:
        return EXIT_DONE
    except OSError as error:
        sys.stderr.write(f"tcp_proxy: {error}\n")
        return EXIT_REFUSED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
