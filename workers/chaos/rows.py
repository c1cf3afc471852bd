"""What a fault run's judge reads of ours and of the exchange's account, when everything has come to rest."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from schemas.orders import Action, OrderStatus, OrderType
from schemas.reconciliation import CASH
from schemas.wire import Leg
from storage.journal import rebuild
from workers.chaos.judge import Asked, Books, Ours, Row
from workers.chaos.ledger import ZERO

if TYPE_CHECKING:
    import asyncpg

    from workers.chaos.stage import Stage

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
_PROGRESS: Final = "select occurred_at from events order by occurred_at"

# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
_OVERWRITTEN: Final = """
select ticker from journal where cause in ('RESIDUAL', 'REVERSAL')
group by ticker having sum(quantity) <> 0 or sum(cash) <> 0
"""


async def read_ours(connection: "asyncpg.Connection[Any]") -> Ours:
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


async def read_books(connection: "asyncpg.Connection[Any]") -> Books:
    """Our positions and cash."""
    shares: dict[str, Decimal] = defaultdict(Decimal)
    cash = ZERO
    for each in await rebuild(connection):
        cash += each.cash
        if each.ticker != CASH:
            shares[each.ticker] += each.quantity
    return Books({ticker: quantity for ticker, quantity in shares.items() if quantity}, cash)


async def read_theirs(stage: "Stage") -> Books:
    """The exchange's positions and cash."""
    positions = await stage.exchange.ask("GET", "/v2/positions")
    account = await stage.exchange.ask("GET", "/v2/account")
    return Books({row["symbol"]: Decimal(row["qty"]) for row in positions}, Decimal(account["cash"]))


async def count_moving(connection: "asyncpg.Connection[Any]") -> int:
    """Orders that have neither settled nor come to rest."""
    count: int = await connection.fetchval(_MOVING)
    return count


async def read_progress(connection: "asyncpg.Connection[Any]") -> list[float]:
    """When something happened to an order, in seconds of the wall clock, oldest first."""
    return [row["occurred_at"].timestamp() for row in await connection.fetch(_PROGRESS)]
