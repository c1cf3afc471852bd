"""Forged entries: every field of what is signed, every column of the rows, the signature, and time."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import asyncpg

from tests.forgery.bench import RESIGNED, Bench, Case, resigned

MILLISECOND: Final = timedelta(milliseconds=1)
LATER: Final = "2100-01-01T00:00:00Z"

EDITS: Final[tuple[tuple[str, tuple[Any, ...]], ...]] = (
    ("approval_id", (str(uuid4()),)),
    ("installation", (str(uuid4()),)),
    ("account", ("A2", "")),
    ("mode", ("live", "")),
    ("signal_id", ("another",)),
    ("signal_hash", ("0" * 64,)),
    ("order_class", ("bracket",)),
    ("entry.internal_order_id", (str(uuid4()),)),
    ("entry.client_order_id", ("ti-" + "0" * 32,)),
    ("entry.ticker", ("MSFT", "TSLA")),
    ("entry.action", ("SELL_TO_OPEN", "BUY_TO_CLOSE", "SELL_TO_CLOSE")),
    ("entry.order_type", ("MARKET", "STOP_LIMIT", "STOP")),
    ("entry.time_in_force", ("GTC", "IOC", "FOK")),
    ("entry.quantity", ("9", "11", "1000")),
    ("entry.limit_price", ("99.99", "100.01", "1000", None)),
    ("entry.stop_price", ("99",)),
    ("entry.extended_hours", (True,)),
    ("worst_price", ("100.01", "1")),
    ("hard_stop_loss", ("94.99", None)),
    ("stop.stop_price", ("94.99", None)),
    ("stop.quantity_max", ("11",)),
    ("stop.action", ("BUY_TO_OPEN",)),
    ("stop.ticker", ("MSFT",)),
    ("exit.collar_pct", ("100", None)),
    ("exit.time_in_force", ("GTC",)),
    ("limits_version", (1,)),
    ("kill_epoch", (1, 7)),
    ("approved_at", (LATER,)),
    ("expires_at", (LATER,)),
    ("nonce", ("00" * 16,)),
)
"""Field of the signed document → what a forger would rather have there."""

UNSIGNED: Final = "approval = null, approval_signature = null, approval_key_id = null"
DECISION: Final = (
    "approval_id = gen_random_uuid()", "quantity = quantity + 1", "quantity = quantity * 100",
    "limit_price = limit_price + 0.01", "limit_price = limit_price - 0.01", "hard_stop_loss = 94.99",
    "hard_stop_loss = null", "limits_version = 1", "kill_epoch = kill_epoch + 1",
    "decided_at = decided_at + interval '1 ms'", "decided_at = decided_at - interval '1 ms'",
    "expires_at = expires_at + interval '1 ms'", "expires_at = expires_at + interval '1 day'",
    UNSIGNED, f"{UNSIGNED}, decided_at = decided_at - interval '1 year'",
    "approval = approval || ' '", "approval = ' ' || approval", "approval = '{}'", "approval = ''",
    "approval = replace(approval, '\"10\"', '\"010\"')", "approval = (approval::jsonb)::text",
    "approval = replace(approval, '{\"account\"', '{\"more\":1,\"account\"')",
    "approval_signature = ''", "approval_signature = repeat('0', 128)", "approval_signature = 'no hexadecimal'",
    "approval_signature = left(approval_signature, 126)", "approval_signature = approval_signature || '00'",
    "approval_key_id = ''", "approval_key_id = '0000000000000000'", "approval_key_id = 'public'",
)  # fmt: skip
"""Changes to the decision's row."""

ORDER: Final = (
    "ticker = 'MSFT'", "action = 'SELL_TO_OPEN'", "action = 'BUY_TO_CLOSE'", "action = 'SELL_TO_CLOSE'",
    "order_type = 'MARKET'", "order_type = 'STOP_LIMIT', stop_price = 99",
    "order_type = 'STOP', stop_price = 99, limit_price = null",
    "time_in_force = 'GTC'", "time_in_force = 'IOC'", "time_in_force = 'FOK'", "extended_hours = true",
    "strategy = 'another'", "quantity = quantity + 1", "quantity = quantity - 1", "quantity = quantity * 100",
    "broker_quantity = quantity + 1", "limit_price = limit_price + 0.01", "limit_price = limit_price - 0.01",
    "limit_price = 1000", "limit_price = null", "stop_price = 99", "internal_order_id = gen_random_uuid()",
)  # fmt: skip
"""Changes to the order's row."""

SIGNAL: Final = (
    "quantity = quantity + 1", "limit_price = limit_price + 1", "hard_stop_loss = 94", "hard_stop_loss = null",
    "valid_until = valid_until + interval '1 ms'", "created_at = created_at + interval '1 ms'",
    "strategy = 'another'",
)  # fmt: skip
"""Changes to the signal's row that its order does not show."""

TOGETHER: Final = (
    "ticker = 'MSFT'", "action = 'SELL_TO_OPEN'", "action = 'SELL_TO_CLOSE'", "order_type = 'MARKET'",
    "time_in_force = 'GTC'", "extended_hours = true", "strategy = 'another'",
    "order_type = 'STOP_LIMIT', stop_price = 99", "quantity = 11", "limit_price = 101",
)  # fmt: skip
"""Changes to signal and order alike."""


