"""Approvals that are right, in the wrong place: again, for another order or account, by another key; and decisions
that nobody made.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from schemas.orders import OrderType
from schemas.wire import Leg
from security.approvals import ApprovalKeys, KeyState
from storage.switches import Installation
from tests.forgery.bench import RESIGNED, STRANGER, Bench, Case, resigned
from tests.servers.approvals import SIGNER


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _replays()
    yield from _elsewhere()
    yield from _invented()


# --- the same approval again ------------------------------------------------------------------------


def _replays() -> Iterator[Case]:
    for with_id in (False, True):
        for fields in ({}, {"ticker": "AAPL", "quantity": 20}, {"limit_price": "99.50"}):
            name = f"of another signal, {'its' if with_id else 'own'} approval id, {fields or 'same content'}"
            yield Case("replayed", name, partial(_of_another, with_id, fields))
    yield Case("replayed", "of one that was placed, for the next signal", _of_a_placed_one)
    yield Case("replayed", "for the next generation", _next_generation)
    yield Case("replayed", "the order's row moved to generation 1", _moved)
    for leg in (Leg.STOP, Leg.EXIT):
        yield Case("replayed", f"for a {leg.value} that has no shares", partial(_as_leg, leg))
    yield Case("replayed", "bound to another order before", _bound)
    yield Case("replayed", "of a decision that refused", _refused_by_risk)


async def _of_another(with_id: bool, fields: dict[str, Any], bench: Bench) -> str:
    victim, signal_id = await bench.approved(), await bench.approved(**fields)
    await _copy(bench, victim, signal_id, with_id=with_id)
    return await bench.place(signal_id)


async def _copy(bench: Bench, victim: str, signal_id: str, *, with_id: bool) -> None:
    names = (
        "approval, approval_signature, approval_key_id, decided_at, expires_at, kill_epoch, limits_version"
    )
    if with_id:
        await bench.run("delete from approval_bindings where approval_id in (select approval_id from decisions"
                        " where signal_id = $1)", victim)  # fmt: skip
        taken = await bench.owner.fetchval("select approval_id from decisions where signal_id = $1", victim)
        await bench.run("update decisions set approval_id = gen_random_uuid() where signal_id = $1", victim)
        await bench.run("update decisions set approval_id = $2 where signal_id = $1", signal_id, taken)
    await bench.run(
        f"update decisions set ({names}) = (select {names} from decisions where signal_id = $2)"
        " where signal_id = $1",
        signal_id, victim,
    )  # fmt: skip


async def _of_a_placed_one(bench: Bench) -> str:
    victim = await bench.approved()
    bench.legitimate += 1
    assert await bench.place(victim) == "PLACED"
    signal_id = await bench.approved()
    await _copy(bench, victim, signal_id, with_id=True)
    return await bench.place(signal_id)


_TERMS: Final = """
    signal_id, leg, strategy, ticker, action, order_type, time_in_force, extended_hours, quantity, limit_price"""
_NEXT: Final = f"""
    insert into orders (internal_order_id, generation, status, created_at, updated_at, pre_trade_at, {_TERMS})
    select gen_random_uuid(), 1, 'CREATED', now(), now(), now(), {_TERMS} from orders where signal_id = $1"""


async def _next_generation(bench: Bench) -> str:
    """A second order of the same approval."""
    signal_id = await bench.approved()
    bench.legitimate += 1
    assert await bench.place(signal_id) == "PLACED"
    await bench.run(_NEXT, signal_id)
    await bench.run(
        "insert into reservations (signal_id, leg, generation, strategy, ticker, side, quantity, price, state,"
        " created_at, lapses_at) select signal_id, leg, 1, strategy, ticker, side, quantity, price, 'held',"
        " created_at, lapses_at from reservations where signal_id = $1",
        signal_id,
    )
    return await bench.place(signal_id, generation=1)


async def _moved(bench: Bench) -> str:
    signal_id = await bench.approved()
    async with bench.owner.transaction():
        await bench.run("set local session_replication_role = replica")  # No foreign key is asked.
        for table in ("orders", "decisions", "reservations"):
            await bench.run(f"update {table} set generation = 1 where signal_id = $1", signal_id)
    return await bench.place(signal_id, generation=1)


async def _as_leg(leg: Leg, bench: Bench) -> str:
    signal_id = await bench.approved()
    kind = "'STOP', 'GTC', 95, null" if leg is Leg.STOP else "'LIMIT', 'DAY', null, 99"
    await bench.run(
        "insert into orders (internal_order_id, signal_id, leg, generation, strategy, ticker, action, order_type,"
        " time_in_force, stop_price, limit_price, extended_hours, quantity, status, created_at, updated_at)"
        f" select gen_random_uuid(), signal_id, '{leg}', 0, strategy, ticker, 'SELL_TO_CLOSE', {kind}, false,"
        " quantity, 'CREATED', now(), now() from orders where signal_id = $1",
        signal_id,
    )
    return await bench.place(signal_id, leg, 0)


async def _bound(bench: Bench) -> str:
    """The approval has bought another order before."""
    signal_id = await bench.approved()
    await bench.run(
        "insert into approval_bindings (approval_id, leg, generation, client_order_id, bound_at)"
        " select approval_id, 'entry', 0, 'ti-another-' || signal_id, now() from decisions where signal_id = $1",
        signal_id,
    )
    return await bench.place(signal_id)


async def _refused_by_risk(bench: Bench) -> str:
    """A refusal that is turned into an approval, with another's signature."""
    victim, signal_id = await bench.approved(), await bench.approved(quantity=20)
    await bench.run(
        "update decisions set approved = false, approval_id = null, approval = null, approval_signature = null,"
        " approval_key_id = null where signal_id = $1",
        signal_id,
    )
    await bench.run(
        "update decisions set approved = true, approval_id = gen_random_uuid() where signal_id = $1",
        signal_id,
    )
    await _copy(bench, victim, signal_id, with_id=False)
    return await bench.place(signal_id)


