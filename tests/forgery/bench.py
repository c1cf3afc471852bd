"""A database whose owner is the attacker, a real exchange, and the product's own steps between the two.

The owner of the database may do more than any role of ours: whatever he cannot do by rows, no process can.
"""

import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx2
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError

from activities.evidence import take_in
from activities.placement import PlacementActivities
from activities.protection import ProtectionActivities
from activities.risk import RiskActivities
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.permit import LivePermit
from market.clock import MarketClock
from observability.metrics import Metrics
from schemas.approvals import SignedApproval
from schemas.audit import canonical_json
from schemas.market import Provider, Quote
from schemas.mode import Mode
from schemas.orders import BrokerOrder, Fill, Side
from schemas.protection import ProtectQuestion
from schemas.risk import AssessmentKind
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind, RiskQuestion
from schemas.signals import SignalIn
from schemas.wire import Leg
from security.approvals import ApprovalKeys, ApprovalSigner, signed_bytes
from storage.database import Database
from storage.market import save_quotes
from storage.orders import OrderNotFound, read_order
from storage.placement import write_pre_trade
from storage.signals import accept_signal, find_token
from storage.switches import Installation, read_installation
from tests.postgres.books import LIMITS, TOKEN, market_clock, prepare, reconciled, refresh
from tests.postgres.scripted_broker import NoLimit
from tests.postgres.test_protection_rows import Broker as ScriptedBroker
from tests.postgres.test_protection_rows import OpenHours
from tests.servers.approvals import KEYS, SIGNER
from tests.servers.exchange import Exchange

D = Decimal
STRANGER, _ = ApprovalSigner.generate()
"""The attacker's own key."""
WIDE: Final = LIMITS | {
    "max_ticker_exposure_pct": "1000",
    "max_strategy_exposure_pct": "1000",
    "max_gross_exposure_pct": "1000",
}
VALID_FOR: Final = timedelta(minutes=30)
"""Of the signals here, so that approvals expire first."""
REFRESH_AFTER: Final = timedelta(seconds=5)
"""Account and quote must be fresh for risk to decide."""


class _Willing:
    """Would let anything go to the live brokerage: the approval alone has to keep it here."""

    async def permit(self, *_: object) -> LivePermit:
        return LivePermit(trading_url="anywhere", account="any", grant_id=uuid4(), made_at=time.monotonic())


