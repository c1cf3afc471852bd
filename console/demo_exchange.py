"""What the demonstration asks the paper exchange itself: quotes, and its ledger as the judge."""

from dataclasses import dataclass
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


class PaperExchange:
    """The exchange's HTTP side, with the keys of this installation's paper account."""

    def __init__(self, addresses: Addresses) -> None:
        self._url = addresses.need("exchange_url")
        self._keys = {
            "APCA-API-KEY-ID": addresses.need("exchange_key"),
            "APCA-API-SECRET-KEY": addresses.need("exchange_secret"),
        }

    async def ledger(self) -> Ledger:
        """The ledger so far, all of it on disk."""
        found = await self._get("/_exchange/ledger/summary")
        return Ledger({str(key): int(count) for key, count in found["accepted_orders"].items()})

    async def ask(self, ticker: str) -> Decimal:
        """The best offer of now, in US dollars."""
        found = await self._get(f"/v2/stocks/quotes/latest?symbols={ticker}&feed=iex")
        return Decimal(str(found["quotes"][ticker]["ap"]))

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http:
                answer = await http.get(self._url + path, headers=self._keys)
                answer.raise_for_status()
                found: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise DependencyDown(f"the paper exchange does not answer {path}: {error}") from error
        return found
