"""The HTTP layer under alpaca-py's client: time limits, proof of what was written, nothing hidden.

alpaca-py sets no timeout, so its session gets this adapter. It knows whether any byte of a request was
written, enforces one deadline over the whole exchange (requests' read timeout starts anew with every
packet, so a slow body could last for ever) and runs the caller's last check right before the first byte.
"""

import heapq
import itertools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from broker.alpaca.errors import Answer

CONNECT_TIMEOUT_SECONDS: Final = 2.0
READ_TIMEOUT_SECONDS: Final = 10.0
TOTAL_DEADLINE_SECONDS: Final = 15.0

REUSE_IDLE_MAX_SECONDS: Final = 3.0
"""An idle connection older than this is not used again: the peer may be closing it at that moment, and a
request lost that way has an unknown outcome. Servers keep idle connections for 5 s and more."""


class StoppedError(Exception):
    """Raised inside the HTTP stack instead of writing the first byte."""


class Attempt:
    """One HTTP request on its way. Written by its own thread, expired by others."""

    def __init__(
        self,
        *,
        before_send: Callable[[], None] | None = None,
        check_body: Callable[[bytes], None] | None = None,
    ) -> None:
        self.deadline = time.monotonic() + TOTAL_DEADLINE_SECONDS
        self.check_body = check_body
        self.answer: Answer | None = None
        self.stopped_by: BaseException | None = None
        """What ``before_send`` or ``check_body`` raised."""
        self.done = False
        self._before_send = before_send
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._written = False
        self._expired = False

    @property
    def written(self) -> bool:
        """Whether a byte may have left. False is proof that none did."""
        return self._written

    def about_to_write(self, connected: socket.socket) -> None:
        """Called right before every piece of the request, and each may stop the rest.

        A process may stand still between head and body for a minute; without its body a request is none.

        Raises:
            StoppedError: the deadline has passed, or the caller's check said no.
        """
        if self._before_send is not None:
            self.guard(self._before_send)
        with self._lock:
            if self._expired or time.monotonic() >= self.deadline:
                raise StoppedError("deadline")
            self._written = True
            self._socket = connected

    def guard(self, check: Callable[[], None]) -> None:
        """Run a check that may stop the request; keeps what it raised."""
        try:
            check()
        except BaseException as error:  # noqa: BLE001 - handed on unchanged to the caller
            self.stopped_by = error
            raise StoppedError("check") from None

    def expire(self) -> None:
        """End it now: nothing more is written, and a thread that waits for the answer wakes up."""
        with self._lock:
            self._expired = True
            if self._socket is not None and not self.done:
                with suppress(OSError):
                    # The plain call: SSLSocket's own would go on reading without TLS.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def finish(self) -> None:
        """It is over: from here on its connection may carry another request and must not be cut."""
        with self._lock:
            self.done = True

    def withdraw(self) -> None:
        """Stop it if nothing was written yet; once written, let it run to its answer."""
        with self._lock:
            self._expired = self._expired or not self._written


class Watchdog:
    """One thread that expires attempts at their deadline. Ends with its process."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Attempt]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, attempt: Attempt) -> None:
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="broker-deadlines", daemon=True)
                self._thread.start()
            heapq.heappush(self._heap, (attempt.deadline, next(self._order), attempt))
            if self._heap[0][2] is attempt:
                self._wake.notify()

    def close(self) -> None:
        """Expire what is still running and end the thread."""
        with self._wake:
            self._closed = True
            waiting, self._heap = self._heap, []
            self._wake.notify()
        for _, _, attempt in waiting:
            if not attempt.done:
                attempt.expire()

    def _run(self) -> None:
        with self._wake:
            while not self._closed:
                now = time.monotonic()
                while self._heap and (self._heap[0][2].done or self._heap[0][0] <= now):
                    attempt = heapq.heappop(self._heap)[2]
                    if not attempt.done:
                        attempt.expire()
                self._wake.wait(self._heap[0][0] - now if self._heap else None)


_in_flight = threading.local()


def begin(attempt: Attempt) -> None:
    """Make ``attempt`` the one this thread is on."""
    _in_flight.attempt = attempt


def _current() -> Attempt:
    attempt: Attempt = _in_flight.attempt
    return attempt


class _PlainConnection(HTTPConnection):
    """Tells the attempt before it writes, and is not used again after a pause."""

    _last_used = 0.0

    def connect(self) -> None:
        super().connect()
        self._last_used = time.monotonic()

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _current().about_to_write(self.sock)
        super().send(data)
        self._last_used = time.monotonic()

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._last_used < REUSE_IDLE_MAX_SECONDS and super().is_connected


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class GuardedAdapter(HTTPAdapter):
    """One connection to one host, for one thread. Never retries, never follows, never hides."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send with our limits and keep the whole answer in the attempt."""
        attempt = _current()
        check = attempt.check_body
        if check is not None:
            body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
            attempt.guard(lambda: check(body))
        limits = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
        response = super().send(request, stream=stream, timeout=limits, verify=verify, cert=cert, proxies={})
        attempt.answer = Answer(response.status_code, response.content, response.headers)
        return response