@dataclass
class Bench:
    """What a case works with."""

    database: Database
    owner: "asyncpg.Connection[Any]"
    clock: MarketClock
    broker: Any
    exchange: httpx2.AsyncClient | None
    """The exchange's own door; None: there is a scripted broker in its place."""
    installation: Installation
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    tickers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    refreshed_at: datetime | None = None
    legitimate: int = 0
    """POSTs that were right: whole approvals, and entries whose legs are then forged."""

    def placement(
        self, *, installation: Installation | None = None, keys: ApprovalKeys = KEYS
    ) -> PlacementActivities:
        """Execution of this installation, or of another over the same rows."""
        mine = installation or self.installation
        live: Any = _Willing() if mine.mode == Mode.LIVE else None
        return PlacementActivities(
            self.database, self.broker, self.clock, mine, Metrics(), NoLimit(), approval_keys=keys, live=live
        )

    async def approved(
        self, *, before_risk: Callable[[], Awaitable[Any]] | None = None, **fields: Any
    ) -> str:
        """A signal that risk has approved and the pre-trade checks have passed. Returns its id.

        ``before_risk``: what is done once it is taken, and before risk decides.
        """
        now = datetime.now(UTC)
        if self.refreshed_at is None or now - self.refreshed_at > REFRESH_AFTER:
            self.refreshed_at = now
            async with self.database.transaction("test") as connection:
                await refresh(connection)
        signal_id = await self.proposed(**fields)
        if before_risk is not None:
            await before_risk()
        risk = RiskActivities(
            self.database, self.clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER
        )
        answer = await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))
        assert answer.kind is AssessmentKind.APPROVED, (answer.kind, answer.reasons)
        await self.checked(signal_id, datetime.now(UTC))
        return signal_id

    async def proposed(self, **fields: Any) -> str:
        """A signal of a strategy of its own, so that no limit of one counts another. Returns its id."""
        number, now = next(self.numbers), datetime.now(UTC)
        signal = SignalIn.model_validate(
            {
                "signal_id": f"s{number}", "strategy": f"strategy-{number}", "ticker": "AAPL",
                "action": "BUY_TO_OPEN", "order_type": "LIMIT", "quantity": D(10), "limit_price": D(100),
                "created_at": now, "hard_stop_loss": D(95), **fields,
            }
        )  # fmt: skip
        async with self.database.transaction("test") as connection:
            token = await find_token(connection, TOKEN, now)
            assert token is not None
            await accept_signal(
                connection, signal, token, valid_until=now + VALID_FOR, now=now, traceparent=None
            )
        return signal.signal_id

    async def checked(self, signal_id: str, at: datetime) -> None:
        """The pre-trade checks were passed then."""
        async with self.database.transaction("test") as connection:
            await write_pre_trade(connection, await read_order(connection, signal_id), at)

    async def place(
        self,
        signal_id: str,
        leg: Leg = Leg.ENTRY,
        generation: int | None = None,
        *,
        as_of: datetime | None = None,
        by: PlacementActivities | None = None,
    ) -> str:
        """Ask for the order to be placed. Returns PLACED, or why it was not."""
        question = OrderQuestion(
            signal_id=signal_id, as_of=as_of or datetime.now(UTC), leg=leg, generation=generation
        )
        try:
            answer = await (by or self.placement()).place_order(question)
        except ApplicationError as error:
            return error.type or "?"
        except OrderNotFound:
            return "OrderNotFound"
        return _words(answer)

    async def control(self, **fields: Any) -> None:
        """An approval that nobody touched is placed: what is refused here is refused for its forgery."""
        self.legitimate += 1
        found = await self.place(await self.approved(**fields))
        assert found == "PLACED", found

    async def protected(self) -> str:
        """A filled entry, on a ticker of its own, whose stop is about to be sent. Returns the signal's id."""
        ticker = f"T{next(self.tickers):04d}"
        now = datetime.now(UTC)
        quote = Quote(
            ticker=ticker, provider=Provider.PRIMARY, bid=D("99.99"), ask=D("100.01"), quoted_at=now,
            received_at=now,
        )  # fmt: skip
        async with self.database.transaction("test") as connection:
            await save_quotes(connection, [quote])
        there = {"symbol": ticker, "bid": "99.98", "ask": "99.99", "bid_size": 1000, "ask_size": 1000}
        if self.exchange is not None:
            assert (await self.exchange.post("/_exchange/quotes", json=there)).is_success
        signal_id = await self.approved(ticker=ticker)
        self.legitimate += 1
        found = await self.place(signal_id)
        assert found == "PLACED", found
        await self._filled(signal_id, ticker)
        await self.review(signal_id)
        return signal_id

    async def review(self, signal_id: str) -> None:
        """As the protection's workflow does before each step."""
        hours: Any = OpenHours()
        protection = ProtectionActivities(self.database, self.clock, hours)
        await protection.review_protection(ProtectQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))

    async def _filled(self, signal_id: str, ticker: str) -> None:
        order = await self.owner.fetchrow("select * from orders where signal_id = $1", signal_id)
        assert order is not None
        now, broker_id, shares = datetime.now(UTC), order["broker_order_id"], order["quantity"]
        fill = Fill(
            execution_id=f"x-{signal_id}", broker_order_id=broker_id, ticker=ticker, side=Side.BUY,
            quantity=shares, price=D(100), cumulative_quantity=shares, executed_at=now,
        )  # fmt: skip
        told = BrokerOrder(
            broker_order_id=broker_id, client_order_id=order["client_order_id"], ticker=ticker, side=Side.BUY,
            raw_type="limit", raw_time_in_force="day", raw_status="filled", quantity=shares,
            filled_quantity=shares, created_at=now,
        )  # fmt: skip
        for evidence in (fill, told):
            await take_in(self.database, evidence, now=now, source="test")

    # --- the attacker ------------------------------------------------------------------------------

    async def run(self, statement: str, *arguments: Any) -> None:
        """One statement with the owner's rights."""
        await self.owner.execute(statement, *arguments)

    async def document(self, signal_id: str) -> dict[str, Any]:
        """What risk signed of a signal."""
        text = await self.owner.fetchval("select approval from decisions where signal_id = $1", signal_id)
        found: dict[str, Any] = json.loads(text)
        return found

    async def write(self, signal_id: str, signed: SignedApproval) -> None:
        """Put another approval in the place of the one that was signed."""
        await self.run(
            "update decisions set approval = $2, approval_signature = $3, approval_key_id = $4"
            " where signal_id = $1",
            signal_id, signed.document, signed.signature, signed.key_id,
        )  # fmt: skip

    async def posts(self) -> int:
        """How many requests to place anything have reached the exchange, by its own ledger."""
        if self.exchange is None:
            return len(self.broker.posts)
        answer = await self.exchange.get("/_exchange/ledger/summary")
        return int(answer.json()["posts_total"])


