"""Forged legs: a stop or an exit that is not what the entry's approval says, whatever rows say of it."""

from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

from schemas.wire import Leg
from security.approvals import ApprovalKeys, KeyState
from tests.forgery.bench import RESIGNED, STRANGER, Bench, Case, resigned
from tests.servers.approvals import SIGNER

LEG: Final = (
    "stop_price = 94.99", "stop_price = 95.01", "stop_price = 1", "stop_price = 99.98", "action = 'BUY_TO_OPEN'",
    "action = 'SELL_TO_OPEN'", "action = 'BUY_TO_CLOSE'", "ticker = 'AAPL'", "quantity = 11", "quantity = 100",
    "order_type = 'LIMIT', stop_price = null, limit_price = 95", "order_type = 'STOP_LIMIT', limit_price = 90",
    "order_type = 'MARKET', stop_price = null, limit_price = 1", "time_in_force = 'DAY'", "time_in_force = 'IOC'",
    "extended_hours = true", "limit_price = 90", "strategy = 'another'", "broker_quantity = 11",
)  # fmt: skip
"""Changes to the leg's row alone."""

AGREEING: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("stop price 80", (
        "orders set stop_price = 80 where leg = 'stop'", "orders set hard_stop_loss = 80 where leg = 'entry'",
        "protections set stop_price = 80", "decisions set hard_stop_loss = 80", "signals set hard_stop_loss = 80",
    )),
    ("stop price 99.5", (
        "orders set stop_price = 99.5 where leg = 'stop'", "protections set stop_price = 99.5",
        "decisions set hard_stop_loss = 99.5", "signals set hard_stop_loss = 99.5",
    )),
    ("another ticker", (
        "orders set ticker = 'AAPL'", "signals set ticker = 'AAPL'", "executions set ticker = 'AAPL'",
        "positions set ticker = 'AAPL'", "protections set ticker = 'AAPL'",
    )),
    ("twice the shares", (
        "orders set quantity = 20, filled_quantity = 20 where leg = 'entry'",
        "orders set quantity = 20 where leg = 'stop'", "decisions set quantity = 20", "signals set quantity = 20",
        "positions set quantity = 20",
    )),
    ("the other side", (
        "orders set action = 'SELL_TO_OPEN' where leg = 'entry'", "protections set action = 'BUY_TO_CLOSE'",
        "orders set action = 'BUY_TO_CLOSE' where leg = 'stop'", "signals set action = 'SELL_TO_OPEN'",
        "positions set quantity = -quantity",
    )),
    ("extended hours", ("orders set extended_hours = true", "signals set extended_hours = true")),
    ("a day's life", ("orders set time_in_force = 'DAY'", "signals set time_in_force = 'DAY'")),
)  # fmt: skip
"""Changes to every row that could tell of it."""

NO_SIGNATURE: Final = "approval = null, approval_signature = null, approval_key_id = null"
UNSIGNED: Final = (
    NO_SIGNATURE, f"{NO_SIGNATURE}, decided_at = decided_at - interval '1 year'",
    "approval_signature = repeat('0', 128)", "approval_key_id = '0000000000000000'", "approval = approval || ' '",
    "approval_id = gen_random_uuid()",
)  # fmt: skip

EDITS: Final[tuple[tuple[str, tuple[Any, ...]], ...]] = (
    ("stop.stop_price", ("80", "99.5")),
    ("stop.quantity_max", ("20",)),
    ("stop.ticker", ("AAPL",)),
    ("stop.action", ("SELL_TO_OPEN",)),
    ("stop.time_in_force", ("DAY",)),
    ("hard_stop_loss", ("80",)),
    ("account", ("A2",)),
)

EXITS: Final = (
    "limit_price = 1",
    "limit_price = 97.98",
    "limit_price = 90",
    "quantity = 11",
    "time_in_force = 'GTC'",
)
"""Changes to an exit. The collar reaches 2 % below 99.99, to some 97.99."""


def cases() -> Iterator[Case]:
    """Every forged leg."""
    for change in LEG:
        yield Case("leg's row edited", change, partial(_changed, change))
    for name, changes in AGREEING:
        yield Case("leg's rows edited alike", name, partial(_agreeing, changes))
    for change in UNSIGNED:
        yield Case("leg's approval", change, partial(_decision, change))
    for path, values in EDITS:
        for value in values:
            for how in RESIGNED:
                yield Case(
                    "leg's document edited", f"{path} = {value}, {how}", partial(_edited, path, value, how)
                )
    for change in EXITS:
        yield Case("exit", change, partial(_exit, change, None))
    for change in ("limit_price = 97.98", "limit_price = 1"):
        yield Case("exit", f"{change} under limits of the forger", partial(_exit, change, "99"))
    yield Case("leg replayed", "another signal's approval", _of_another)
    yield Case("leg replayed", "of an entry that asked for no stop", _none_asked)
    yield Case("leg replayed", "more shares by a second generation", _second)
    only = ApprovalKeys({STRANGER.public_key: KeyState.CURRENT})
    yield Case("leg's key", "revoked", partial(_with_keys, only))
    retired = {SIGNER.public_key: KeyState.RETIRED, STRANGER.public_key: KeyState.CURRENT}
    yield Case("control", "a stop of a retired key", partial(_with_keys, ApprovalKeys(retired)))
    yield Case("control", "a stop", partial(_changed, "updated_at = updated_at"))
    yield Case("control", "an exit", partial(_exit, "updated_at = updated_at", None))


