"""What is held, here and at the broker side by side, and how much of each limit it uses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.accounts import PositionView, read_positions
from console.books import BooksDay, read_books_day
from console.web.access import Viewer
from console.web.deps import Deps
from console.web.exposure import Use, uses
from console.web.rendering import render
from console.web.routes import page
from schemas.reconciliation import Holding
from storage.broker_side import BrokerSide, read_broker_side
from storage.database import Connection
from storage.limits import every_in_force
from storage.market import read_account
from storage.reconciliation import external_open
from storage.risk import live_reservations, read_exposures

router: Final = APIRouter()
ZERO: Final = Decimal(0)


@dataclass(frozen=True)
class Line:
    """One ticker: ours by strategy, and the broker's."""

    ticker: str
    ours: tuple[PositionView, ...]
    broker: Holding | None

    @property
    def here(self) -> Decimal:
        return sum((each.quantity for each in self.ours), ZERO)

    @property
    def there(self) -> Decimal:
        return self.broker.quantity if self.broker else ZERO

    @property
    def difference(self) -> Decimal:
        """Ours less the broker's, as of its last reading."""
        return self.here - self.there

    def moved_since(self, read_at: datetime) -> bool:
        """Whether ours have changed since the broker was read: then the two say nothing of one another."""
        return any(each.updated_at > read_at for each in self.ours)

    @property
    def value(self) -> Decimal | None:
        known = [each.value for each in self.ours if each.value is not None]
        return sum(known, ZERO) if len(known) == len(self.ours) and known else None


def lines_of(ours: Sequence[PositionView], side: BrokerSide | None) -> list[Line]:
    """By ticker; of every ticker that one of the two has."""
    theirs = {each.ticker: each for each in side.holdings if each.quantity} if side else {}
    tickers = sorted({each.ticker for each in ours} | theirs.keys())
    return [
        Line(ticker, tuple(each for each in ours if each.ticker == ticker), theirs.get(ticker))
        for ticker in tickers
    ]


@page(router, "/positions")
async def positions(request: Request, person: Viewer, deps: Deps) -> HTMLResponse:
    """Positions and exposure."""
    async with deps.database.connection() as connection:
        views = await read_positions(connection)
        side = await read_broker_side(connection)
        day: BooksDay = await read_books_day(connection)
        account = await read_account(connection)
        used = await read_uses(connection, deps.now())
        reserved = await live_reservations(connection)
        external = sorted(await external_open(connection))
    return render(
        request, "positions.html", person=person, lines=lines_of(views, side), side=side, day=day, account=account,
        uses=used, reserved=reserved, external=external,
    )  # fmt: skip


async def read_uses(connection: Connection, now: datetime) -> list[Use]:
    """How much of each limit is used, by the last snapshot of the account."""
    equity = (await read_account(connection)).equity
    return uses(await read_exposures(connection), await every_in_force(connection, now), equity)
