"""What a sweep of the kill switch found: stored in the switch's row, told by event and audit row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from schemas.kill import KillState, OrderFate
from storage.events import append
from storage.statements import load
from storage.switches import NOTHING, activated, entry, read_state

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("switches")

Evidence: TypeAlias = Mapping[str, Any]
"""What goes into an audit row beside its own words: the requests that the broker was sent."""


async def save_sweep(
    connection: Connection,
    began: KillState,
    fates: dict[str, OrderFate],
    *,
    confirmed: bool,
    unprotected: tuple[str, ...],
    now: datetime,
    calls: Evidence = NOTHING,
) -> KillState:
    """Store what a sweep found; with its event and audit row, if what it was sent for still stands.

    ``began`` is the state it began with: an activation that came meanwhile, or a scope widened, needs a sweep of
    its own, which then tells of both. An order once named stays named until the release; of a sweep that ends after
    the release nothing but its requests is told.
    """
    await connection.fetchrow(_SQL["lock_switch"])
    before = await read_state(connection)
    if not is_same(before, began):
        if calls:
            overtaken = entry(
                "SWEEP_OVERTAKEN", "sweep", "the switch was released during the sweep", now, calls
            )
            await append(connection, overtaken)
        return before
    known = _merged(before, fates)
    stands = (before.request_id, before.scope) == (began.request_id, began.scope)
    confirmed = (confirmed if stands else before.sweep_confirmed) and all(
        fate.is_end for fate in known.values()
    )
    swept_at = now if stands else before.swept_at
    after = await _write(connection, swept_at, confirmed=confirmed, fates=known, unprotected=unprotected)
    if stands:
        told = (before.sweep_confirmed, before.fates, before.unprotected)
        news = before.swept_at is None or told != (after.sweep_confirmed, after.fates, after.unprotected)
        await _tell_sweep(connection, after, now, news=news, evidence=calls)
    return after


async def save_failure(
    connection: Connection,
    began: KillState,
    fates: dict[str, OrderFate],
    *,
    why: str,
    now: datetime,
    calls: Evidence,
) -> KillState:
    """A sweep that the broker did not let end: the requests that were made, and what may stand there.

    That is no sweep, and is not stored as one: whoever waits for the first one goes on waiting.
    """
    if calls:
        # Each request that left; a broker that cannot be reached at all is the broker halt's story.
        told = entry("SWEEP_FAILED", "sweep", f"the broker could not be asked to the end: {why}", now, calls)
        await append(connection, told)
    return await _save_names(connection, began, fates, now=now)


async def _save_names(
    connection: Connection, began: KillState, fates: dict[str, OrderFate], *, now: datetime
) -> KillState:
    """Name what may stand at a broker that cannot be asked; with event and audit row, if there is news."""
    await connection.fetchrow(_SQL["lock_switch"])
    before = await read_state(connection)
    if not is_same(before, began) or before.swept_at is not None:
        return before
    known = _merged(before, fates)
    if known == before.fates:
        return before
    after = await _write(connection, None, confirmed=False, fates=known, unprotected=before.unprotected)
    await _tell_sweep(connection, after, now, news=True, evidence={})
    return after


def is_same(state: KillState, began: KillState) -> bool:
    """Whether the switch is still engaged by what it was engaged by then."""
    return state.engaged and state.epoch == began.epoch


def _merged(before: KillState, fates: dict[str, OrderFate]) -> dict[str, OrderFate]:
    surer = {key: fate for key, fate in fates.items() if _surer(fate, before.fates.get(key))}
    return before.fates | surer


async def _write(
    connection: Connection,
    swept_at: datetime | None,
    *,
    confirmed: bool,
    fates: dict[str, OrderFate],
    unprotected: tuple[str, ...],
) -> KillState:
    text = json.dumps({key: fate.value for key, fate in fates.items()}, sort_keys=True)
    await connection.execute(_SQL["save_sweep"], swept_at, confirmed, text, list(unprotected))
    return await read_state(connection)


async def _tell_sweep(
    connection: Connection, state: KillState, now: datetime, *, news: bool, evidence: Evidence
) -> None:
    action = "ALL_OPEN_ORDERS_CANCELED" if state.sweep_confirmed else "CANCELS_NOT_ALL_CONFIRMED"
    counts = {fate.value: list(state.fates.values()).count(fate) for fate in OrderFate}
    detail = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing was open"
    if state.unprotected:
        detail += f"; UNPROTECTED: {', '.join(state.unprotected)}"
    events = (activated(state, action, now),) if news else ()
    told: Evidence = {
        "epoch": state.epoch,
        "scope": state.scope.value,
        "orders": {key: fate.value for key, fate in sorted(state.fates.items())},
        "unprotected": list(state.unprotected),
        **evidence,
    }
    await append(connection, entry(action, "sweep", detail, now, told), *events)


def _surer(fate: OrderFate, known: OrderFate | None) -> bool:
    """A broker's word of an end outranks a sweep that saw less."""
    return known is None or fate.is_end or not known.is_end


async def maybe_open(connection: Connection) -> dict[str, OrderFate]:
    """Every order of ours that may stand at the broker as far as rows can tell, by client_order_id."""
    rows = await connection.fetch(_SQL["maybe_open"])
    return {
        row["client_order_id"]: OrderFate.PENDING if row["acknowledged"] else OrderFate.UNKNOWN
        for row in rows
    }


async def ended_since(connection: Connection, engaged_at: datetime) -> dict[str, OrderFate]:
    """Orders of ours that stood at the broker and have ended since, by client_order_id."""
    return _ends(await connection.fetch(_SQL["ended_since"], engaged_at))


async def ends_of(connection: Connection, client_order_ids: Sequence[str]) -> dict[str, OrderFate]:
    """Those of these orders that have ended as far as rows can tell, by client_order_id."""
    return _ends(await connection.fetch(_SQL["ends_of"], list(client_order_ids)))


def _ends(rows: Iterable[asyncpg.Record]) -> dict[str, OrderFate]:
    return {row["client_order_id"]: OrderFate.FILLED if row["filled"] else OrderFate.CANCELED for row in rows}
