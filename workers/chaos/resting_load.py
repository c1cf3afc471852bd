"""Thousands of resting orders, written where they would stand after a day of trading: ledger and tables directly.

A fixture and marked as one, in the exchange's ledger and in the audit log. Both writers must be down meanwhile.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4, uuid5

from schemas.audit import AuditEntry, canonical_json, sha256_hex
from schemas.orders import Action, OrderRequest, OrderStatus, OrderType, TimeInForce
from schemas.wire import Leg, client_order_id
from simulation.events import OrderCreated, encode
from simulation.ids import Ids
from simulation.orders import Order
from simulation.settings import synthetic_symbols
from simulation.wire import json_bytes, rfc3339
from storage.events import append
from storage.switches import read_installation

if TYPE_CHECKING:
    import asyncpg

    from workers.chaos.stage import Stage

STRATEGY: Final = "momentum"
QUANTITY: Final = Decimal(1)
RESTING_AT: Final = Decimal("0.5")
"""Of the ticker's price: the market does not come here."""
BURST_AT: Final = Decimal("0.8")
"""Where the orders of a burst rest: a quote made by hand reaches them and nothing else."""
PLACED_BEFORE: Final = timedelta(hours=6)
APART: Final = timedelta(milliseconds=50)
CENT: Final = Decimal("0.01")
LIFETIME: Final = timedelta(days=60)


@dataclass(frozen=True)
class Resting:
    """One order at rest. ``burst``: the burst that is to fill it; None: it stays."""

    signal_id: str
    client_order_id: str
    broker_order_id: str
    internal_order_id: UUID
    ticker: str
    limit_price: Decimal
    placed_at: datetime
    burst: int | None


