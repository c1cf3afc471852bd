"""What the demonstration asks the paper exchange itself: quotes, and its ledger as the judge."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import httpx2

from console.addresses import Addresses
from console.errors import DependencyDown

ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Ledger:
    """The exchange's own account of which orders it took: how many for each client order id."""

    accepted: dict[str, int]

    def since(self, before: "Ledger") -> dict[str, int]:
        """Orders taken after ``before``."""
        grown = {key: count - before.accepted.get(key, 0) for key, count in self.accepted.items()}
        return {key: count for key, count in grown.items() if count}


@dataclass(frozen=True)
class Shown:
    """A quote as the exchange shows it: US dollars; a side nobody is on is 0."""

    at: datetime
    bid: Decimal
    ask: Decimal


def paper_secret(addresses: Addresses, name: str) -> str:
    """A key of the paper account, from its file: no other command is given it.

    Raises:
        DependencyDown: there is none, because nothing ran here yet.
    """
    try:
        return (addresses.data_dir / "keys" / name).read_text().strip()
    except OSError as error:
        raise DependencyDown(
            f"the paper account's key cannot be read: {error}", do="start it with `trading up`"
        ) from error


class PaperExchange:
    """The exchange's HTTP side, with the keys of this installation's paper account."""

    def __init__(self, addresses: Addresses) -> None:
        self._url = addresses.need("exchange_url")
        self._keys = {
            "APCA-API-KEY-ID": paper_secret(addresses, "trading_broker_key"),
            "APCA-API-SECRET-KEY": paper_secret(addresses, "trading_broker_secret"),
        }

    async def ledger(self) -> Ledger:
        """The ledger so far, all of it on disk."""
        found = await self._get("/_exchange/ledger/summary")
        return Ledger({str(key): int(count) for key, count in found["accepted_orders"].items()})

    async def ask(self, ticker: str) -> Decimal:
        """The best offer of now, in US dollars."""
        found = await self._get(f"/v2/stocks/quotes/latest?symbols={ticker}&feed=iex")
        return Decimal(str(found["quotes"][ticker]["ap"]))

    async def quotes(self, tickers: Sequence[str]) -> dict[str, Shown]:
        """The quotes of now; a ticker without any is left out."""
        found = await self._get(f"/v2/stocks/quotes/latest?symbols={','.join(tickers)}&feed=iex")
        return {
            ticker: Shown(
                datetime.fromisoformat(each["t"]), Decimal(str(each["bp"])), Decimal(str(each["ap"]))
            )
            for ticker, each in found["quotes"].items()
        }

    async def clock(self) -> datetime:
        """Market time."""
        return datetime.fromisoformat((await self._get("/_exchange/clock"))["at"])

    async def set_clock(self, at: datetime) -> None:
        """Jump forward; a moment that has passed leaves the clock as it is."""
        if at > await self.clock():
            await self._ask("POST", "/_exchange/clock", {"at": at.isoformat()})

    async def positions(self) -> dict[str, Decimal]:
        """Shares by ticker, short ones negative."""
        found = json.loads(await self._ask("GET", "/v2/positions"))
        return {row["symbol"]: Decimal(row["qty"]) for row in found}

    async def cash(self) -> Decimal:
        """US dollars of the account."""
        return Decimal((await self._get("/v2/account"))["cash"])

    async def ledger_seq(self) -> int:
        """The number of the last record on disk."""
        return int((await self._get("/_exchange/health"))["ledger_seq"])

    async def records(self) -> list[dict[str, Any]]:
        """Every record of the ledger."""
        return [json.loads(line) for line in (await self._ask("GET", "/_exchange/ledger")).splitlines()]

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(await self._ask("GET", path))
        except ValueError as error:
            raise DependencyDown(f"the paper exchange does not answer {path}: {error}") from error
        return found

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        try:
            async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http:
                answer = await http.request(method, self._url + path, headers=self._keys, json=body)
                answer.raise_for_status()
        except httpx2.HTTPError as error:
            raise DependencyDown(f"the paper exchange does not answer {path}: {error}") from error
        return answer.text
