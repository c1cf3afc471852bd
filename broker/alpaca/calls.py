"""Runs alpaca-py, which blocks, in threads. A client and its connection serve one thread at a time.

A request is judged by what the transport saw, never by what the library raised: its errors parse the
body on access and fail themselves, and they carry the request with its secret header.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from broker.alpaca import transport
from broker.alpaca.errors import Kind, UnreadableError, classify, read_json, unproved
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.transport import Attempt, GuardedAdapter, StoppedError, Watchdog
from broker.budget import BrokerBudget, Share, take_token
from broker.errors import BrokerError, NothingSent, Unauthorized, ValidationRefused
from broker.keys import BrokerKeys, KeyPair
from broker.told import OUTCOME_OK, BrokerCall, OnCall, tell
from observability.crash_points import pass_by

if TYPE_CHECKING:
    from alpaca.trading.client import TradingClient

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

LANE_THREADS: dict[Kind, int] = {Kind.PLACE: 8, Kind.CANCEL: 4, Kind.READ: 4}
"""Threads for each kind of request, made on demand; each kind has its own threads and connections, so that
a cancel never waits behind a hanging read or placement."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request; ``path`` is a template without ids."""

    name: str
    method: str
    path: str
    kind: Kind
    share: Share
    """Of the account's requests."""


class Calls:
    """The threads and clients of one adapter object."""

    def __init__(
        self,
        settings: AlpacaSettings,
        on_call: OnCall | None,
        budget: BrokerBudget | None,
        keys: BrokerKeys,
    ) -> None:
        """Without a ``budget`` requests are neither limited nor counted: for the kill path, and for tests."""
        self._settings = settings
        self._keys = keys
        self._on_call = on_call
        self._budget = budget
        self._watchdog = Watchdog()
        # Last in, first out: the client used last has the freshest connection.
        self._idle: dict[Kind, list[tuple[KeyPair, TradingClient]]] = {kind: [] for kind in LANE_THREADS}
        self._closed = False
        self._lanes = {
            kind: ThreadPoolExecutor(size, thread_name_prefix=f"broker-{kind}")
            for kind, size in LANE_THREADS.items()
        }

    async def run(
        self,
        operation: Operation,
        use: Callable[["TradingClient"], object],
        read: Callable[[Any], _T],
    ) -> _T:
        """Make the one request that ``use`` makes and return ``read`` of its JSON (None for an empty body).

        A cancelled caller leaves at once; the request goes on to its answer or deadline.

        Raises:
            NoToken, BudgetUnavailable: nothing was sent.
            BrokerError: by ``classify``; NothingSent, NetworkError or UnknownOutcome where no answer came.
        """
        if self._budget is None:
            return await asyncio.wrap_future(self._submit(operation, Attempt(), use, read))
        await take_token(self._budget, operation.share)
        job = self._submit(operation, Attempt(), use, read)
        try:
            result = await asyncio.wrap_future(job)
        except BrokerError as error:
            await self._budget.heard(operation.share, error)
            raise
        await self._budget.heard(operation.share, None)
        return result

    async def run_to_its_end(
        self,
        operation: Operation,
        attempt: Attempt,
        use: Callable[["TradingClient"], object],
        read: Callable[[Any], _T],
    ) -> _T:
        """As ``run``, but a cancelled caller leaves only when the thread has ended.

        Cancelled before the first byte, nothing is sent; after it, the request runs to its answer.
        """
        job = self._submit(operation, attempt, use, read)
        ended = asyncio.ensure_future(asyncio.wrap_future(job))
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await asyncio.wait({ended})
            except asyncio.CancelledError as error:
                attempt.withdraw()
                cancelled = error
        if cancelled is not None:
            ended.exception()
            raise cancelled
        return ended.result()

    async def close(self) -> None:
        """Wait for placements on their way, end everything else, close the connections."""
        self._closed = True
        await asyncio.to_thread(self._lanes[Kind.PLACE].shutdown, wait=True)
        self._watchdog.close()
        for lane in self._lanes.values():
            await asyncio.to_thread(lane.shutdown, wait=True)
        for _, client in (one for idle in self._idle.values() for one in idle):
            client._session.close()

    def _submit(
        self,
        operation: Operation,
        attempt: Attempt,
        use: Callable[["TradingClient"], object],
        read: Callable[[Any], _T],
    ) -> "Future[_T]":
        if self._closed:
            raise _closed_error(operation)
        context = contextvars.copy_context()
        lane = self._lanes[operation.kind]
        return lane.submit(context.run, self._perform, operation, attempt, use, read)

    def _perform(
        self,
        operation: Operation,
        attempt: Attempt,
        use: Callable[["TradingClient"], object],
        read: Callable[[Any], _T],
    ) -> _T:
        if self._closed:
            raise _closed_error(operation)
        pair, client = self._client(operation.kind)
        transport.begin(attempt)
        self._watchdog.watch(attempt)
        began = time.monotonic()
        raised: Exception | None = None
        pass_by("call", operation.name, "before")
        try:
            use(client)
        except Exception as error:  # noqa: BLE001 - whatever it is, the transport knows what happened
            raised = error
        finally:
            attempt.finish()
            self._idle[operation.kind].append((pair, client))
        pass_by("call", operation.name, "after")
        latency_ms = (time.monotonic() - began) * 1000
        result = _judge(operation, attempt, raised, read)
        self._report(operation, attempt, result, latency_ms)
        if isinstance(result, _Failed):
            if isinstance(result.error, Unauthorized):
                result.error.of_replaced_keys = not self._keys.tell_refused(pair)
            raise result.error
        return result.value

    def _client(self, kind: Kind) -> "tuple[KeyPair, TradingClient]":
        """An idle client with the current keys; those of earlier keys end here. Else a new one."""
        pair, idle = self._keys.current, self._idle[kind]
        while True:
            try:
                made_with, client = idle.pop()
            except IndexError:
                return pair, _new_client(self._settings.trading_url, pair)
            if made_with is pair:
                return pair, client
            client._session.close()

    def _report(
        self, operation: Operation, attempt: Attempt, result: "_Done[_T] | _Failed", latency_ms: float
    ) -> None:
        if attempt.stopped_by is not None and not attempt.written:
            return
        failed = result.error if isinstance(result, _Failed) else None
        outcome = OUTCOME_OK if failed is None else getattr(failed, "code", BrokerError.code)
        answer = attempt.answer
        call = BrokerCall(
            operation=operation.name,
            method=operation.method,
            path=operation.path,
            http_status=answer.status if answer else None,
            outcome=outcome,
            latency_ms=latency_ms,
            request_id=answer.request_id if answer else None,
        )
        tell(call)
        if self._on_call is None:
            return
        try:
            self._on_call(call)
        except Exception:  # noqa: BLE001 - a broken meter must not turn a placed order into an error
            _log.exception("on_call failed for %s", operation.name)