def plan(
    count: int, tickers: int, bursts: Sequence[int], *, installation: UUID, account: str, now: datetime
) -> list[Resting]:
    """``count`` orders over the synthetic tickers; ``bursts``: how many of them each burst fills.

    Each burst has tickers of its own, a tenth as many as orders.
    """
    symbols = synthetic_symbols(tickers)
    owner = [number for number, size in enumerate(bursts) for _ in range(size)]
    first_ticker = [sum(-(-size // 10) for size in bursts[:number]) for number in range(len(bursts))]
    made = []
    seen = dict.fromkeys(range(len(bursts)), 0)
    for index in range(count):
        burst = owner[index] if index < len(owner) else None
        if burst is None:
            symbol = symbols[index % len(symbols)]
        else:
            symbol = symbols[first_ticker[burst] + seen[burst] // 10]
            seen[burst] += 1
        signal_id = f"resting-{index:05d}"
        made.append(
            Resting(
                signal_id=signal_id,
                client_order_id=client_order_id(installation, account, signal_id, Leg.ENTRY, 0),
                broker_order_id=str(uuid4()),
                internal_order_id=uuid5(installation, signal_id),
                ticker=symbol.symbol,
                limit_price=(symbol.price * (RESTING_AT if burst is None else BURST_AT)).quantize(CENT),
                placed_at=now - PLACED_BEFORE + index * APART,
                burst=burst,
            )
        )
    return made


def quotes_of(orders: Sequence[Resting], burst: int) -> dict[str, Decimal]:
    """By ticker, the price at which all orders of a burst execute."""
    return {each.ticker: each.limit_price - CENT for each in orders if each.burst == burst}


def write_ledger(file: Path, orders: Sequence[Resting], now: datetime) -> None:
    """Append the orders to the ledger of an exchange that is down."""
    lines = file.read_bytes().splitlines()
    seq = int(json.loads(lines[-1])["seq"])
    with file.open("ab") as ledger:
        for body in _records(orders, now):
            seq += 1
            ledger.write(b'{"seq":%d,%b\n' % (seq, body[1:]))


def _records(orders: Sequence[Resting], now: datetime) -> Iterator[bytes]:
    mark = {"kind": "control", "at": rfc3339(now), "control": "fixture", "orders": len(orders)}
    yield json_bytes(mark)
    ids = Ids()
    for each in orders:
        order = Order(
            id=each.broker_order_id,
            client_order_id=each.client_order_id,
            symbol=each.ticker,
            side="buy",
            type="limit",
            time_in_force="gtc",
            position_intent="buy_to_open",
            status="new",
            created_at=each.placed_at,
            submitted_at=each.placed_at,
            updated_at=each.placed_at,
            expires_at=now + LIFETIME,
            reserve_price=each.limit_price,
            qty=QUANTITY,
            limit_price=each.limit_price,
        )
        yield encode(OrderCreated(each.placed_at, ids.ulid(each.placed_at), "new", order))


async def account_and_namespace(connection: "asyncpg.Connection[Any]") -> tuple[str, UUID]:
    """What client order ids are made of. The installation is bound by then."""
    installation = await read_installation(connection)
    assert installation.account is not None, "bound at its first start"
    return installation.account, installation.namespace


async def put(
    stage: "Stage",
    workers: Sequence[str],
    orders: Sequence[Resting],
    now: datetime,
    *,
    market_now: datetime | None = None,
) -> None:
    """Write orders while nobody else writes; ``workers``: the processes that do. All are up again afterwards.

    ``market_now``: the exchange's time, where that is not the real one; its orders must not lie ahead of it.
    """
    for name in (*workers, "exchange"):
        await stage.down(name)
    async with stage.database() as connection, connection.transaction():
        await write_rows(connection, orders, now)
    write_ledger(stage.data_dir.exchange_ledger, orders, market_now or now)
    await stage.up("exchange")
    await asyncio.gather(*(stage.up(name) for name in workers))


async def write_rows(connection: "asyncpg.Connection[Any]", orders: Sequence[Resting], now: datetime) -> None:
    """Signals, orders, decisions, approvals and reservations, as they stand once the broker has taken an order."""
    token = (await _column(connection, "api_tokens", "token_id"))[0]
    limits_version = max(await _column(connection, "limits", "version"))
    approvals = {each.signal_id: uuid4() for each in orders}
    for table, rows in (
        ("signals", [_signal(each, token) for each in orders]),
        ("orders", [_order(each) for each in orders]),
        ("decisions", [_decision(each, approvals[each.signal_id], limits_version) for each in orders]),
        ("approval_bindings", [_binding(each, approvals[each.signal_id]) for each in orders]),
        ("reservations", [_reservation(each) for each in orders]),
    ):
        await connection.copy_records_to_table(
            table, columns=list(rows[0]), records=[tuple(row.values()) for row in rows]
        )
    entry = AuditEntry(
        occurred_at=now, correlation_id="fixture", component="trading chaos", actor="fixture",
        decision="FIXTURE_LOADED", input={"detail": f"{len(orders)} resting orders were written, not placed"},
    )  # fmt: skip
    await append(connection, entry)


async def _column(connection: "asyncpg.Connection[Any]", table: str, column: str) -> list[Any]:
    # tidy: sql because a fixture may look where no statement of the product does
    return [row[0] for row in await connection.fetch(f"select {column} from {table}")]  # noqa: S608


def _signal(each: Resting, token: UUID) -> dict[str, Any]:
    document = {"signal_id": each.signal_id, "fixture": True}
    return {
        "signal_id": each.signal_id,
        "token_id": token,
        "content_hash": bytes.fromhex(sha256_hex(document)),
        "document": canonical_json(document),
        **_terms(each),
        "extended_hours": False,
        "created_at": each.placed_at,
        "valid_until": each.placed_at + timedelta(minutes=5),
        "received_at": each.placed_at,
    }


def _terms(each: Resting) -> dict[str, Any]:
    return {
        "strategy": STRATEGY,
        "ticker": each.ticker,
        "action": Action.BUY_TO_OPEN.value,
        "order_type": OrderType.LIMIT.value,
        "time_in_force": TimeInForce.GTC.value,
        "quantity": QUANTITY,
        "limit_price": each.limit_price,
    }


def _key(each: Resting) -> dict[str, Any]:
    return {"signal_id": each.signal_id, "leg": Leg.ENTRY.value, "generation": 0}


def _order(each: Resting) -> dict[str, Any]:
    request = OrderRequest(
        internal_order_id=str(each.internal_order_id),
        client_order_id=each.client_order_id,
        ticker=each.ticker,
        action=Action.BUY_TO_OPEN,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=QUANTITY,
        limit_price=each.limit_price,
        extended_hours=False,
    )
    return {
        **_key(each),
        **_terms(each),
        "internal_order_id": each.internal_order_id,
        "extended_hours": False,
        "client_order_id": each.client_order_id,
        "broker_order_id": each.broker_order_id,
        "request": canonical_json(request),
        "status": OrderStatus.ACKNOWLEDGED.value,
        "raw_status": "new",
        "post_count": 1,
        "first_post_at": each.placed_at,
        "acknowledged_at": each.placed_at,
        "posting_deadline": each.placed_at + timedelta(seconds=15),
        "row_version": 4,
        "signalled_version": 4,
        "created_at": each.placed_at,
        "updated_at": each.placed_at,
    }


def _decision(each: Resting, approval: UUID, limits_version: int) -> dict[str, Any]:
    return {
        **_key(each),
        "approval_id": approval,
        "approved": True,
        "reasons": [],
        "checks": "[]",
        "quantity": QUANTITY,
        "limit_price": each.limit_price,
        "account_exposure_pct": Decimal(0),
        "limits_version": limits_version,
        "kill_epoch": 0,
        "decided_at": each.placed_at,
        "expires_at": each.placed_at + timedelta(minutes=5),
    }


def _binding(each: Resting, approval: UUID) -> dict[str, Any]:
    return {
        "approval_id": approval,
        "leg": Leg.ENTRY.value,
        "client_order_id": each.client_order_id,
        "bound_at": each.placed_at,
    }


def _reservation(each: Resting) -> dict[str, Any]:
    return {
        **_key(each),
        "strategy": STRATEGY,
        "ticker": each.ticker,
        "side": Action.BUY_TO_OPEN.side.value,
        "quantity": QUANTITY,
        "price": each.limit_price,
        "state": "working",
        "created_at": each.placed_at,
        "lapses_at": each.placed_at + timedelta(minutes=1),
    }
