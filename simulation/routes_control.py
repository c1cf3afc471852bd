"""Routes of the exchange itself, for tests and demonstrations: ``/_exchange/...``, same keys as the API."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from simulation.clock import ClockMovedBackwards
from simulation.door import Door
from simulation.errors import Refusal
from simulation.exchange import Exchange
from simulation.fault_plan import FaultPlan, WrongPlan, problems_of, read_order
from simulation.keys import ACCEPT, REVOKE, digest
from simulation.market import EVERY_SYMBOL, UnknownSymbol
from simulation.settings import FEEDS, Feed
from simulation.wire import rfc3339, to_ns

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=4)]
Size = Annotated[int, Field(ge=0, le=10_000_000)]
READ_CHUNK_BYTES = 65_536


class QuoteControl(BaseModel):
    """``POST /_exchange/quotes``: fix a quote by hand; a price of 0 means nobody is there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str
    bid: Price
    ask: Price
    bid_size: Size = 100
    ask_size: Size = 100
    feeds: tuple[Feed, ...] = FEEDS


class FreezeControl(BaseModel):
    """``POST /_exchange/freeze``: no newer quotes (``*``: of any symbol) until thawed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str = EVERY_SYMBOL
    feeds: tuple[Feed, ...] = FEEDS
    frozen: bool = True


class ClockControl(BaseModel):
    """``POST /_exchange/clock``: jump forward to ``at``, go on at ``speed`` (0 stops)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime | None = None
    speed: float | None = Field(None, ge=0, le=20)


class AdjustControl(BaseModel):
    """``POST /_exchange/adjust``: move shares or cash without a trade.

    With ``activity_type`` (FEE, DIV, CSD, …) the account's activities show it; without, nothing explains it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cash: Decimal = Decimal(0)
    symbol: str | None = None
    qty: Decimal = Decimal(0)
    activity_type: str | None = None
    description: str = ""


class BustControl(BaseModel):
    """``POST /_exchange/bust``: take an execution back; ``told`` false: without a trade update."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution_id: str
    told: bool = True


class CorrectControl(BaseModel):
    """``POST /_exchange/correct``: another quantity (shares) or price for an execution; ``told`` as for a bust."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution_id: str
    qty: Annotated[Decimal, Field(gt=0)] | None = None
    price: Annotated[Decimal, Field(gt=0)] | None = None
    told: bool = True


class KeyControl(BaseModel):
    """``POST /_exchange/keys``: take this pair too; ``DELETE /_exchange/keys/KEY`` takes one away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{4,64}$")]
    secret: SecretStr


