"""``trading kill --direct``: cancel at the broker from here, while anything else may be down.

The one command that reads the broker's keys, with the rights of whoever runs it, and it can only read and cancel.
The row is tried all the while: only what is committed there keeps new orders from leaving once the database is
back. Without the database nothing is placed, because a placement needs it for its fence.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from activities.kill_cancel import Canceller, Orders, Seen, closes_a_position
from broker.errors import BrokerError
from broker.told import BrokerCall, evidence, hearing
from console.addresses import Addresses
from console.broker_keys import broker_pair
from console.common import Common, clean, emit, utc_now
from console.errors import EXIT_DEPENDENCY, EXIT_DONE, EXIT_REFUSED, DependencyDown, Refused
from console.kill_steps import engage, fence_text, signal_switch, wait_for_fence
from console.rows import rows
from schemas.kill import KillCommand, KillState, OrderFate
from schemas.live import LIVE_MODE_WORD
from schemas.orders import BrokerOrder
from storage.commits import committing
from storage.events import append
from storage.fence import UNANSWERED_GRACE_SECONDS, Fence
from storage.placement import POSTING_SECONDS
from storage.switches import entry as switch_entry
from storage.switches import read_state

if TYPE_CHECKING:
    from broker.port import BrokerReader

BROKER_URL_VARIABLE: Final = "TRADING_BROKER_TRADING_URL"
LIVE_VARIABLES: Final = ("LIVE_MODE", "TRADING_LIVE_MODE")
RETRY_SECONDS: Final = 2.0
"""Three requests a round: below what the broker takes from one account in a minute."""
WORKERS_SWEEP_SECONDS: Final = 5.0
WORKERS_POLL_SECONDS: Final = 0.2
LATE_POST_SECONDS: Final = POSTING_SECONDS + UNANSWERED_GRACE_SECONDS
"""Not engaged, this is how long an order that was leaving when the database died may still arrive."""


@dataclass
class _Outcome:
    """What is known so far."""

    state: KillState | None = None
    """None: not engaged."""
    fence: Fence = field(default_factory=lambda: Fence(free=False))
    signalled: bool = False
    database: str = "not tried"
    broker: str | None = None
    """Why the broker could not be asked the last time it was."""
    seen: Seen | None = None
    tried_seconds: float = 0.0
    recorded: bool = False
    """The cancels asked for from here are in the audit log."""


async def kill_direct(common: Common, addresses: Addresses, command: KillCommand, seconds: float) -> int:
    """Cancel everything in scope at once, engage as soon as that can be done, tell every order's fate.

    Returns:
        0 engaged and every cancel confirmed; 1 engaged, something is not certain; 3 NOT engaged, or the broker
        does not answer.

    Raises:
        CommandFailed: there are no keys, or no address to use them at.
    """
    broker = _reader(addresses)
    began = time.monotonic()
    deadline = began + seconds
    found = _Outcome()
    engaging = asyncio.create_task(_until_engaged(common, addresses, command, found, deadline))
    canceller = Canceller(broker, command.scope, _keeps(broker))
    seen: Orders = {}
    try:
        with hearing() as calls:
            while True:
                # Asked before the cancel: what left until then is in its sight.
                settled = engaging.done()
                found.broker = await _cancel(canceller, seen)
                if settled and (found.broker is None or time.monotonic() >= deadline):
                    break
                await asyncio.wait((engaging,), timeout=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS if settled else 0)
            await _confirm(canceller, seen, found)
        await _record(addresses, command, found, calls)
        await _add_the_workers_own(addresses, found)
    finally:
        engaging.cancel()
        await asyncio.gather(engaging, return_exceptions=True)
        await broker.close()
    found.tried_seconds = time.monotonic() - began
    emit(common, _told(found), lambda: _draw(found))
    return _exit_code(found)


async def _until_engaged(
    common: Common, addresses: Addresses, command: KillCommand, found: _Outcome, deadline: float
) -> None:
    while found.state is None:
        try:
            found.state = await engage(addresses, command)
        except Exception as down:  # noqa: BLE001 - whatever it is, the switch is not engaged
            found.database = str(down) or type(down).__name__
            if time.monotonic() + RETRY_SECONDS >= deadline:
                return
            await asyncio.sleep(RETRY_SECONDS)
    if not common.json:
        print(f"ENGAGED · epoch {found.state.epoch}", flush=True)
    found.signalled = await signal_switch(addresses, command)
    found.fence = await wait_for_fence(addresses)


async def _cancel(canceller: Canceller, seen: Orders) -> str | None:
    """One round; what went wrong with it, if anything."""
    try:
        seen |= await canceller.cancel_open()
    except BrokerError as error:
        return f"{error.code}: {error.message}"
    return None


async def _confirm(canceller: Canceller, seen: Orders, found: _Outcome) -> None:
    try:
        found.seen = await canceller.confirm(seen, lambda _: None)
    except BrokerError as error:
        found.broker = f"{error.code}: {error.message}"
        fates = {each.client_order_id: OrderFate.UNKNOWN for each in seen.values()}
        found.seen = Seen(fates, None)


async def _record(
    addresses: Addresses, command: KillCommand, found: _Outcome, calls: Sequence[BrokerCall]
) -> None:
    """Put what was asked of the broker into the audit log, if there is a database: nothing waits for it."""
    import asyncpg

    assert found.seen is not None, "confirmed before"
    told = {
        "command": command.model_dump(mode="json"),
        "orders": {key: fate.value for key, fate in sorted(found.seen.fates.items())},
        **evidence([call for call in calls if call.may_change]),
    }
    answered = found.broker or "answered"
    detail = f"{len(found.seen.fates)} open orders seen from the command line; the broker: {answered}"
    entry = switch_entry("DIRECT_SWEEP", command.triggered_by, detail, utc_now(), told)
    with suppress(DependencyDown, asyncpg.PostgresError):
        async with rows(addresses) as connection, committing(connection, "console.kill_direct"):
            await append(connection, entry)
        found.recorded = True


async def _add_the_workers_own(addresses: Addresses, found: _Outcome) -> None:
    """What their sweep has cancelled meanwhile was not open any more when we looked.

    Where we have found nothing they may be about to tell of it: it is waited for a moment.
    """
    import asyncpg

    if found.state is None or found.seen is None:
        return
    with suppress(DependencyDown, asyncpg.PostgresError):
        async with rows(addresses) as connection:
            state = await read_state(connection)
            deadline = time.monotonic() + WORKERS_SWEEP_SECONDS
            while not found.seen.fates and state.swept_at is None and time.monotonic() < deadline:
                await asyncio.sleep(WORKERS_POLL_SECONDS)
                state = await read_state(connection)
        found.seen = replace(found.seen, fates={**state.fates, **found.seen.fates})


def _keeps(broker: "BrokerReader") -> Any:
    """Which orders ``risk_adding`` leaves alone, by the broker's word alone: rows may be out of reach."""

    async def protective(orders: Sequence[BrokerOrder]) -> frozenset[str]:
        positions = await broker.get_positions()
        return frozenset(each.broker_order_id for each in orders if closes_a_position(each, positions))

    return protective