# --- another account, mode, installation, key -------------------------------------------------------


def _elsewhere() -> Iterator[Case]:
    for change in (
        {"account": "A2"},
        {"mode": "live"},
        {"namespace": uuid4()},
        {"account": "A2", "mode": "live"},
    ):
        for follow in (False, True):
            name = f"placed by {', '.join(change)} of another, the rows {'follow' if follow else 'stay'}"
            yield Case("another account", name, partial(_by_another, change, follow))
    for column, value in (("account", "A2"), ("mode", "live")):
        yield Case("another account", f"signed for {column} {value}", partial(_signed_for, column, value))
    yield Case("key", "revoked", partial(_with_keys, ApprovalKeys({STRANGER.public_key: KeyState.CURRENT})))
    retired = {SIGNER.public_key: KeyState.RETIRED, STRANGER.public_key: KeyState.CURRENT}
    yield Case("key", "retired", partial(_with_keys, ApprovalKeys(retired)))
    yield Case(
        "control",
        "former, still current",
        partial(_with_keys, ApprovalKeys(dict.fromkeys(retired, KeyState.CURRENT))),
    )


async def _by_another(change: dict[str, Any], follow: bool, bench: Bench) -> str:
    """The rows of one installation under the execution of another: a copied database."""
    signal_id = await bench.approved()
    other: Installation = bench.installation.model_copy(update=change)
    if follow:
        document = {**await bench.document(signal_id), "account": other.account, "mode": other.mode}
        document["installation"] = str(other.namespace)
        await bench.write(signal_id, resigned(document, "00" * 64, "our key's id"))
    return await bench.place(signal_id, by=bench.placement(installation=other))


async def _signed_for(column: str, value: str, bench: Bench) -> str:
    """Risk itself is led to sign for another account: the row that says which one this is was changed."""
    before = getattr(bench.installation, column)
    # Its owner can take away what keeps it as it is.
    await bench.run("alter table installation disable trigger installation_kept")

    async def change() -> None:
        await bench.run(f"update installation set {column} = $1", value)

    try:
        signal_id = await bench.approved(before_risk=change)
    finally:
        await bench.run(f"update installation set {column} = $1", before)
    return await bench.place(signal_id)


