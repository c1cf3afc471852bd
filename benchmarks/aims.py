"""What the figures of one run are held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.names import BONES, EQUAL, OURS, PLAIN_STOCK

FLOOR_RATIO_MAX: Final = 1.5
PLAIN_RATIO_MIN: Final = 3.0
EVENTS_MAX: Final = 40
COMMAND_SECONDS_MAX: Final = 0.3
COMMANDS: Final = ("trading --help", "trading status")


@dataclass(frozen=True)
class Aim:
    """One of them; ``found`` is None where nothing was measured."""

    what: str
    aim: str
    found: float | None
    met: bool | None

    @property
    def word(self) -> str:
        """For people."""
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


def aims(parts: Mapping[str, Any]) -> list[Aim]:
    """Each aim with what was found."""
    ours, floor, plain = (_post(parts, name) for name in (OURS, EQUAL, PLAIN_STOCK))
    row = _row(parts, OURS)
    events = None if row is None else row["history_events"]
    commands = {
        each["command"]: each["seconds_p50"] for each in parts.get("start", {}).get("command_line", ())
    }
    return [
        _at_most("compact, POST p50: ours / floor with our commits", _ratio(ours, floor), FLOOR_RATIO_MAX, "×"),
        _at_least("the same: plain, our steps, stock server / ours", _ratio(plain, ours), PLAIN_RATIO_MIN, "×"),
        _at_most("history events of a completed order", events, EVENTS_MAX, "events"),
        *(_at_most(each, commands.get(each), COMMAND_SECONDS_MAX, "s") for each in COMMANDS),
    ]  # fmt: skip


def bounds(parts: Mapping[str, Any]) -> list[str]:
    """What either ratio of the aims would be in milliseconds, beside what those take that check nothing."""
    floor, bones, plain = (_post(parts, name) for name in (EQUAL, BONES, PLAIN_STOCK))
    if floor is None or bones is None or plain is None:
        return []
    return [
        f"{FLOOR_RATIO_MAX:g} × the floor with our commits is a POST after {FLOOR_RATIO_MAX * floor:.1f} ms. Our "
        f"workflow with nothing in its steps but their commits has it after {bones:.1f} ms.",
        f"{PLAIN_RATIO_MIN:g} × faster than the plain pipeline is a POST after {plain / PLAIN_RATIO_MIN:.1f} ms. "
        f"The floor with our commits, one step without any check, has it after {floor:.1f} ms.",
    ]


def _row(parts: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    rows = parts.get("compact", {}).get("latency", {}).get("rows", ())
    return next((each for each in rows if each["contender"] == name and "failed" not in each), None)


def _post(parts: Mapping[str, Any], name: str) -> float | None:
    row = _row(parts, name)
    return None if row is None else float(row["post_ms"]["p50"])


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else round(one / other, 2)


def _at_most(what: str, found: float | None, limit: float, unit: str) -> Aim:
    return Aim(what, f"≤ {limit:g} {unit}", found, None if found is None else found <= limit)


def _at_least(what: str, found: float | None, limit: float, unit: str) -> Aim:
    return Aim(what, f"≥ {limit:g} {unit}", found, None if found is None else found >= limit)
