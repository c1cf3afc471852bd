"""``trading kill``: the row first, Temporal second."""

import asyncio
import time
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, clean, emit
from console.errors import EXIT_DEPENDENCY, EXIT_DONE, EXIT_REFUSED, DependencyDown
from console.kill_steps import command_of, engage, fence_text, signal_switch, wait_for_fence
from console.rows import rows
from schemas.kill import KillCommand, KillScope, KillState
from storage import switches
from storage.fence import Fence

SWEEP_WAIT_SECONDS: Final = 30.0
"""The design allows a sweep 60 s; past this the person is told to look at `trading status`."""
SWEEP_POLL_SECONDS: Final = 0.25


async def kill(
    *,
    reason: Annotated[
        str, Parameter(help="Why. The first one is shown until the release; every one is audited.")
    ] = "no reason given",
    scope: Annotated[
        KillScope, Parameter(help="all: cancel every order; risk-adding: keep protective stops.")
    ] = KillScope.ALL,
    direct: Annotated[
        bool,
        Parameter(
            negative="",
            help="Cancel at the broker from here, with the installation's keys: for when Temporal, its workers or "
            "the database are down.",
        ),
    ] = False,
    wait_seconds: Annotated[
        float,
        Parameter(
            validator=Number(gte=0, lte=3600),
            help="How long to wait for the sweep's word; with --direct also how long to try to engage.",
        ),
    ] = SWEEP_WAIT_SECONDS,
    common: Common = NO_OPTIONS,
) -> int:
    """Engage the kill switch: no new orders, and cancel the open ones.

    Exit 0: engaged, and no order that began before can still leave. Exit 1: engaged, but that is not certain, or
    with --direct not every cancel is confirmed. Exit 3: NOT engaged, the database did not confirm it.
    """
    addresses = common.addresses()
    command = command_of(reason, scope)
    if direct:
        from console.kill_direct import kill_direct

        return await kill_direct(common, addresses, command, wait_seconds)
    if addresses.get("database_url") is None:
        # Not the installation that was meant, most likely: nothing reassuring may be said of it.
        addresses.need("database_url")
    try:
        state = await engage(addresses, command)
    except DependencyDown as down:
        return await _by_signal_alone(common, addresses, command, down)
    if not common.json:
        print(f"ENGAGED · epoch {state.epoch} · waiting for orders that are leaving right now", flush=True)
    signalled = await signal_switch(addresses, command)
    if not signalled and not common.json:
        print("Temporal does not answer: the workers' own watchers sweep instead", flush=True)
    fence = await wait_for_fence(addresses)
    if not common.json:
        print(fence_text(fence), flush=True)
    state = await _swept(addresses, state, wait_seconds)
    emit(common, _told(state, fence, signalled=signalled), lambda: _draw_sweep(state))
    return EXIT_DONE if fence.free else EXIT_REFUSED


def _told(state: KillState, fence: Fence, *, signalled: bool) -> dict[str, object]:
    return state.model_dump(mode="json") | {
        "signalled": signalled,
        "confirmed": True,
        "fenced": fence.free,
        "waiting_for": list(fence.waiting_for),
        "fence_held_by": [each.model_dump(mode="json") for each in fence.held_by],
    }


async def _by_signal_alone(
    common: Common, addresses: Addresses, command: KillCommand, down: DependencyDown
) -> int:
    signalled = await signal_switch(addresses, command)
    if signalled:
        text = "NOT CONFIRMED: the signal was sent, the database did not take it"
    else:
        text = "NOT ENGAGED: neither the database nor Temporal took it"
    note = (
        "run `trading kill --direct`: it cancels at the broker from here and engages as soon as the database"
        " takes it. Without its database this installation places nothing"
    )
    data = {"confirmed": False, "signalled": signalled, "message": text, "cause": down.what, "do": note}

    def draw() -> None:
        print(f"{text} ({down.what})\n  what to do: {note}")

    emit(common, data, draw)
    return EXIT_DEPENDENCY


async def _swept(addresses: Addresses, state: KillState, seconds: float) -> KillState:
    """Wait for the sweep's own word, at most that long."""
    deadline = time.monotonic() + seconds
    try:
        async with rows(addresses) as connection:
            while time.monotonic() < deadline:
                state = await switches.read_state(connection)
                if not state.engaged or (state.swept_at is not None and state.sweep_confirmed):
                    break
                await asyncio.sleep(SWEEP_POLL_SECONDS)
    except DependencyDown:
        return state  # It is engaged: that was committed. What the sweep did is not known.
    return state


def _draw_sweep(state: KillState) -> None:
    if state.swept_at is None:
        print("sweep: nothing recorded yet; look with `trading status`, or run `trading kill --direct`")
    elif not state.sweep_confirmed:
        print("sweep: NOT all confirmed; it goes on each minute, look again with `trading status`")
    else:
        print(f"sweep: confirmed, {len(state.fates)} open orders found")
    for order_id, fate in sorted(state.fates.items()):
        print(f"  {clean(order_id)}  {fate.value}")
    if state.unprotected:
        print(f"UNPROTECTED, held without a stop: {clean(', '.join(state.unprotected))}")