async def _with_keys(keys: ApprovalKeys, bench: Bench) -> str:
    signal_id = await bench.approved()
    bench.legitimate += keys.states.get(SIGNER.public_key) is KeyState.CURRENT
    return await bench.place(signal_id, by=bench.placement(keys=keys))


# --- decisions that nobody made ---------------------------------------------------------------------


def _invented() -> Iterator[Case]:
    for how in ("no signature", *RESIGNED[1:], "no purpose", "a grant's purpose"):
        for kind in (OrderType.LIMIT, OrderType.MARKET):
            yield Case("invented", f"an approved decision, {how}, {kind.value}", partial(_made_up, how, kind))
    for leg in Leg:
        yield Case("invented", f"a question of no signal, {leg.value}", partial(_no_signal, leg))
    for generation in (1, 7):
        yield Case("invented", f"a question of generation {generation}", partial(_no_generation, generation))
    yield Case("invented", "a question as of long ago", _long_ago)


_COLUMNS: Final = (
    "leg, generation, approved, reasons, checks, quantity, limit_price, account_exposure_pct, limits_version,"
    " kill_epoch, decided_at, expires_at, hard_stop_loss"
)
_DECISION_LIKE: Final = f"""
    insert into decisions (signal_id, approval_id, approval, approval_signature, approval_key_id, {_COLUMNS})
    select $2, $3, $4, $5, $6, {_COLUMNS} from decisions where signal_id = $1"""


async def _made_up(how: str, kind: OrderType, bench: Bench) -> str:
    """A decision that risk never made, of a signal that it never saw, with all that belongs to it."""
    fields: dict[str, Any] = {"order_type": kind, "limit_price": None} if kind is OrderType.MARKET else {}
    like, signal_id = await bench.approved(), await bench.proposed(**fields)
    document = await bench.document(like)
    order = await bench.owner.fetchrow("select * from orders where signal_id = $1", signal_id)
    assert order is not None
    approval_id = uuid4()
    document |= {"approval_id": str(approval_id), "signal_id": signal_id}
    document["entry"] |= {"internal_order_id": str(order["internal_order_id"]), "order_type": kind.value}
    signed = resigned(document, "00" * 64, how if how in RESIGNED else "our key's id")
    if how == "no purpose":  # Our own key, but not for an approval.
        signature = SIGNER._private.sign(signed.document.encode()).hex()
        signed = signed.model_copy(update={"signature": signature})
    elif how == "a grant's purpose":
        signature = SIGNER._private.sign(b"trading-interface/grant/1\n" + signed.document.encode()).hex()
        signed = signed.model_copy(update={"signature": signature})
    told = (None, None, None) if how == "no signature" else (signed.document, signed.signature, signed.key_id)
    await bench.run(
        _DECISION_LIKE,
        like, signal_id, approval_id, *told,
    )  # fmt: skip
    await bench.run(
        "insert into reservations (signal_id, leg, generation, strategy, ticker, side, quantity, price, state,"
        " created_at, lapses_at) select $2, leg, generation, strategy, ticker, side, quantity, price, state,"
        " created_at, lapses_at from reservations where signal_id = $1",
        like, signal_id,
    )  # fmt: skip
    await bench.run(
        "update orders set limit_price = 100, row_version = 2, pre_trade_at = now() where signal_id = $1",
        signal_id,
    )
    return await bench.place(signal_id)


async def _no_signal(leg: Leg, bench: Bench) -> str:
    return await bench.place("invented", leg)


async def _no_generation(generation: int, bench: Bench) -> str:
    return await bench.place(await bench.approved(), generation=generation)


async def _long_ago(bench: Bench) -> str:
    """An instant of long ago makes nothing fresh: an old approval stays expired."""
    signal_id = await bench.approved()
    await bench.run(
        "update decisions set decided_at = decided_at - interval '1 hour',"
        " expires_at = expires_at - interval '1 hour' where signal_id = $1",
        signal_id,
    )
    return await bench.place(signal_id, as_of=datetime.now(UTC) - timedelta(hours=1))
