"""What a fault run's judge reads of ours and of the exchange's account, when everything has come to rest."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from audit.rebuild import Rebuilt
from audit.rebuild import rebuild as rebuild_audit
from audit.rows import read_lines
from schemas.orders import Action, OrderStatus, OrderType
from schemas.reconciliation import CASH
from schemas.wire import Leg
from storage.journal import read_day, rebuild
from workers.chaos.ledger import ZERO
from workers.chaos.ours import Asked, Books, Ours, Row
from workers.chaos.victims import StageError

if TYPE_CHECKING:
    from storage.database import Connection
    from workers.chaos.stage import Stage

EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Before the first execution of a run: all that its account has gained it has gained since."""
ONE_MOMENT_TRIES: Final = 50
ONE_MOMENT_PAUSE_SECONDS: Final = 0.05
HALF_A_CENT: Final = Decimal("0.0051")
"""US dollars. The account's equity is rounded to cents."""

# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_ASKED: Final = """
select s.signal_id, s.ticker, s.action, s.order_type, s.time_in_force, s.extended_hours, s.quantity, s.stop_price,
    s.hard_stop_loss, d.approved, d.quantity as approved_quantity, d.limit_price as approved_limit_price
from signals s
left join decisions d on d.signal_id = s.signal_id and d.leg = 'entry' and d.generation = 0
"""
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_ROWS: Final = """
select signal_id, leg, client_order_id, status, settled_at is not null as settled, filled_quantity as filled
from orders
"""
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_BOUND: Final = """
select b.client_order_id, d.signal_id, b.leg from approval_bindings b join decisions d using (approval_id)
"""
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_INSTALLATION: Final = "select namespace, account from installation"
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_MOVING: Final = """
select count(*) from orders
where settled_at is null and (
    status not in ('ACKNOWLEDGED', 'PARTIALLY_FILLED') or post_open or cardinality(flags) > 0
)
"""
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_UNSENT: Final = "select count(*) from orders where settled_at is null and post_count = 0"
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_PROGRESS: Final = "select occurred_at from events order by occurred_at"

# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_OVERWRITTEN: Final = """
select ticker from journal where cause in ('RESIDUAL', 'REVERSAL')
group by ticker having sum(quantity) <> 0 or sum(cash) <> 0
"""


async def read_ours(connection: "Connection") -> Ours:
    """Our side, whole; the books from executions and journal alone."""
    installation = await connection.fetchrow(_INSTALLATION)
    assert installation is not None, "a migrated database has its row"
    asked = {row["signal_id"]: _asked(row) for row in await connection.fetch(_ASKED)}
    rows = tuple(
        Row(
            signal_id=row["signal_id"],
            leg=Leg(row["leg"]),
            client_order_id=row["client_order_id"],
            status=OrderStatus(row["status"]),
            settled=row["settled"],
            filled=row["filled"],
        )
        for row in await connection.fetch(_ROWS)
    )
    bound = {
        row["client_order_id"]: (row["signal_id"], Leg(row["leg"])) for row in await connection.fetch(_BOUND)
    }
    return Ours(
        namespace=installation["namespace"],
        account=installation["account"],
        asked=asked,
        rows=rows,
        bound=bound,
        books=await read_books(connection),
        overwritten=tuple(row["ticker"] for row in await connection.fetch(_OVERWRITTEN)),
    )


def _asked(row: Mapping[str, Any]) -> Asked:
    fields = dict(row)
    return Asked(
        **fields | {"action": Action(fields["action"]), "order_type": OrderType(fields["order_type"])}
    )


async def read_books(connection: "Connection") -> Books:
    """Our positions, cash and what has moved them, from executions and journal alone."""
    shares: dict[str, Decimal] = defaultdict(Decimal)
    cash = ZERO
    for each in await rebuild(connection):
        cash += each.cash
        if each.ticker != CASH:
            shares[each.ticker] += each.quantity
    moves = tuple(await read_day(connection, EVER))
    return Books({ticker: quantity for ticker, quantity in shares.items() if quantity}, cash, moves)


async def read_theirs(stage: "Stage") -> Books:
    """The exchange's positions, cash and day's result, of one moment of its prices.

    Raises:
        StageError: the account never was worth what its positions are.
    """
    for _ in range(ONE_MOMENT_TRIES):
        positions = await stage.exchange.ask("GET", "/v2/positions")
        account = await stage.exchange.ask("GET", "/v2/account")
        cash, equity = Decimal(account["cash"]), Decimal(account["equity"])
        worth = sum((Decimal(row["market_value"]) for row in positions), ZERO)
        if abs(cash + worth - equity) < HALF_A_CENT:
            return Books(
                {row["symbol"]: Decimal(row["qty"]) for row in positions},
                cash,
                prices={row["symbol"]: Decimal(row["current_price"]) for row in positions},
                gained=cash + worth - Decimal(account["last_equity"]),
            )
        await asyncio.sleep(ONE_MOMENT_PAUSE_SECONDS)
    raise StageError("the account and its positions were never read at the same prices")


async def read_audit(connection: "Connection") -> Rebuilt:
    """Orders, executions and books as the audit log alone tells them."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return rebuild_audit([line async for line in read_lines(connection)])


async def count_moving(connection: "Connection") -> int:
    """Orders that have neither settled nor come to rest."""
    count: int = await connection.fetchval(_MOVING)
    return count


async def count_unsent(connection: "Connection") -> int:
    """Orders that are to be placed and have not been tried yet."""
    count: int = await connection.fetchval(_UNSENT)
    return count


async def read_progress(connection: "Connection") -> list[float]:
    """When something happened to an order, in seconds of the wall clock, oldest first."""
    return [row["occurred_at"].timestamp() for row in await connection.fetch(_PROGRESS)]
