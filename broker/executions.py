"""The record of one order's executions: each counted once, whichever way and however often it is told.

The stream names an execution by ``execution_id``, the activity list by ``activity_id``. A repeat is
recognised by its id alone. (order, cumulative quantity, quantity, price) only joins one row of the list
to one stream execution that lacks it. Rows that share that key count the same shares at the same price,
so which of them is joined to which never changes a total.
"""

from collections.abc import Callable
from datetime import timedelta

from schemas.orders import Fill

JOIN_TOLERANCE = timedelta(milliseconds=1)
"""The list may round an execution's time to the millisecond."""

_CORRECTED = "/corrected"

Fills = tuple[Fill, ...]


def add_fill(fills: Fills, fill: Fill) -> Fills:
    """The record with ``fill`` in it. At least one of its ids is set."""
    if _known(fills, fill):
        return fills
    index = _partner(fills, fill)
    if index is None:
        return (*fills, fill)
    joined = fills[index].model_copy(
        update={
            "execution_id": fills[index].execution_id or fill.execution_id,
            "activity_id": fills[index].activity_id or fill.activity_id,
        }
    )
    return _put(fills, index, joined)


def bust_fill(fills: Fills, fill: Fill) -> Fills:
    """The record after the exchange took ``fill.execution_id`` back. It stays, and counts for nothing.

    A bust that overtakes its execution is kept too, so that the late execution is known when it comes.
    """
    index = _by_execution(fills, fill.execution_id)
    if index is None:
        fills = add_fill(fills, fill)
        index = _by_execution(fills, fill.execution_id)
    if index is None or fills[index].busted:
        return fills
    return _put(fills, index, fills[index].model_copy(update={"busted": True}))


def correct_fill(fills: Fills, fill: Fill) -> Fills:
    """The record after the exchange corrected ``fill.execution_id`` to ``fill``'s quantity and price.

    The original stays as busted, the correction is an entry of its own; of several the latest stands.
    """
    original = _by_execution(fills, fill.execution_id)
    fills = bust_fill(fills, fill if original is None else fills[original])
    corrected = fill.model_copy(update={"execution_id": f"{fill.execution_id}{_CORRECTED}"})
    index = _by_execution(fills, corrected.execution_id)
    if index is None:
        return (*fills, corrected)
    if fills[index].executed_at >= corrected.executed_at:
        return fills
    return _put(fills, index, corrected)


def _put(fills: Fills, index: int, fill: Fill) -> Fills:
    return (*fills[:index], fill, *fills[index + 1 :])


def _by_execution(fills: Fills, execution_id: str | None) -> int | None:
    return _first(fills, lambda known: known.execution_id == execution_id)


def _known(fills: Fills, fill: Fill) -> bool:
    by_execution = {known.execution_id for known in fills if known.execution_id}
    by_activity = {known.activity_id for known in fills if known.activity_id}
    return fill.execution_id in by_execution or fill.activity_id in by_activity


def _partner(fills: Fills, fill: Fill) -> int | None:
    """The one entry told the other way that ``fill`` completes; the one of the same instant before others."""

    def completes(known: Fill) -> bool:
        other_way = (fill.execution_id is None and known.activity_id is None) or (
            fill.activity_id is None and known.execution_id is None
        )
        return other_way and _key(known) == _key(fill) and _same_generation(known, fill)

    same_instant = _first(fills, lambda known: completes(known) and known.executed_at == fill.executed_at)
    return same_instant if same_instant is not None else _first(fills, completes)


def _key(fill: Fill) -> tuple[object, ...]:
    return (fill.broker_order_id, fill.cumulative_quantity, fill.quantity, fill.price)


def _same_generation(known: Fill, fill: Fill) -> bool:
    """After a bust the count starts again lower, so a later execution can repeat a busted one's key."""
    return not known.busted or fill.executed_at <= known.executed_at + JOIN_TOLERANCE


def _first(fills: Fills, wanted: Callable[[Fill], bool]) -> int | None:
    return next((index for index, known in enumerate(fills) if wanted(known)), None)
