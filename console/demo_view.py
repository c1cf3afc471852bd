"""What the demonstration shows: a live table at a terminal, the same once at the end elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from console.common import clean, console, table, utc_now
from console.gateway import Answer
from console.views import draw_timeline, money, shares
from schemas.signals import TimelineEntry

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from console.demo_follow import Line

COLUMNS: Final = (
    "signal", "side", "ticker", "risk", "pre-trade", "order", "filled", "average", "elapsed", "why",
)  # fmt: skip
NUMBERS: Final = ("filled", "average", "elapsed")
REDRAWS_PER_SECOND: Final = 5


class Screen:
    """Everything a person sees; with ``quiet`` nothing at all."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = console()
        self._live: Live | None = None
        self._lines: list[Line] = []

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(clean(text), flush=True)

    def child(self, event: dict[str, Any]) -> None:
        """A server of the stack came up, or did not."""
        if event.get("state") != "started":
            self.say(f"  {event.get('child')}: {event.get('state')} {event.get('detail') or ''}".rstrip())

    @contextmanager
    def live(self) -> Iterator[None]:
        """The table, redrawn in place at a terminal, printed once at the end elsewhere."""
        if self._quiet:
            yield
        elif self._console.is_terminal:
            from rich.live import Live

            with Live(console=self._console, refresh_per_second=REDRAWS_PER_SECOND) as live:
                self._live = live
                yield
                self._live = None
        else:
            yield
            self._console.print(_table(self._lines))

    def show(self, lines: "list[Line]") -> None:
        """The signals as they stand."""
        self._lines = lines
        if self._live is not None:
            self._live.update(_table(lines))

    def door(self, again: Answer, broken: Answer) -> None:
        """What the gateway itself answered to a repeat and to a broken signal."""
        if not self._quiet:
            target = self._live.console if self._live is not None else self._console
            target.print(f"  sent again: {again.signal_id} got its first answer again ({again.status})")
            target.print(f"  refused at the door ({broken.status}): {clean(broken.problem())}")

    def story(self, signal_id: str, entries: Sequence[TimelineEntry]) -> None:
        """One order from proposal to last fill."""
        if not self._quiet:
            print(f"the story of {signal_id}:")
            draw_timeline(entries)

    def summary(self, report: dict[str, Any]) -> None:
        """The judgement."""
        self.say(f"{report['signals']} signals: {_counts(report['outcomes'])}")
        self.say(f"refused because of: {_counts(report['rejections'])}")
        self.say(
            f"the exchange's ledger: {report['broker_orders']} orders, {report['duplicates']} duplicates"
            f" · {report['seconds']} s in all"
        )
        if "market" in report:
            for scene in report["market"]["scenes"]:
                self.say(f"played: {scene['scene']}, {scene['at']}")
            self.say(
                f"recorded quotes: {report['fills']} fills, {report['fills_outside_quotes']} outside of them"
                f" · {len(report['spread_refusals'])} signals refused for their spread"
            )
        for problem in report["problems"]:
            self.say(f"WRONG: {problem}")
        self.say("all is as it must be" if report["ok"] else "something was NOT as it must be")


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "none"


def _first(reasons: str) -> str:
    """The first reason and how many more there are; ``trading signal show`` has each with its arithmetic."""
    first, *more = reasons.split(",")
    return f"{first} +{len(more)}" if more else first


def _table(lines: "list[Line]") -> "Table":
    now = utc_now()
    drawn = []
    for line in lines:
        order = line.order
        drawn.append((
            line.signal_id, f"{order.action.words} {shares(order.quantity)}", order.ticker, line.risk,
            line.pre_trade, order.status.value, shares(order.filled_quantity), money(order.average_price),
            f"{line.elapsed_seconds(now):.2f} s", _first(order.reason or ""),
        ))  # fmt: skip
    return table(COLUMNS, drawn, right=NUMBERS)
