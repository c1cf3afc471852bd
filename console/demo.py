"""``trading demo``: the whole system in a minute, judged by the exchange's own ledger."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter, validators

from console.addresses import Addresses
from console.common import print_json
from console.demo_exchange import Ledger, PaperExchange
from console.demo_follow import Follower, Line
from console.demo_signals import LIMIT_TICKER, RESTING, STORY, THIN, Examples, fresh, load_examples
from console.demo_stack import stack
from console.demo_view import Screen
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage
from console.gateway import Answer, Gateway, gateway
from console.orders import ask_cancel
from console.rows import rows
from console.signal_files import SignalText
from schemas.orders import OrderStatus
from storage.events import timeline
from storage.orders import find_order, read_order

if TYPE_CHECKING:
    import asyncpg

    from console.demo_market import Replay

FIRST_SECONDS: Final = 25.0
LATER_SECONDS: Final = 20.0
STALE_AFTER_SECONDS: Final = 16.5
"""The specification's 15 s and a little: so old must a quote be before it is refused."""
TEMPORARY_PREFIX: Final = "trading-demo-"
SPEED_MAX: Final = 20
REQUESTS: Final = "--exchange-option=--requests-per-minute=6000"
"""Of the paper exchange, and with it of our own budget: many orders in a minute are what the demonstration is."""
RecordingFile = Annotated[Path, Parameter(validator=validators.Path(exists=True, dir_okay=False))]


async def demo(
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print one JSON object and nothing else.")
    ] = False,
    keep: Annotated[bool, Parameter(negative="", help="Leave everything running until Ctrl-C.")] = False,
    data_dir: Annotated[
        Path | None, Parameter(help="A folder that stays (default: a temporary one).")
    ] = None,
    topology: Annotated[
        Literal["compact", "isolated"],
        Parameter(help="isolated: each worker as its own process, with its own database role and secrets."),
    ] = "compact",
    market: Annotated[
        tuple[RecordingFile, ...],
        Parameter(help="Recorded quotes, SYMBOL-YYYYMMDD-RESOLUTION.csv.gz, as often as wanted."),
    ] = (),
    start: Annotated[
        str | None, Parameter(help="A moment of the recording, 2013-10-08T10:00:00-04:00 (default: chosen).")
    ] = None,
    speed: Annotated[
        Decimal | None,
        Parameter(
            validator=validators.Number(gt=0, lte=SPEED_MAX),
            help="Recorded seconds in a real one, at most 20 (default: 1).",
        ),
    ] = None,
) -> int:
    """Start everything, trade the examples, show what became of each, stop. Exit 1: something was wrong."""
    began = time.monotonic()
    replay = _replay(market, start, speed)
    screen = Screen(quiet=as_json)
    _stop_on_sigterm()
    with _folder(data_dir) as folder:
        screen.say(f"starting PostgreSQL, Temporal, the paper exchange, gateway and workers in {folder}")
        thin = (f"--exchange-option=--symbol={_compact(THIN)}",)
        options = (f"--topology={topology}", REQUESTS, *(thin if replay is None else replay.options))
        async with stack(folder, options, screen.child) as addresses:
            ready = time.monotonic() - began
            screen.say(f"ready after {ready:.1f} s · Temporal Web UI {addresses.get('temporal_ui')}")
            async with rows(addresses) as connection, gateway(addresses) as door:
                kind = Demonstration if replay is None else replay.demonstration
                report = await kind(addresses, connection, door, screen).run()
            report |= {
                "ready_seconds": round(ready, 2),
                "temporal_ui": addresses.get("temporal_ui"),
                "topology": topology,
            }
            if keep:
                _conclude(report, began, screen, as_json=as_json)
                screen.say(f"everything stays up until Ctrl-C; look: trading status --data-dir {folder}")
                await asyncio.Event().wait()
            screen.say("stopping everything in order")
    _conclude(report, began, screen, as_json=as_json)
    return EXIT_DONE if report["ok"] else EXIT_REFUSED


def _replay(files: tuple[Path, ...], start: str | None, speed: Decimal | None) -> "Replay | None":
    """What is played instead of a generated market.

    Raises:
        BadUsage: a file, or the start, cannot be used.
    """
    if not files:
        if start is None and speed is None:
            return None
        raise BadUsage("--start and --speed are for recorded quotes", do="name a file with --market")
    from console.demo_market import Replay

    return Replay.load(tuple(file.absolute() for file in files), start, speed or Decimal(1))


