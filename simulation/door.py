"""The way every request takes: name it, let it in, act, write it down, answer.

Nothing that changes the book is answered before its ledger record is on disk.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simulation import errors
from simulation.exchange import MILLISECOND, Exchange
from simulation.fault_plan import FAULT_HEADER, WrongPlan, read_header
from simulation.faults import HANG_SECONDS_MAX, READ_ACTIONS, Fault, RequestFacts
from simulation.injecting import Injected
from simulation.misleading import EarlierAnswers, skewed
from simulation.rate_limit import RateLimit
from simulation.replies import (
    Reply,
    after_landing,
    bad_gateway,
    content,
    gateway_timeout,
    media_type,
    refused,
    response,
)
from simulation.transport import drop_connection

logger = logging.getLogger(__name__)

READS = ("GET", "HEAD")
BODY_BYTES_MAX = 1_000_000
KEY_SHOWN_MAX = 64
NEVER_LANDS = ("drop_before_landing", "hang_before_landing")
HANGS = ("hang_before_landing", "hang_after_landing")

Surface = Literal["trading", "data"]


@dataclass(frozen=True)
class Call:
    """One request, as handlers and faults see it; ``route`` is the path with parameter names."""

    exchange: Exchange
    surface: Surface
    method: str
    route: str
    path: str
    query: Mapping[str, str]
    params: Mapping[str, str]
    body: bytes
    now: datetime

    @cached_property
    def loose_body(self) -> Any:
        """The body as JSON if it is some, else its text: for faults and the ledger, never for orders."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return self.body.decode("utf-8", "replace")

    @property
    def client_order_id(self) -> str | None:
        return self._named("client_order_id")

    @property
    def symbol(self) -> str | None:
        return self._named("symbol")

    def _named(self, name: str) -> str | None:
        value = self.loose_body.get(name) if isinstance(self.loose_body, dict) else self.query.get(name)
        return value if isinstance(value, str) else None


Handler = Callable[[Call], Reply]


