"""What a kind of drift does to an account: trades of ours, and what happens at the broker without us."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from schemas.reconciliation import DriftKind
from workers.chaos.doors import new_signal
from workers.chaos.ledger import ENDED
from workers.chaos.stage import Stage, StageError

BID, ASK = "100.00", "100.10"
"""Of every ticker here, fixed by hand until a story moves it: marks stand still, so that sums can be compared."""
WITHIN_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.03
ZERO: Final = Decimal(0)

# tidy: sql because the run reads with the owner's rights, and no process of ours runs these
_EXECUTION: Final = """
select execution_id from executions join orders using (internal_order_id) where signal_id = $1 and not busted
"""
# tidy: sql because this is the hand in the database that the story tells of
_CLOSE_HERE: Final = """
update orders set status = 'FATAL_ERROR', raw_status = null, broker_order_id = null, final_at = $2, settled_at = $2
where signal_id = $1
"""


@dataclass(frozen=True)
class Told:
    """What one pass must find of a story: findings by kind and ticker, and how the account's cash was moved."""

    findings: tuple[tuple[DriftKind, str], ...] = ()
    cash: Decimal = ZERO
    """US dollars that nothing explains."""
    booked: int = 0
    """Listed fees, dividends, deposits."""
    killed: bool = False


Story = Callable[["Desk"], AsyncIterator[Told]]
"""Prepares up to its first yield (``Told()``: nothing yet), happens unheard up to its second, which says what the
next pass must find; where it goes on, up to its third, which says what the pass after that must find."""


class Desk:
    """One story's own tickers, orders and hands."""

    def __init__(self, stage: Stage, tickers: tuple[str, str]) -> None:
        self.stage = stage
        self.ticker, self.other = tickers
        self.orders: list[dict[str, Any]] = []

    async def open(self) -> None:
        """Fix the market of both tickers."""
        await asyncio.gather(self.market(BID, ASK), self.market(BID, ASK, ticker=self.other))

    def told(
        self, *kinds: DriftKind, cash: Decimal | str = ZERO, booked: int = 0, killed: bool = False
    ) -> Told:
        """Findings of this ticker."""
        return Told(tuple((kind, self.ticker) for kind in kinds), Decimal(cash), booked, killed)

    async def market(self, bid: str, ask: str, *, size: int = 1000, ticker: str = "") -> None:
        """Fix a market; shares taken from it stay taken until the next."""
        quote = {"symbol": ticker or self.ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
        await self.stage.exchange.control("quotes", quote)

    async def buys(self, quantity: int = 10) -> dict[str, Any]:
        """An order of ours, filled and told."""
        order = await self._submit(lambda order: order["settled"], quantity=str(quantity))
        if order["status"] != "FILLED":
            raise StageError(
                f"{self.ticker}: an order that must be filled is {order['status']} {order['reason']}"
            )
        return order

    async def rests(self, quantity: int, price: str = "99.50", action: str = "BUY_TO_OPEN") -> dict[str, Any]:
        """An order of ours at rest."""
        return await self._submit(
            lambda order: order["raw_status"] == "new", action=action, order_type="LIMIT", limit_price=price,
            quantity=str(quantity),
        )  # fmt: skip

    async def _submit(self, wanted: Callable[[dict[str, Any]], bool], **fields: Any) -> dict[str, Any]:
        signal_id = f"drift-{uuid.uuid4().hex}"
        answer = await self.stage.gateway.submit_until_taken(
            new_signal(signal_id, ticker=self.ticker, **fields)
        )
        answer.raise_for_status()
        order = await self.until(signal_id, wanted)
        self.orders.append(order)
        return order

    async def until(self, signal_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask the gateway until an order of ours is as wanted."""
        order: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                while not order or not wanted(order):
                    await asyncio.sleep(POLL_SECONDS)
                    order = (await self.stage.gateway.signal(signal_id))["order"]
        except TimeoutError:
            raise StageError(f"{self.ticker}: an order did not get there: {order}") from None
        return order | {"signal_id": signal_id}

    async def broker(self, method: str, path: str, **body: Any) -> Any:
        """Act at the broker as somebody else with the same account."""
        return await self.stage.exchange.ask(method, path, body or None)

    async def stranger(self, side: str, quantity: int, **fields: Any) -> str:
        """Somebody else's order: at market, unless a limit price is given; its id."""
        kind = "limit" if "limit_price" in fields else "market"
        order = await self.broker(
            "POST", "/v2/orders", symbol=self.ticker, side=side, qty=str(quantity), type=kind,
            time_in_force="day", **fields,
        )  # fmt: skip
        return str(order["id"])

    async def ended(self, order_id: str) -> dict[str, Any]:
        """Wait until the broker has brought an order to its end."""
        return await self._there(order_id, lambda order: order["status"] in ENDED)

    async def executed(self, order_id: str, quantity: int) -> None:
        """Wait until the broker has executed so much of an order."""
        await self._there(order_id, lambda order: Decimal(order["filled_qty"]) >= quantity)

    async def _there(self, order_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        order: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                while not order or not wanted(order):
                    await asyncio.sleep(POLL_SECONDS)
                    order = await self.broker("GET", f"/v2/orders/{order_id}")
        except TimeoutError:
            raise StageError(f"{self.ticker}: an order did not get there at the exchange: {order}") from None
        return order

    async def replaced(self, order_id: str, **changes: Any) -> str:
        """Replace an order by hand at the broker; the successor's id, once it is at work."""
        new = await self.broker("PATCH", f"/v2/orders/{order_id}", **changes)
        await self.ended(order_id)
        await self._there(new["id"], lambda order: order["status"] == "new")
        return str(new["id"])

    async def adjust(
        self, shares: int | str = 0, cash: str = "0", *, ticker: str = "", activity: str = ""
    ) -> None:
        """Move shares or cash without a trade; with ``activity`` the broker lists it."""
        body: dict[str, Any] = {"cash": cash}
        if Decimal(shares):
            body |= {"symbol": ticker or self.ticker, "qty": str(shares)}
        if activity:
            body |= {"activity_type": activity, "description": "a fault run"}
        await self.stage.exchange.control("adjust", body)

    async def amend(self, how: str, order: dict[str, Any], **changes: Any) -> None:
        """Take the one execution of an order back (``bust``), or put another in its place (``correct``), untold."""
        async with self.stage.database() as connection:
            execution = await connection.fetchval(_EXECUTION, order["signal_id"])
        await self.stage.exchange.control(how, {"execution_id": execution, "told": False, **changes})

    async def close_here(self, order: dict[str, Any]) -> None:
        """Call an order gone in our rows, which it is not."""
        async with self.stage.database() as connection:
            await connection.execute(_CLOSE_HERE, order["signal_id"], datetime.now(UTC))

    async def fault(self, path: str, action: str) -> None:
        """Let every GET of a path be answered wrongly, until the faults are cleared."""
        match = {"method": "GET", "path": path}
        await self.stage.exchange.control("faults", {"match": match, "action": action, "times": None})