def _conclude(report: dict[str, Any], began: float, screen: Screen, *, as_json: bool) -> None:
    report["seconds"] = round(time.monotonic() - began, 2)
    if as_json:
        print_json(report)
        sys.stdout.flush()
    screen.summary(report)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _stop_on_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None, "a command runs as a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen.expanduser().absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Demonstration:
    """One run over a stack that is up."""

    def __init__(
        self, addresses: Addresses, connection: "asyncpg.Connection[Any]", door: Gateway, screen: Screen
    ) -> None:
        self._addresses = addresses
        self._connection = connection
        self._door = door
        self._screen = screen
        self._exchange = PaperExchange(addresses)
        self._follower = Follower(connection)
        self._problems: list[str] = []

    async def run(self) -> dict[str, Any]:
        """Send, follow, cancel, send more, judge."""
        began = time.monotonic()
        before = await self._exchange.ledger()
        examples = load_examples(await self._exchange.ask(LIMIT_TICKER))
        with self._screen.live():
            await self._send(examples.first)
            await self._at_the_door(examples)
            await self._first_half(examples)
            await asyncio.sleep(max(0.0, STALE_AFTER_SECONDS - (time.monotonic() - began)))
            await self._send(fresh(examples.later))
            lines = await self._follower.until(_all_ended, seconds_max=LATER_SECONDS, show=self._screen.show)
        story = await timeline(self._connection, examples.id_of(STORY))
        self._screen.story(examples.id_of(STORY), story)
        return await self._judge(lines, before)

    async def _send(self, signals: Sequence[SignalText]) -> list[Answer]:
        answers = await asyncio.gather(*(self._door.submit(each) for each in signals))
        for answer in answers:
            if not answer.accepted:
                self._problems.append(f"{answer.signal_id} was not accepted: {answer.problem()}")
        self._follower.add([answer.signal_id for answer in answers if answer.accepted])
        return list(answers)

    async def _at_the_door(self, examples: Examples) -> None:
        """A repeat is answered again and trades nothing; a broken signal is refused by field."""
        again = await self._door.submit(examples.first[0])
        if not (again.accepted and again.repeated):
            self._problems.append("a repeated signal did not get its first answer again")
        broken = await self._door.submit(examples.refused_at_the_door)
        if broken.accepted:
            self._problems.append("a broken signal was accepted")
        self._screen.door(again, broken)

    async def _first_half(self, examples: Examples) -> None:
        """Until all have ended but those that rest, which are then cancelled as an operator would."""
        resting = {examples.id_of(name) for name in RESTING}

        def only_they_rest(lines: list[Line]) -> bool:
            return all(
                line.order.status is OrderStatus.ACKNOWLEDGED if line.signal_id in resting else line.ended
                for line in lines
            )

        await self._follower.until(only_they_rest, seconds_max=FIRST_SECONDS, show=self._screen.show)
        for signal_id in sorted(resting):
            order = await read_order(self._connection, signal_id)
            await ask_cancel(self._addresses, order, "the demonstration's operator")

    async def _judge(self, lines: list[Line], before: Ledger) -> dict[str, Any]:
        """Compare what we say with what the exchange wrote down."""
        taken = (await self._exchange.ledger()).since(before)
        ours = {line.order.client_order_id for line in lines if line.order.broker_order_id is not None}
        for line in lines:
            if not line.ended:
                self._problems.append(f"{line.signal_id} has not ended: {line.order.status.value}")
        self._problems += [f"{each} is not in the exchange's ledger" for each in ours if each not in taken]
        for each in taken:
            if each not in ours and await find_order(self._connection, "", each) is None:
                self._problems.append(f"the exchange holds {each}, which is nobody's")
        duplicates = sum(count - 1 for count in taken.values())
        if duplicates:
            self._problems.append(f"{duplicates} duplicate orders at the exchange")
        reasons = Counter(
            reason
            for line in lines
            if line.order.status is OrderStatus.REJECTED
            for reason in (line.order.reason or "UNKNOWN").split(",")
        )
        return {
            "ok": not self._problems,
            "signals": len(lines),
            "outcomes": dict(Counter(line.order.status.value for line in lines)),
            "rejections": dict(reasons.most_common()),
            "broker_orders": sum(count for each, count in taken.items() if each in ours),
            "duplicates": duplicates,
            "problems": self._problems,
        }


def _all_ended(lines: list[Line]) -> bool:
    return all(line.ended for line in lines)