def _words(answer: PlaceAnswer) -> str:
    return f"{answer.order.reason}" if answer.kind is PlaceKind.ENDED else answer.kind.value


def resigned(document: dict[str, Any], signature: str, how: str) -> SignedApproval:
    """An edited document: with the old signature, with the attacker's under our key's id, or under his own."""
    if how == "old signature":
        return SignedApproval(
            document=canonical_json(document), signature=signature, key_id=str(document["key_id"])
        )
    if how == "own key":
        document = {**document, "key_id": STRANGER.key_id}
    text = canonical_json(document)
    forged = STRANGER._private.sign(signed_bytes(text)).hex()
    return SignedApproval(document=text, signature=forged, key_id=str(document["key_id"]))


RESIGNED: Final = ("old signature", "our key's id", "own key")

Outcome = str
Forge = Callable[[Bench], Awaitable[Outcome]]


@dataclass(frozen=True)
class Case:
    """One forgery. ``forge`` tries it and says what came of it."""

    group: str
    name: str
    forge: Forge


@asynccontextmanager
async def bench_on(dsn: str, exchange: Exchange | None = None) -> AsyncIterator[Bench]:
    """The bench on a fresh database; without an exchange a scripted broker takes what is sent."""
    async with AsyncExitStack() as stack:
        database = await Database.connect(dsn, fences=True)
        stack.push_async_callback(database.close)
        owner = await asyncpg.connect(dsn)
        stack.push_async_callback(owner.close)
        await prepare(database, **WIDE)
        await prepare(database, **WIDE)  # Two versions of limits: a forger may name the other.
        await reconciled(database)
        # Cases are minutes ahead of the clock, and the update stream has to be up then.
        await owner.execute("update trade_stream set last_seen_at = last_seen_at + interval '2 days'")
        broker, door = ScriptedBroker(), None
        if exchange is not None:
            broker, door = _real(exchange)
            stack.push_async_callback(broker.close)
            await stack.enter_async_context(door)
        clock = await stack.enter_async_context(market_clock())
        yield Bench(database, owner, clock, broker, door, await read_installation(owner))


def _real(exchange: Exchange) -> tuple[AlpacaTrader, httpx2.AsyncClient]:
    settings = AlpacaSettings(
        key_id=SecretStr(exchange.key),
        secret_key=SecretStr(exchange.secret),
        trading_url=exchange.url,
        stream_url=f"{exchange.ws_url}/stream",
    )
    door = httpx2.AsyncClient(base_url=exchange.url, headers=exchange.headers, timeout=30)
    return AlpacaTrader(settings), door