class Control:
    """The handlers behind ``/_exchange``."""

    def __init__(self, exchange: Exchange, door: Door) -> None:
        self._exchange = exchange
        self._door = door

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "ledger", self.ledger),
            ("GET", "ledger/summary", self.summary),
            ("GET", "faults", self.list_faults),
            ("POST", "faults", self.add_fault),
            ("DELETE", "faults", self.clear_faults),
            ("POST", "quotes", self.set_quote),
            ("DELETE", "quotes/{symbol}", self.release_quote),
            ("POST", "freeze", self.freeze),
            ("POST", "adjust", self.adjust),
            ("POST", "bust", self.bust),
            ("POST", "correct", self.correct),
            ("GET", "clock", self.get_clock),
            ("POST", "clock", self.set_clock),
            ("POST", "keys", self.accept_key),
            ("DELETE", "keys/{key}", self.revoke_key),
        ]
        guarded = [
            Route(f"/_exchange/{path}", self._guarded(handler), methods=[method])
            for method, path, handler in table
        ]
        return [Route("/_exchange/health", self.health, methods=["GET"]), *guarded]

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            try:
                self._door.check_owner(request)
                return await handler(request)
            except Refusal as refusal:
                return JSONResponse(refusal.body(), refusal.status)
            except WrongPlan as error:
                return JSONResponse({"message": str(error), "problems": error.problems}, 422)
            except ValidationError as error:
                wrong = WrongPlan(problems_of(error))
                return JSONResponse({"message": str(wrong), "problems": wrong.problems}, 422)
            except (UnknownSymbol, ClockMovedBackwards) as error:
                return JSONResponse({"message": str(error)}, 422)

        return serve

    async def health(self, request: Request) -> Response:
        del request
        exchange = self._exchange
        return JSONResponse(
            {
                "status": "ok",
                "at": rfc3339(exchange.clock.now()),
                "phase": exchange.sessions.phase(exchange.clock.now()),
                "ledger_seq": exchange.ledger.durable_seq,
            }
        )

    async def ledger(self, request: Request) -> Response:
        """The records on disk as JSON lines; ``?after=SEQ`` leaves out the older ones."""
        after = request.query_params.get("after", "0")
        if not after.isdigit():
            raise Refusal(422, None, "after must be a sequence number")
        await self._exchange.ledger.durable(self._exchange.ledger.last_seq)
        lines = self._lines(int(after), self._exchange.ledger.durable_seq)
        return StreamingResponse(lines, media_type="application/jsonl")

    async def _lines(self, after: int, upto: int) -> AsyncIterator[bytes]:
        chunk: list[bytes] = []
        size = 0
        with self._exchange.ledger.path.open("rb") as lines:
            for seq, line in enumerate(lines, 1):
                if seq > upto:
                    break
                if seq > after:
                    chunk.append(line)
                    size += len(line)
                if size >= READ_CHUNK_BYTES:
                    yield b"".join(chunk)
                    chunk, size = [], 0
        yield b"".join(chunk)

    async def summary(self, request: Request) -> Response:
        del request
        await self._exchange.ledger.durable(self._exchange.ledger.last_seq)
        return JSONResponse(self._exchange.summary.as_json())

    async def list_faults(self, request: Request) -> Response:
        del request
        return JSONResponse(self._exchange.faults.pending())

    async def add_fault(self, request: Request) -> Response:
        ordered = read_order(await request.body())
        if isinstance(ordered, FaultPlan):
            self._exchange.faults.add_plan(ordered)
            return await self._noted("fault_plan", ordered.as_json())
        self._exchange.faults.add(ordered)
        return await self._noted("fault", ordered.as_json())

    async def clear_faults(self, request: Request) -> Response:
        plan = request.query_params.get("plan")
        self._exchange.faults.clear(plan)
        return await self._noted("clear_faults", {} if plan is None else {"plan": plan})

    async def set_quote(self, request: Request) -> Response:
        wanted = QuoteControl.model_validate_json(await request.body())
        self._exchange.market.set_quote(
            wanted.symbol,
            to_ns(self._exchange.clock.now()),
            bid=wanted.bid,
            ask=wanted.ask,
            bid_size=wanted.bid_size,
            ask_size=wanted.ask_size,
            feeds=wanted.feeds,
        )
        return await self._noted("quote", wanted.model_dump(mode="json"))

    async def release_quote(self, request: Request) -> Response:
        symbol = request.path_params["symbol"]
        self._exchange.market.release_quote(symbol)
        return await self._noted("release_quote", {"symbol": symbol})

    async def freeze(self, request: Request) -> Response:
        wanted = FreezeControl.model_validate_json(await request.body())
        market = self._exchange.market
        if wanted.frozen:
            market.freeze(wanted.symbol, to_ns(self._exchange.clock.now()), wanted.feeds)
        else:
            market.thaw(wanted.symbol, wanted.feeds)
        name = "freeze" if wanted.frozen else "thaw"
        return await self._noted(name, wanted.model_dump(mode="json", exclude={"frozen"}))

    async def adjust(self, request: Request) -> Response:
        wanted = AdjustControl.model_validate_json(await request.body())
        engine, now = self._exchange.engine, self._exchange.clock.now()
        price = Decimal(0)
        if wanted.symbol is not None:
            price = engine.mark(self._exchange.market.asset(wanted.symbol).settings.symbol, now)
        engine.adjust(
            now,
            cash=wanted.cash,
            symbol=wanted.symbol,
            qty=wanted.qty,
            price=price,
            activity_type=wanted.activity_type,
            description=wanted.description,
        )
        self._exchange.commit()
        return await self._noted("adjust", wanted.model_dump(mode="json", exclude_none=True))

    async def bust(self, request: Request) -> Response:
        wanted = BustControl.model_validate_json(await request.body())
        engine, now = self._exchange.engine, self._exchange.clock.now()
        return await self._amended("bust", wanted, partial(engine.bust, now=now, **wanted.model_dump()))

    async def correct(self, request: Request) -> Response:
        wanted = CorrectControl.model_validate_json(await request.body())
        engine, now = self._exchange.engine, self._exchange.clock.now()
        return await self._amended("correct", wanted, partial(engine.correct, now=now, **wanted.model_dump()))

    async def accept_key(self, request: Request) -> Response:
        wanted = KeyControl.model_validate_json(await request.body())
        told = {"key": wanted.key, "secret_sha256": digest(wanted.secret.get_secret_value())}
        self._exchange.keys.accept(told["key"], told["secret_sha256"])
        return await self._noted(ACCEPT, told)

    async def revoke_key(self, request: Request) -> Response:
        key = request.path_params["key"]
        try:
            self._exchange.keys.revoke(key)
        except KeyError:
            raise Refusal(404, None, "no such key") from None
        return await self._noted(REVOKE, {"key": key})

    async def _amended(self, control: str, wanted: BaseModel, amend: Callable[[], None]) -> Response:
        try:
            amend()
        except (LookupError, ValueError) as error:
            raise Refusal(422, None, str(error)) from None
        self._exchange.commit()
        return await self._noted(control, wanted.model_dump(mode="json", exclude_none=True))

    async def get_clock(self, request: Request) -> Response:
        del request
        return JSONResponse(self._clock_json())

    async def set_clock(self, request: Request) -> Response:
        wanted = ClockControl.model_validate_json(await request.body())
        moment: datetime = wanted.at or self._exchange.clock.now()
        self._exchange.clock.set(moment, wanted.speed)
        self._exchange.note_clock("set")
        return await self._noted("clock", {})

    def _clock_json(self) -> dict[str, Any]:
        clock = self._exchange.clock
        return {"at": rfc3339(clock.now()), "speed": clock.speed}

    async def _noted(self, control: str, detail: dict[str, Any]) -> Response:
        """Write the control act down, let it take effect, and answer."""
        seq = self._exchange.record("control", control=control, **detail)
        self._exchange.step()
        await self._exchange.ledger.durable(max(seq, self._exchange.state_seq))
        return JSONResponse(self._clock_json() | detail)