def cases() -> Iterator[Case]:
    """Every forged entry."""
    for path, values in EDITS:
        for value in values:
            for how in RESIGNED:
                for follow in (False, True):
                    name = f"{path} = {value}, {how}, rows {'follow' if follow else 'stay'}"
                    yield Case("document edited", name, partial(_edited, path, value, how, follow))
    for table, changes in (("decisions", DECISION), ("orders", ORDER), ("signals", SIGNAL)):
        for change in changes:
            yield Case("row edited", f"{table}: {change}", partial(_changed, (table,), change))
    for change in TOGETHER:
        yield Case(
            "row edited", f"orders and signals: {change}", partial(_changed, ("orders", "signals"), change)
        )
    for byte in range(64):
        yield Case("signature bit", f"byte {byte}", partial(_flipped, byte))
    yield from _times()


async def _edited(path: str, value: Any, how: str, follow: bool, bench: Bench) -> str:
    signal_id = await bench.approved()
    document = deepcopy(await bench.document(signal_id))
    signature = await bench.owner.fetchval(
        "select approval_signature from decisions where signal_id = $1", signal_id
    )
    inner = document
    *outer, last = path.split(".")
    for name in outer:
        inner = inner[name]
    assert inner[last] != value, path
    inner[last] = value
    await bench.write(signal_id, resigned(document, signature, how))
    if follow:
        await _follow(bench, signal_id, document)
    return await bench.place(signal_id)


async def _follow(bench: Bench, signal_id: str, document: dict[str, Any]) -> None:
    """Make every row say what the document says, as far as the database's own rules let them."""
    entry = document["entry"]
    terms = ("ticker", "action", "order_type", "time_in_force", "extended_hours")
    numbers = ("quantity", "limit_price", "stop_price")
    both = ", ".join(
        f"{name} = ${n}::text::{_TYPES.get(name, 'text')}" for n, name in enumerate((*terms, *numbers), 2)
    )
    values = [_text(entry[name]) for name in (*terms, *numbers)]
    for statement, arguments in (
        (f"update signals set {both}, hard_stop_loss = $10::text::numeric where signal_id = $1",
         [*values, _text(document["hard_stop_loss"])]),
        (f"update orders set {both}, internal_order_id = $10::text::uuid where signal_id = $1",
         [*values, entry["internal_order_id"]]),
        (_DECIDED, [document["approval_id"], entry["quantity"], document["worst_price"],
                    document["hard_stop_loss"], str(document["limits_version"]), str(document["kill_epoch"]),
                    document["approved_at"], document["expires_at"]]),
        ("update kill_switch set epoch = $2::text::bigint, engaged = false where $1 <> ''",
         [str(document["kill_epoch"])]),
    ):  # fmt: skip
        try:
            await bench.run(statement, signal_id, *arguments)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError):
            continue  # Not even the owner may have a row like this.


_DECIDED: Final = """
    update decisions set approval_id = $2::text::uuid, quantity = $3::text::numeric,
        limit_price = $4::text::numeric, hard_stop_loss = $5::text::numeric, limits_version = $6::text::integer,
        kill_epoch = $7::text::bigint, decided_at = $8::text::timestamptz, expires_at = $9::text::timestamptz
    where signal_id = $1"""
_TYPES: Final = {
    "quantity": "numeric", "limit_price": "numeric", "stop_price": "numeric", "extended_hours": "boolean",
}  # fmt: skip


def _text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


async def _changed(tables: tuple[str, ...], change: str, bench: Bench) -> str:
    signal_id = await bench.approved()
    for table in tables:
        await bench.run(f"update {table} set {change} where signal_id = $1", signal_id)
    return await bench.place(signal_id)


async def _flipped(byte: int, bench: Bench) -> str:
    signal_id = await bench.approved()
    signature = bytearray.fromhex(
        await bench.owner.fetchval("select approval_signature from decisions where signal_id = $1", signal_id)
    )
    signature[byte] ^= 1 << (byte % 8)
    await bench.run(
        "update decisions set approval_signature = $2 where signal_id = $1", signal_id, signature.hex()
    )
    return await bench.place(signal_id)


# --- time -------------------------------------------------------------------------------------------


def _times() -> Iterator[Case]:
    for number, late in enumerate((MILLISECOND, MILLISECOND, timedelta(seconds=1), timedelta(days=1))):
        yield Case("expired", f"{late} late ({number})", partial(_at, late))
    for early in (timedelta(0), -MILLISECOND):
        yield Case("control", f"{early} before the expiry", partial(_at, early))
    for late in (MILLISECOND, timedelta(minutes=1)):
        yield Case("expired", f"{late} late, expiry put off in the row", partial(_put_off, late))


async def _at(offset: timedelta, bench: Bench) -> str:
    """At exactly the expiry it may leave, a millisecond later not. How: the workflow's clock is ahead of ours."""
    signal_id = await bench.approved()
    as_of = offset + await bench.owner.fetchval(
        "select expires_at from decisions where signal_id = $1", signal_id
    )
    await bench.checked(signal_id, as_of)
    bench.legitimate += offset <= timedelta(0)
    return await bench.place(signal_id, as_of=as_of)


async def _put_off(late: timedelta, bench: Bench) -> str:
    signal_id = await bench.approved()
    as_of = late + await bench.owner.fetchval(
        "select expires_at from decisions where signal_id = $1", signal_id
    )
    await bench.checked(signal_id, as_of)
    await bench.run(
        "update decisions set expires_at = expires_at + interval '1 day' where signal_id = $1", signal_id
    )
    return await bench.place(signal_id, as_of=as_of)