def _reader(addresses: Addresses) -> "BrokerReader":
    from broker.alpaca.client import AlpacaReader
    from broker.alpaca.hosts import ALPACA_LIVE, PAPER_STREAM_URL, HostRefused
    from broker.alpaca.scope import KeyScopeRefused, check_scope
    from broker.alpaca.settings import AlpacaSettings

    url = os.environ.get(BROKER_URL_VARIABLE) or addresses.get("exchange_url")
    if url is None:
        raise DependencyDown(
            f"the broker's address is not known: nothing runs in {addresses.data_dir}",
            do=f"name the installation's folder with --data-dir, or set {BROKER_URL_VARIABLE}",
        )
    url, pair = url.rstrip("/"), broker_pair(addresses)
    is_live = url == ALPACA_LIVE.trading_url
    try:
        check_scope(pair.key_id.get_secret_value(), url)
        settings = AlpacaSettings(
            key_id=pair.key_id,
            secret_key=pair.secret_key,
            trading_url=url,
            stream_url=ALPACA_LIVE.stream_url if is_live else PAPER_STREAM_URL,
            # It reads and cancels: no grant is asked for what stops trading.
            live_set_up=is_live and _asks_for_live(),
            live_hosts=ALPACA_LIVE,
        )
    except (HostRefused, KeyScopeRefused) as error:
        do = f"set {LIVE_VARIABLES[0]}={LIVE_MODE_WORD}" if is_live else f"correct {BROKER_URL_VARIABLE}"
        raise Refused(str(error), do=do) from error
    return AlpacaReader(settings)


def _asks_for_live() -> bool:
    """As the processes read it: under either name, and where both are set both say so."""
    said = {os.environ[name] for name in LIVE_VARIABLES if os.environ.get(name)}
    return said == {LIVE_MODE_WORD}


def _exit_code(found: _Outcome) -> int:
    if found.state is None or found.broker is not None or found.seen is None:
        return EXIT_DEPENDENCY
    certain = found.fence.free and all(fate.is_end for fate in found.seen.fates.values())
    return EXIT_DONE if certain else EXIT_REFUSED


def _told(found: _Outcome) -> dict[str, object]:
    seen = found.seen
    return {
        "engaged": found.state is not None,
        "epoch": None if found.state is None else found.state.epoch,
        "message": "ENGAGED" if found.state is not None else f"NOT ENGAGED: {found.database}",
        "signalled": found.signalled,
        "fenced": found.fence.free,
        "waiting_for": list(found.fence.waiting_for),
        "broker": found.broker or "answered",
        "fates": {} if seen is None else {key: fate.value for key, fate in sorted(seen.fates.items())},
        "recorded": found.recorded,
        "unprotected": None if seen is None or seen.unprotected is None else list(seen.unprotected),
    }


def _draw(found: _Outcome) -> None:
    if found.state is None:
        print(f"NOT ENGAGED: {clean(found.database)}")
        print("  nothing is placed while the database is down; run this again until it says ENGAGED")
        if found.tried_seconds < LATE_POST_SECONDS:
            print(f"  an order that was leaving may still arrive: look again after {LATE_POST_SECONDS:g} s")
    else:
        print(fence_text(found.fence))
        if not found.signalled:
            print("Temporal does not answer: the workers' own watchers go on sweeping, where they run")
    if not found.recorded:
        print("the cancels asked for from here are not in the audit log: the database did not take them")
    if found.broker is not None:
        print(f"THE BROKER DID NOT ANSWER: {clean(found.broker)}; cancel on its own page")
    fates = {} if found.seen is None else found.seen.fates
    print(f"{len(fates)} open orders found")
    for order_id, fate in sorted(fates.items()):
        print(f"  {clean(order_id)}  {fate.value}")
    if found.seen is not None and found.seen.unprotected:
        print(f"UNPROTECTED, held without a stop: {clean(', '.join(found.seen.unprotected))}")
