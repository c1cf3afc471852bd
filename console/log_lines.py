"""Log lines as they are found again: parsed, merged by time, and told whose order they speak of."""

import asyncio
import heapq
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from console.errors import BadUsage
from observability.log_files import files_of
from schemas.wire import signal_of_workflow

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
ID_FIELDS: Final = ("signal_id", "internal_order_id", "client_order_id", "broker_order_id")
LINE_BYTES_MAX: Final = 1024 * 1024
"""A longer one is none of ours."""
PASSES_MAX: Final = 4
"""Over the same lines, until no new id of the order is learnt."""
FOLLOW_SECONDS: Final = 0.3
OLDEST: Final = datetime.min.replace(tzinfo=UTC)

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Line:
    """One line of a log: when, what a JSON object of ours it holds, and who wrote it."""

    at: datetime
    fields: dict[str, Any]
    process: str
    raw: str

    @property
    def level(self) -> int:
        """Its place in `LEVELS`."""
        name = self.fields.get("level")
        return LEVELS.index(name) if name in LEVELS else LEVELS.index("info")

    @property
    def ids(self) -> set[str]:
        """The ids of the order that it speaks of."""
        return {str(self.fields[name]) for name in ID_FIELDS if self.fields.get(name)}


@dataclass
class Wanted:
    """Which lines are printed. Ids of the order are learnt from lines that name two of them."""

    ids: set[str]
    since: datetime | None = None
    level: int = 0
    processes: frozenset[str] = frozenset()
    traces: set[str] = field(default_factory=set)

    def takes(self, line: Line) -> bool:
        """Whether to print it."""
        if self.ids and not self._is_the_order_s(line):
            return False
        if self.since is not None and line.at < self.since:
            return False
        return line.level >= self.level and (not self.processes or line.process in self.processes)

    def learn_all(self, lines: Callable[[], Iterator[Line]]) -> None:
        """Go over the lines until nothing more is learnt of the order."""
        for _ in range(PASSES_MAX if self.ids else 0):
            known = len(self.ids) + len(self.traces)
            for line in lines():
                self._is_the_order_s(line)
            if len(self.ids) + len(self.traces) == known:
                return

    def might_take(self, raw: bytes) -> bool:
        """Whether it is worth to be parsed: an id or trace of the order stands in it somewhere."""
        return not self.ids or any(each.encode() in raw for each in (*self.ids, *self.traces))

    def _is_the_order_s(self, line: Line) -> bool:
        named = line.ids
        if named & self.ids:
            self.ids |= named
            # A sender may put several signals into one trace: a line that names another order is not ours by it.
            if trace := line.fields.get("trace_id"):
                self.traces.add(str(trace))
            return True
        if not named and line.fields.get("trace_id") in self.traces:
            return True
        return any(_says(value, self.ids) for value in line.fields.values())


def _says(value: Any, ids: set[str]) -> bool:
    """Whether a field is an id of the order, or that of its workflow."""
    return isinstance(value, str) and (value in ids or signal_of_workflow(value) in ids)


def read(raw: bytes, process: str) -> Line | None:
    """The line, where it is one of ours; whatever `docker compose logs` wrote before it is passed over."""
    start = raw.find(b"{")
    if start < 0 or len(raw) > LINE_BYTES_MAX:
        return None
    try:
        fields = json.loads(raw[start:])
        at = datetime.fromisoformat(fields["timestamp"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if at.tzinfo is None:
        return None
    service = fields.get("service")
    text = raw[start:].decode("utf-8", "replace").rstrip("\n")
    return Line(at, fields, service if isinstance(service, str) else process, text)


def merged(folder: Path, wanted: Wanted) -> Iterator[Line]:
    """The wanted lines of every log in the folder, older files of each included, in the order of time."""
    wanted.learn_all(lambda: (line for file in _logs(folder) for line in _lines(file, wanted)))
    found = (
        [line for line in _lines(file, wanted) if wanted.takes(line)] if wanted.ids else _taken(file, wanted)
        for file in _logs(folder)
    )
    yield from heapq.merge(*found, key=lambda line: line.at)


def _taken(file: Path, wanted: Wanted) -> Iterator[Line]:
    return (line for line in _lines(file, wanted) if wanted.takes(line))


def _logs(folder: Path) -> list[Path]:
    """The newest file of each process."""
    return sorted(folder.glob("*.log"))


def _lines(newest: Path, wanted: Wanted) -> Iterator[Line]:
    for file in files_of(newest):
        try:
            with file.open("rb") as opened:
                for raw in opened:
                    line = read(raw, newest.stem) if wanted.might_take(raw) else None
                    if line is not None:
                        yield line
        except FileNotFoundError:
            continue  # It was dropped while the others were read.


async def follow(folder: Path, wanted: Wanted) -> AsyncIterator[Line]:
    """What is written from now on, until cancelled."""
    tails = {file: Tail(file, at_end=True) for file in _logs(folder)}
    try:
        while True:
            for file in _logs(folder):
                if file not in tails:
                    tails[file] = Tail(file, at_end=False)
            lines = [line for tail in tails.values() for line in tail.read()]
            for line in sorted(lines, key=lambda line: line.at):
                if wanted.takes(line):
                    yield line
            await asyncio.sleep(FOLLOW_SECONDS)
    finally:
        for tail in tails.values():
            tail.close()


class Tail:
    """One log that is followed, over the beginning of new files too."""

    def __init__(self, path: Path, *, at_end: bool) -> None:
        self._path = path
        self._file = path.open("rb")
        self._half = b""
        if at_end:
            self._file.seek(0, 2)

    def read(self) -> list[Line]:
        """What was written since."""
        found = self._rest()
        try:
            if self._path.stat().st_ino != _inode(self._file):
                fresh = self._path.open("rb")
                # Whoever wrote went on between our reading and the new file: to this one no longer.
                found += self._rest()
                self._file.close()
                self._file, self._half = fresh, b""
                found += self._rest()
        except FileNotFoundError:
            pass  # Between two files.
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _rest(self) -> list[Line]:
        *whole, self._half = (self._half + self._file.read()).split(b"\n")
        return [line for line in (read(raw, self._path.stem) for raw in whole) if line is not None]


def _inode(file: Any) -> int:
    return os.fstat(file.fileno()).st_ino


def since_of(text: str, now: datetime) -> datetime | None:
    """A time, or how long ago.

    Raises:
        BadUsage: neither.
    """
    if not text:
        return None
    if match := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadUsage(
            f"no time: {text!r}", do="`10m`, `2h`, `1d`, or a time like 2026-11-27T14:00Z"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
