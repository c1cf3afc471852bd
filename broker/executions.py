"""The record of one order's executions: each counted once, whichever way and however often it is told.

The stream names an execution by ``execution_id``, the activity list by ``activity_id``. A repeat is
recognised by its id alone. (order, cumulative quantity, quantity, price) only joins one row of the list
to one stream execution that lacks it, of the same bust generation: after a bust the broker counts on from
less, so a later execution can repeat that key. What finds no partner is kept and counts; the order then
shows FILLS_MISSING until the sum is the broker's.
"""

from datetime import timedelta

from schemas.orders import CORRECTED_SUFFIX, Fill

JOIN_TOLERANCE = timedelta(milliseconds=1)
"""The list may round an execution's time to the millisecond."""

Fills = tuple[Fill, ...]


def add_fill(fills: Fills, fill: Fill) -> Fills:
    """The record with ``fill`` in it. At least one of its ids is set."""
    if _known(fills, fill):
        return fills
    index = _partner(fills, fill)
    if index is None:
        fills = (*fills, fill)
        index = len(fills) - 1
    else:
        joined = {
            "execution_id": fills[index].execution_id or fill.execution_id,
            "activity_id": fills[index].activity_id or fill.activity_id,
        }
        fills = _put(fills, index, fills[index].model_copy(update=joined))
    # A correction that overtook it stands in its place.
    return _take_back(fills, index) if _corrections_of(fills, fill.execution_id) else fills


def bust_fill(fills: Fills, fill: Fill) -> Fills:
    """The record after the exchange took ``fill.execution_id`` back, and with it whatever corrected that.

    It stays and counts for nothing. A bust that overtakes its execution is kept too, so that the late
    execution is known when it comes. One that only the list has told of is known by the list's id.
    """
    if fill.execution_id is None:
        return _take_back(fills, _by_activity(fills, fill.activity_id))
    if _by_execution(fills, fill.execution_id) is None:
        fills = add_fill(fills, fill)
    return _take_back_all(fills, fill.execution_id)


def correct_fill(fills: Fills, fill: Fill) -> Fills:
    """The record after the exchange corrected ``fill.execution_id`` to ``fill``'s quantity and price.

    The original stays and counts for nothing, the correction is an entry of its own. A later correction names
    the original or the correction before it: either way the latest stands. A bust outranks every correction.
    """
    corrected = _as_entry(fill)
    known = _by_execution(fills, corrected.execution_id)
    is_void = known is None and _is_taken_back(fills, fill.execution_id)
    if known is None:
        fills = _enter(fills, corrected)
    elif not fills[known].busted and fills[known].executed_at < corrected.executed_at:
        fills = _put(fills, known, corrected)
    elif fills[known].replaces is None:
        # Its bust came first, and did not say what it had corrected.
        fills = _put(fills, known, fills[known].model_copy(update={"corrects": fill.execution_id}))
    if is_void:
        fills = _take_back_all(fills, corrected.execution_id)
    elif _corrections_of(fills, corrected.execution_id):
        fills = _take_back(fills, _by_execution(fills, corrected.execution_id))
    return _settle(_take_back(fills, _by_execution(fills, fill.execution_id)), fill.execution_id)


def _as_entry(fill: Fill) -> Fill:
    """A correction as the record keeps it: under its own id, or one made of that of the original."""
    own = fill.correction_id or f"{fill.execution_id}{CORRECTED_SUFFIX}"
    return fill.model_copy(update={"execution_id": own, "correction_id": None, "corrects": fill.execution_id})


def _enter(fills: Fills, corrected: Fill) -> Fills:
    """The record with a correction in it, joined to its row of the list where that came first."""
    index = _partner(fills, corrected)
    if index is None:
        return (*fills, corrected)
    named = {"execution_id": corrected.execution_id, "corrects": corrected.corrects}
    return _put(fills, index, fills[index].model_copy(update=named))


def _settle(fills: Fills, execution_id: str | None) -> Fills:
    """Of several corrections of one execution the latest stands."""
    rivals = [fills[index] for index in _corrections_of(fills, execution_id)]
    for outdone in sorted(rivals, key=lambda each: (each.executed_at, each.execution_id or ""))[:-1]:
        fills = _take_back_all(fills, outdone.execution_id)
    return fills


def _corrections_of(fills: Fills, execution_id: str | None) -> list[int]:
    if execution_id is None:
        return []
    return [index for index, known in enumerate(fills) if known.replaces == execution_id]


def _descent(fills: Fills, execution_id: str | None) -> list[int]:
    """The entry of that id and every correction that goes back to it."""
    first = _by_execution(fills, execution_id)
    found = [] if first is None else [first]
    waiting = [execution_id]
    while waiting:
        fresh = [index for index in _corrections_of(fills, waiting.pop()) if index not in found]
        found += fresh
        waiting += [fills[index].execution_id for index in fresh]
    return found


def _is_taken_back(fills: Fills, execution_id: str | None) -> bool:
    """Whether that execution is known and counts for nothing, nor does any correction of it."""
    if _by_execution(fills, execution_id) is None:
        return False
    return all(fills[index].busted for index in _descent(fills, execution_id))


def _take_back_all(fills: Fills, execution_id: str | None) -> Fills:
    for index in _descent(fills, execution_id):
        fills = _take_back(fills, index)
    return fills


def _take_back(fills: Fills, index: int | None) -> Fills:
    if index is None or fills[index].busted:
        return fills
    return _put(fills, index, fills[index].model_copy(update={"busted": True}))


def _put(fills: Fills, index: int, fill: Fill) -> Fills:
    # Entries keep their place: storage tells new ones from changed ones by position.
    return (*fills[:index], fill, *fills[index + 1 :])


def _by_execution(fills: Fills, execution_id: str | None) -> int | None:
    if execution_id is None:
        return None
    return next((index for index, known in enumerate(fills) if known.execution_id == execution_id), None)


def _by_activity(fills: Fills, activity_id: str | None) -> int | None:
    if activity_id is None:
        return None
    return next((index for index, known in enumerate(fills) if known.activity_id == activity_id), None)


def _known(fills: Fills, fill: Fill) -> bool:
    by_execution = {known.execution_id for known in fills if known.execution_id}
    by_activity = {known.activity_id for known in fills if known.activity_id}
    return fill.execution_id in by_execution or fill.activity_id in by_activity


def _partner(fills: Fills, fill: Fill) -> int | None:
    """The one entry told the other way that ``fill`` completes.

    Of several, the one of the same instant; then a busted one, because whatever repeats its key came later.
    """

    def completes(known: Fill) -> bool:
        other_way = (fill.execution_id is None and known.activity_id is None) or (
            fill.activity_id is None and known.execution_id is None
        )
        return other_way and _key(known) == _key(fill) and _same_generation(known, fill)

    return min(
        (index for index, known in enumerate(fills) if completes(known)),
        key=lambda index: (fills[index].executed_at != fill.executed_at, not fills[index].busted),
        default=None,
    )


def _key(fill: Fill) -> tuple[object, ...]:
    return (fill.broker_order_id, fill.cumulative_quantity, fill.quantity, fill.price)


def _same_generation(known: Fill, fill: Fill) -> bool:
    """After a bust the count starts again lower, so a later execution can repeat a busted one's key."""
    return not known.busted or fill.executed_at <= known.executed_at + JOIN_TOLERANCE
