"""The whole product with its console on a socket and a browser in front of it: one of each for a file of tests."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.check.outside import Folder
from schemas.people import Role
from security.grants import GrantKey
from storage.switches import save_operator_key
from tests.servers.stack import POLL_SECONDS, Stack, signal
from tests.web.chromium import Seat, seated, served, worker
from tests.web.conftest import console_on

from .browser import Browser, Web

if TYPE_CHECKING:
    import asyncpg
    from playwright.async_api import Browser as Chromium

    from storage.database import Connection

SPREAD = Decimal("0.20")
SEALED_WITHIN_SECONDS = 180


@dataclass
class House:
    """What a test acts in."""

    stack: Stack
    web: Web
    chromium: "Chromium"
    key: GrantKey
    """The console's."""

    async def worker(self, name: str, role: Role) -> Browser:
        return await worker(self.web, name, role)

    def sit(self, person: Browser | None = None) -> AbstractAsyncContextManager[Seat]:
        return seated(self.chromium, self.web, person)

    async def quote(self, ask: str, size: int = 500) -> None:
        """What the exchange asks for a share of MSFT, set by hand: nothing fills by itself; and how many it has."""
        bid = str(Decimal(ask) - SPREAD)
        await self.stack.control(
            "quotes", {"symbol": "MSFT", "bid": bid, "ask": ask, "bid_size": 500, "ask_size": size}
        )

    async def rests(self, signal_id: str, limit_price: str = "395", quantity: str = "10") -> str:
        """An order for MSFT that waits at the exchange; its client order id."""
        asked = {
            "ticker": "MSFT",
            "order_type": "LIMIT",
            "limit_price": limit_price,
            "quantity": quantity,
        }
        await self.stack.submit(signal(signal_id, **asked))
        order = await self.stack.until(signal_id, lambda each: each["status"] == "ACKNOWLEDGED")
        return str(order["client_order_id"])

    async def at_exchange(self, client_order_id: str) -> dict[str, Any]:
        """An order as the exchange knows it: the judge."""
        answer = await self.stack.exchange_http.get(
            "/v2/orders:by_client_order_id", params={"client_order_id": client_order_id}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def releases(self) -> list[tuple[str, str]]:
        """Of the kill switch: person and key of each grant that was taken."""
        async with self.web.owner.connection() as connection:
            rows = await connection.fetch("select person, key_id from kill_releases order by released_at")
        return [(row["person"], row["key_id"]) for row in rows]

    async def told(self, *decisions: str) -> list[tuple[str, str]]:
        """Decision and actor of the audit rows with these words, in order."""
        async with self.web.owner.connection() as connection:
            rows = await connection.fetch(
                "select decision, actor from audit_log where decision = any ($1) order by id", list(decisions)
            )
        return [(row["decision"], row["actor"]) for row in rows]


@asynccontextmanager
async def house(stack: Stack, chromium: "Chromium") -> AsyncIterator[House]:
    """The console of this product, with a grant key of its own and the folder that the product seals into."""
    key = GrantKey.from_hex(secrets.token_hex(32), "console")
    async with console_on(stack.dsn) as web:
        async with web.owner.transaction("test") as connection:
            await save_operator_key(
                connection,
                key_id=key.key_id,
                public_key=key.public_key,
                person="console",
                now=datetime.now(UTC),
            )
        outside = Folder(Path(stack.settings.audit_target))
        async with served(web, client=stack.client, grant_key=key, outside=outside) as console:
            made = House(stack, console, chromium, key)
            await made.quote("400.10")
            yield made


async def approval_sealed(connection: "Connection | asyncpg.Connection[Any]", signal_id: str) -> int:
    """The audit row of a signal's approval, once a checkpoint outside covers it."""
    async with asyncio.timeout(SEALED_WITHIN_SECONDS):
        while True:
            row: int | None = await connection.fetchval(
                "select a.id from audit_log a join audit_leaves l on l.audit_id = a.id, audit_head h"
                " where a.correlation_id = $1 and a.decision = 'APPROVED' and l.sequence < h.checkpoint_size",
                signal_id,
            )
            if row is not None:
                return row
            await asyncio.sleep(POLL_SECONDS)
