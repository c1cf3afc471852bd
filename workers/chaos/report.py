"""What a run came to: numbers by name, and every reason why the verdict is not good."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """``figures`` are printed in their order; the verdict is good when nothing is ``wrong``."""

    kind: str
    figures: dict[str, Any]
    wrong: tuple[str, ...] = field(default=())

    @property
    def good(self) -> bool:
        return not self.wrong


def too_long(seconds: float, minutes_max: int) -> list[str]:
    """Why a whole run counts for nothing that took longer than it may."""
    return [f"it took {seconds / 60:.1f} minutes of {minutes_max}"] if seconds > 60 * minutes_max else []


def emit(report: Report, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        verdict = {"kind": report.kind, **report.figures, "good": report.good, "wrong": list(report.wrong)}
        print(json.dumps(verdict))
        return
    width = max(map(len, report.figures), default=0)
    for name, value in report.figures.items():
        print(f"  {name:<{width}}  {value if isinstance(value, str) else json.dumps(value)}")
    for reason in report.wrong:
        print(f"  WRONG: {reason}")
    print("good" if report.good else "NOT GOOD")