def load_library() -> "type[TradingClient]":
    """Costs 0.8 s once, many times that on a busy machine."""
    from alpaca.trading.client import TradingClient

    return TradingClient


def _new_client(trading_url: str, pair: KeyPair) -> "TradingClient":
    kind = load_library()
    client = kind(
        api_key=pair.key_id.get_secret_value(),
        secret_key=pair.secret_key.get_secret_value(),
        raw_data=True,
        url_override=trading_url,
    )
    if not isinstance(getattr(client, "_retry", None), int):
        raise RuntimeError("alpaca-py has changed: its hidden retries cannot be switched off")
    client._retry = 0
    session = client._session
    session.trust_env = False
    session.adapters.clear()
    session.mount(f"{trading_url}/", GuardedAdapter())
    return client


@dataclass(frozen=True, slots=True)
class _Done(Generic[_T]):
    value: _T


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


def _judge(
    operation: Operation, attempt: Attempt, raised: Exception | None, read: Callable[[Any], _T]
) -> "_Done[_T] | _Failed":
    answer = attempt.answer
    if answer is None:
        return _Failed(_no_answer(operation, attempt, raised))
    if not 200 <= answer.status < 300:
        return _Failed(classify(operation.kind, answer))
    try:
        return _Done(read(read_json(answer.body) if answer.body else None))
    except UnreadableError as error:
        message = f"{operation.name}: the answer cannot be read: {error}"
        error_class = unproved(operation.kind)
        return _Failed(error_class(message, http_status=answer.status, request_id=answer.request_id))


def _no_answer(operation: Operation, attempt: Attempt, raised: Exception | None) -> BaseException:
    if attempt.stopped_by is not None and not attempt.written:
        return attempt.stopped_by
    cause = _cause(raised)
    if attempt.written:
        return unproved(operation.kind)(f"{operation.name}: no answer: {cause}")
    if isinstance(raised, OSError | StoppedError):
        return NothingSent(f"{operation.name}: nothing was sent: {cause}")
    return ValidationRefused(f"{operation.name}: nothing was sent, the client library refused it: {cause}")


def _closed_error(operation: Operation) -> NothingSent:
    return NothingSent(f"{operation.name}: nothing was sent: the adapter is closed")


def _cause(raised: BaseException | None) -> str:
    """What went wrong, without texts that could hold the request: types, and the system's own words."""
    seen: list[BaseException] = []
    while raised is not None and raised not in seen:
        seen.append(raised)
        inner = next((arg for arg in raised.args if isinstance(arg, BaseException)), None)
        raised = inner or getattr(raised, "reason", None) or raised.__cause__ or raised.__context__
        if not isinstance(raised, BaseException):
            break
    innermost = seen[-1] if seen else None
    words = innermost.strerror if isinstance(innermost, OSError) and innermost.strerror else None
    name = type(innermost).__name__
    return f"{name}: {words}" if words else name
