"""``trading signal submit``: one signal by options, or many from a file or standard input."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from console.common import NO_OPTIONS, Common, console, print_json, table, utc_now
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage, DependencyDown
from console.gateway import Answer, Gateway, gateway
from console.signal_files import SignalText, as_text, read_signals

WAIT_SECONDS: Final = 60.0
SHOWN_MAX: Final = 10
POLL_SECONDS: Final = 0.2
POLL_SECONDS_MAX: Final = 2.0
COLUMNS: Final = ("signal", "gateway", "order", "filled", "average", "what")

_SIGNAL: Final = Group("One signal")
_TYPES: Final = {
    (False, False): "MARKET",
    (False, True): "LIMIT",
    (True, False): "STOP",
    (True, True): "STOP_LIMIT",
}
"""By whether a stop price and a limit price were given."""


@Parameter(name="*", group=_SIGNAL)
@dataclass(frozen=True, kw_only=True)
class OneSignal:
    """The fields of one signal; the gateway judges their values."""

    signal_id: str | None = None
    strategy: str | None = None
    ticker: str | None = None
    action: Annotated[
        str | None, Parameter(help="BUY_TO_OPEN, SELL_TO_CLOSE, SELL_TO_OPEN or BUY_TO_CLOSE.")
    ] = None
    quantity: Annotated[str | None, Parameter(help="Whole shares.")] = None
    order_type: Annotated[
        str | None,
        Parameter(name="--type", help="MARKET, LIMIT, STOP or STOP_LIMIT; default by the prices given."),
    ] = None
    limit_price: str | None = None
    stop_price: Annotated[str | None, Parameter(help="Where a STOP or STOP_LIMIT begins to work.")] = None
    time_in_force: Annotated[str | None, Parameter(help="DAY (default), GTC, IOC or FOK.")] = None
    hard_stop_loss: str | None = None
    extended_hours: Annotated[bool, Parameter(negative="")] = False
    valid_until: Annotated[str | None, Parameter(help="E.g. 2026-11-23T15:15:00Z.")] = None
    rationale: str | None = None

    def fields(self) -> dict[str, Any]:
        """What was given."""
        given = {name: value for name, value in vars(self).items() if value not in (None, False)}
        if given:
            given.setdefault("order_type", _TYPES["stop_price" in given, "limit_price" in given])
        return given


@dataclass
class Sent:
    """One signal's way so far."""

    signal_id: str
    answer: Answer
    view: dict[str, Any] | None = None
    """What the gateway last said of it, where it was waited for."""

    @property
    def order(self) -> dict[str, Any]:
        """Its order, empty where it was not waited for."""
        return {} if self.view is None else dict(self.view["order"])

    @property
    def settled(self) -> bool:
        """Nothing more will happen to it, as far as can be asked."""
        return not self.answer.accepted or bool(self.order.get("settled"))

    @property
    def refused(self) -> bool:
        """By the gateway, by risk, before placing, or by the broker."""
        return not self.answer.accepted or self.order.get("status") in ("REJECTED", "FATAL_ERROR")

    def as_json(self) -> dict[str, Any]:
        """One JSON line."""
        accepted = None if self.answer.lost else self.answer.accepted
        found: dict[str, Any] = {"signal_id": self.signal_id, "accepted": accepted}
        if self.answer.accepted:
            found["repeated"] = self.answer.repeated
            found["workflow_id"] = self.answer.body.get("workflow_id")
        else:
            found["error"] = self.answer.error
        if self.view is not None:
            found["order"] = self.order
        return found

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        order = self.order
        if not self.answer.accepted:
            state = "unknown" if self.answer.lost else "refused"
            return (self.signal_id, state, "", "", "", self.answer.problem())
        state = "accepted again" if self.answer.repeated else "accepted"
        what = order.get("user_message") or order.get("reason") or ""
        return (
            self.signal_id, state, order.get("status", ""), order.get("filled_quantity", ""),
            order.get("average_price") or "", what,
        )  # fmt: skip


def submit(
    source: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="JSON file of signals, or - for standard input."),
    ] = None,
    /,
    *,
    signal: OneSignal = OneSignal(),
    wait: Annotated[bool, Parameter(negative="", help="Wait until each order has ended.")] = False,
    wait_seconds: Annotated[
        float, Parameter(validator=Number(gt=0, lte=86_400), help="How long at most.")
    ] = WAIT_SECONDS,
    common: Common = NO_OPTIONS,
) -> int:
    """Send signals to the gateway. Exit 1 if any was refused, or with --wait has not ended in time.

    Sending the same file again is safe as long as its signals carry their ids, and one signal by options if
    --signal-id is given: what was taken before is answered "accepted again" and trades nothing more.
    """
    # Read outside any event loop: there, Ctrl-C could not interrupt it.
    signals = _signals(source, signal)
    return asyncio.run(_submit(common, signals, wait_seconds if wait else None))


async def _submit(common: Common, signals: Sequence[SignalText], wait_seconds: float | None) -> int:
    async with gateway(common.addresses()) as door:
        answers = await asyncio.gather(*(door.submit(each) for each in signals))
        sent = [Sent(each.signal_id, answer) for each, answer in zip(signals, answers, strict=True)]
        try:
            if wait_seconds is not None:
                await _follow(door, sent, wait_seconds)
        except asyncio.CancelledError:
            _show(common, sent, "interrupted")
            raise
    still_open = wait_seconds is not None and any(not each.settled for each in sent)
    _show(common, sent, f"not ended within {wait_seconds:g} s" if still_open else "")
    lost = [each.signal_id for each in sent if each.answer.lost]
    if lost:
        raise DependencyDown(
            f"{len(lost)} of {len(sent)} signals have no answer and may be taken: {', '.join(lost[:SHOWN_MAX])}",
            do="look with `trading signal show ID`; to send one again, give the same id (--signal-id ID)",
        )
    return EXIT_REFUSED if still_open or any(each.refused for each in sent) else EXIT_DONE


def _show(common: Common, sent: Sequence[Sent], why_open: str) -> None:
    """What is known of each; ``why_open`` says why the waiting is over before all have ended."""
    if common.json:
        for each in sent:
            print_json(each.as_json())
        return
    console().print(table(COLUMNS, [each.row() for each in sent], right=("filled", "average")))
    if why_open and any(not each.settled for each in sent):
        sys.stderr.write(f"{why_open}: what was accepted goes on; look with `trading signal show ID`\n")


def _signals(source: str | None, signal: OneSignal) -> list[SignalText]:
    fields = signal.fields()
    if source is not None and fields:
        raise BadUsage("give a file or the fields of one signal, not both")
    if source is not None:
        return read_signals(source, utc_now())
    if not fields:
        raise BadUsage(
            "no signal given", do="a file, - for stdin, or --strategy --ticker --action --quantity"
        )
    return [as_text(fields, utc_now())]


async def _follow(door: Gateway, sent: list[Sent], seconds: float) -> None:
    """Ask for every accepted signal until it is settled, ever more slowly."""
    deadline = time.monotonic() + seconds
    pause = POLL_SECONDS
    while open_ones := [each for each in sent if not each.settled]:
        await asyncio.gather(*(_look(door, each) for each in open_ones))
        if time.monotonic() > deadline:
            return
        if any(not each.settled for each in open_ones):
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, POLL_SECONDS_MAX)


async def _look(door: Gateway, each: Sent) -> None:
    each.view = await door.signal(each.signal_id)