async def _changed(change: str, bench: Bench) -> str:
    signal_id = await bench.protected()
    await bench.run(f"update orders set {change} where signal_id = $1 and leg = 'stop'", signal_id)
    return await _stop(bench, signal_id)


async def _stop(bench: Bench, signal_id: str) -> str:
    found = await bench.place(signal_id, Leg.STOP, 0)
    bench.legitimate += found == "PLACED"
    return found


async def _agreeing(changes: tuple[str, ...], bench: Bench) -> str:
    signal_id = await bench.protected()
    for change in changes:
        table, _, rest = change.partition(" ")
        what, _, where = rest.partition(" where ")
        if table in ("positions", "executions"):
            theirs = "ticker = (select ticker from protections where signal_id = $1)"
            await bench.run(f"update {table} {what} where {theirs}", signal_id)
            continue
        await bench.run(
            f"update {table} {what} where signal_id = $1{' and ' + where if where else ''}", signal_id
        )
    return await _stop(bench, signal_id)


async def _decision(change: str, bench: Bench) -> str:
    signal_id = await bench.protected()
    await bench.run("delete from approval_bindings where approval_id in (select approval_id from decisions"
                    " where signal_id = $1)", signal_id)  # fmt: skip
    await bench.run(f"update decisions set {change} where signal_id = $1", signal_id)
    return await _stop(bench, signal_id)


async def _edited(path: str, value: Any, how: str, bench: Bench) -> str:
    """The document says what the forger wants, and so do all rows."""
    signal_id = await bench.protected()
    document = deepcopy(await bench.document(signal_id))
    signature = await bench.owner.fetchval(
        "select approval_signature from decisions where signal_id = $1", signal_id
    )
    name, _, inner = path.partition(".")
    if inner:
        assert document[name][inner] != value, path
        document[name][inner] = value
    else:
        document[name] = value
    await bench.write(signal_id, resigned(document, signature, how))
    column = {"quantity_max": "quantity"}.get(inner, inner)
    if column:
        await bench.run(f"update orders set {column} = $2 where signal_id = $1 and leg = 'stop'",
                        signal_id, _number(value))  # fmt: skip
    if column == "stop_price":
        for statement in ("protections set stop_price", "decisions set hard_stop_loss"):
            await bench.run(f"update {statement} = $2 where signal_id = $1", signal_id, _number(value))
    return await _stop(bench, signal_id)


def _number(value: str) -> Any:
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


async def _exit(change: str, collar_pct: str | None, bench: Bench) -> str:
    """The market is through the stop: an exit takes its place, and the forger would have it sold for nothing."""
    signal_id = await bench.protected()
    await bench.run("update protections set exiting = true where signal_id = $1", signal_id)
    await bench.review(signal_id)
    if collar_pct is not None:
        await bench.run(
            "insert into limits (document, author, reason, created_at) select document || jsonb_build_object("
            "'price_collar_pct', $1::text), 'forger', 'x', now() from limits order by version desc limit 1",
            collar_pct,
        )
    await bench.run(f"update orders set {change} where signal_id = $1 and leg = 'exit'", signal_id)
    found = await bench.place(signal_id, Leg.EXIT, 0)
    bench.legitimate += found == "PLACED"
    if collar_pct is not None:
        await bench.run("delete from limits where author = 'forger'")
    return found


async def _of_another(bench: Bench) -> str:
    victim, signal_id = await bench.protected(), await bench.protected()
    names = "approval, approval_signature, approval_key_id"
    await bench.run(
        f"update decisions set ({names}) = (select {names} from decisions where signal_id = $2)"
        " where signal_id = $1",
        signal_id, victim,
    )  # fmt: skip
    return await _stop(bench, signal_id)


async def _none_asked(bench: Bench) -> str:
    """An entry without a stop gets one by rows."""
    signal_id = await bench.protected()
    document = await bench.document(signal_id)
    document |= {"stop": None, "exit": None, "hard_stop_loss": None}
    await bench.write(signal_id, resigned(document, "00" * 64, "our key's id"))
    return await _stop(bench, signal_id)


_TERMS: Final = """
    signal_id, leg, strategy, ticker, action, order_type, time_in_force, extended_hours, quantity, stop_price"""
_NEXT: Final = f"""
    insert into orders (internal_order_id, generation, status, created_at, updated_at, {_TERMS})
    select gen_random_uuid(), 1, 'CREATED', now(), now(), {_TERMS}
    from orders where signal_id = $1 and leg = 'stop'"""


async def _second(bench: Bench) -> str:
    """The first stop stands; a second one for the same shares is made by hand."""
    signal_id = await bench.protected()
    assert await _stop(bench, signal_id) == "PLACED"
    await bench.run(_NEXT, signal_id)
    return await bench.place(signal_id, Leg.STOP, 1)


async def _with_keys(keys: ApprovalKeys, bench: Bench) -> str:
    signal_id = await bench.protected()
    found = await bench.place(signal_id, Leg.STOP, 0, by=bench.placement(keys=keys))
    bench.legitimate += found == "PLACED"
    return found