class Door:
    """Serves handlers over HTTP for one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._limits: dict[Surface, RateLimit] = {
            "trading": exchange.trading_limit,
            "data": exchange.data_limit,
        }
        self._earlier = EarlierAnswers()

    def endpoint(self, handler: Handler, route: str, surface: Surface) -> Callable[[Request], Any]:
        """A Starlette endpoint that runs ``handler`` behind this door."""

        async def serve(request: Request) -> Response:
            call = Call(
                exchange=self._exchange,
                surface=surface,
                method=request.method,
                route=route,
                path=request.url.path,
                query=request.query_params,
                params=request.path_params,
                body=await request.body(),
                now=self._exchange.clock.now(),
            )
            return await self._serve(request, call, handler)

        return serve

    def check_keys(self, request: Request) -> None:
        """Raises Refusal 401."""
        if not self._exchange.keys.is_authentic(*_pair(request)):
            raise errors.unauthorized()

    def check_owner(self, request: Request) -> None:
        """Raises Refusal 401: neither keys that are taken now nor those it was started with."""
        keys, pair = self._exchange.keys, _pair(request)
        if not (keys.is_authentic(*pair) or keys.is_owner(*pair)):
            raise errors.unauthorized()

    async def _serve(self, request: Request, call: Call, handler: Handler) -> Response:
        request_id, arrived_after = uuid4().hex, self._exchange.ledger.last_seq
        injected: Injected | None = None
        reply: Reply | None
        try:
            self.check_keys(request)
            if not self._limits[call.surface].take():
                raise errors.rate_limited() if call.surface == "trading" else errors.data_rate_limited()
            injected = self._fault(request, call)
            fault = injected.fault if injected else None
            reply = await self._before_landing(call, fault)
            if reply is None and not (fault and fault.action in NEVER_LANDS):
                reply = self._misled(call, fault, self._act(call, handler))
        except errors.Refusal as refusal:
            reply = refused(refusal)
        fault = injected.fault if injected else None
        answered = after_landing(fault, reply)
        key = _pair(request)[0][:KEY_SHOWN_MAX]
        seq = self._write_down(call, request_id, arrived_after, injected, reply, answered, key)
        if call.method not in READS:
            await self._exchange.ledger.durable(seq)
        elif call.surface == "trading":
            # A read shows state: what it shows must not be lost in a kill.
            await self._exchange.ledger.durable(self._exchange.state_seq)
        if answered is None:
            return await self._never_answer(request, fault)
        headers = self._limits[call.surface].headers() | {"X-Request-ID": request_id} | dict(answered.headers)
        if fault is not None and fault.action == "slow_body":
            return self._slowly(answered, headers, (fault.latency_ms or 0) * MILLISECOND)
        return response(answered, headers)

    def _fault(self, request: Request, call: Call) -> Injected | None:
        """What shall happen to this request: by its own header, else by what is on order."""
        wanted = request.headers.get(FAULT_HEADER)
        if wanted is None:
            facts = RequestFacts(
                call.method, call.path, call.client_order_id, call.symbol, _can_mislead(call)
            )
            return self._exchange.faults.for_request(facts)
        try:
            fault = read_header(wanted)
            if fault.action in READ_ACTIONS and not _can_mislead(call):
                raise WrongPlan({FAULT_HEADER: f"{fault.action} happens to reads of the account only"})
        except WrongPlan as error:
            raise errors.unprocessable(str(error)) from None
        return Injected(fault, plan="header")

    def _misled(self, call: Call, fault: Fault | None, reply: Reply) -> Reply:
        """The answer, or what a fault makes of it. A stale read of what was never read has not seen it yet."""
        if not _can_mislead(call):
            return reply
        match fault.action if fault else None:
            case "stale_read":
                earlier = self._earlier.of(call.path, call.query)
                if earlier is None and not isinstance(reply.body, list):
                    raise errors.order_not_found(call.client_order_id or call.path.rpartition("/")[2])
                return replace(reply, body=earlier or [])
            case "skewed_clock":
                assert fault is not None
                return replace(reply, body=skewed(reply.body, fault.skew_ms or 0))
        self._earlier.remember(call.path, call.query, reply.body)
        return reply

    def _slowly(self, reply: Reply, headers: Mapping[str, str], seconds: float) -> Response:
        """The same answer, its second half that much later."""
        whole = content(reply)

        async def halves() -> AsyncIterator[bytes]:
            yield whole[: len(whole) // 2]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exchange.stopping.wait(), seconds)
            yield whole[len(whole) // 2 :]

        sized = {**headers, "Content-Length": str(len(whole))}
        return StreamingResponse(halves(), reply.status, sized, media_type=media_type(headers))

    def _act(self, call: Call, handler: Handler) -> Reply:
        if len(call.body) > BODY_BYTES_MAX:
            raise errors.Refusal(413, None, "request body too large")
        try:
            return handler(call)
        except errors.Refusal:
            raise
        except Exception as error:
            logger.exception("%s %s failed", call.method, call.path)
            raise errors.internal_error() from error
        finally:
            # Whatever the book went through is in the ledger, however the request ended.
            self._exchange.commit()

    async def _before_landing(self, call: Call, fault: Fault | None) -> Reply | None:
        match fault.action if fault else None:
            case "latency_ms":
                assert fault is not None
                assert fault.latency_ms is not None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._exchange.stopping.wait(), fault.latency_ms * MILLISECOND)
            case "status_404":
                raise errors.order_not_found(call.client_order_id or "it")
            case "status_500":
                raise errors.internal_error()
            case "status_502":
                return bad_gateway()
            case "status_503":
                return Reply(503)
            case "status_429":
                raise errors.rate_limited()
            case "status_504_before_landing":
                return gateway_timeout()
        return None

    def _write_down(
        self,
        call: Call,
        request_id: str,
        arrived_after: int,
        injected: Injected | None,
        reply: Reply | None,
        answered: Reply | None,
        key: str,
    ) -> int:
        code = reply.body.get("code") if reply is not None and isinstance(reply.body, dict) else None
        return self._exchange.record(
            "request",
            request_id=request_id,
            arrived_after=arrived_after,
            key=key,
            method=call.method,
            route=call.route,
            path=call.path,
            query=dict(call.query),
            client_order_id=call.client_order_id,
            body=call.loose_body,
            status=None if answered is None else answered.status,
            outcome=None if reply is None else reply.status,
            code=code,
            fault=None if injected is None else injected.fault.action,
            **({} if injected is None else injected.source()),
            **(reply.noted if reply is not None else {}),
        )

    async def _never_answer(self, request: Request, fault: Fault | None) -> Response:
        if fault is not None and fault.action in HANGS:
            await _hang(self._exchange.stopping, request)
        await drop_connection(request)
        return Response()


def _pair(request: Request) -> tuple[str, str]:
    headers = request.headers
    return headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")


def _can_mislead(call: Call) -> bool:
    return call.method in READS and call.surface == "trading"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _hang(stopping: asyncio.Event, request: Request) -> None:
    """Hold the connection until the client gives up, the exchange stops, or the longest hang is over."""
    tasks = [asyncio.create_task(stopping.wait()), asyncio.create_task(_disconnected(request))]
    await asyncio.wait(tasks, timeout=HANG_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
