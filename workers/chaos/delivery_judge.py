"""The judge of delivery runs: what consumers have recorded in files of their own, against what was committed.

Nothing that the bus keeps is asked. Every line is one event as a consumer was told it, written before the consumer
acknowledged it; times are of the machine's one monotonic clock.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

FIELDS: Final = 8
TOLD_MAX: Final = 5
"""So many of a kind of wrong are named; the rest is counted."""


@dataclass(frozen=True)
class Written:
    """One committed event: the ``number``-th of its order."""

    key: str
    number: int
    committed_ns: int


@dataclass(frozen=True)
class Told:
    """One line of a consumer's file."""

    at_ns: int
    partition: int
    fence: int
    position: int
    attempt: int
    event_id: str
    key: str
    number: int

    def line(self) -> str:
        """As it stands in the file."""
        return (
            f"{self.at_ns} {self.partition} {self.fence} {self.position} {self.attempt} {self.event_id} {self.key} "
            f"{self.number}\n"
        )


def read_lines(text: str) -> list[Told]:
    """The whole lines of a file: a last one that a kill has cut off was never recorded."""
    found = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        fields = line.split(" ")
        if len(fields) != FIELDS:
            raise ValueError(f"no line of a consumer: {line!r}")
        at_ns, partition, fence, position, attempt, number = (int(fields[at]) for at in (0, 1, 2, 3, 4, 7))
        event_id, key = fields[5:7]
        found.append(Told(at_ns, partition, fence, position, attempt, event_id, key, number))
    return found


@dataclass(frozen=True)
class Verdict:
    """What was found. ``lags_ms``: from each event's commit until it was first recorded."""

    lost: int
    repeated: int
    redeliveries: int
    out_of_order: int
    lags_ms: tuple[float, ...]
    wrong: tuple[str, ...]


def judge(written: Mapping[str, Written], told: Iterable[Told]) -> Verdict:
    """Hold the recorded against the committed.

    Lost: committed and never recorded. Out of order: of one key, first recorded after a later one was. A repetition
    is a redelivery where at most one record of an event has ``attempt`` 1, and wrong otherwise.
    """
    in_time = sorted(told, key=lambda each: each.at_ns)
    records: dict[str, list[Told]] = defaultdict(list)
    for each in in_time:
        records[each.event_id].append(each)
    lost = sorted(written.keys() - records.keys())
    unmarked = [each for each in records.values() if sum(one.attempt == 1 for one in each) > 1]
    disorder = _out_of_order(records.values())
    wrong = [
        *_named("committed and never told", [f"{written[each].key} {written[each].number}" for each in lost]),
        *_named("told and never committed", sorted(records.keys() - written.keys())),
        *_named(
            "told again as if for the first time", [f"{each[0].key} {each[0].number}" for each in unmarked]
        ),
        *_named("told out of the order of its key", disorder),
        *_named("told as another event", _changed(written, records)),
        *_named("two positions, or one for two events", _misplaced(records)),
        *_named("a key in two partitions", _strayed(in_time)),
    ]
    return Verdict(
        lost=len(lost),
        repeated=len(unmarked),
        redeliveries=sum(len(each) - 1 for each in records.values()),
        out_of_order=len(disorder),
        lags_ms=tuple(
            (each[0].at_ns - written[event].committed_ns) / 1e6
            for event, each in records.items()
            if event in written
        ),
        wrong=tuple(wrong),
    )


def _out_of_order(records: Iterable[Sequence[Told]]) -> list[str]:
    """First records of a key whose number is not above all before."""
    newest: dict[str, int] = {}
    found = []
    for first in sorted((each[0] for each in records), key=lambda each: each.at_ns):
        if first.number <= newest.get(first.key, -1):
            found.append(f"{first.key} {first.number} after {newest[first.key]}")
        newest[first.key] = max(first.number, newest.get(first.key, -1))
    return found


def _changed(written: Mapping[str, Written], records: Mapping[str, Sequence[Told]]) -> list[str]:
    return [
        event
        for event, each in records.items()
        if event in written
        and any((one.key, one.number) != (written[event].key, written[event].number) for one in each)
    ]


def _misplaced(records: Mapping[str, Sequence[Told]]) -> list[str]:
    places: dict[int, str] = {}
    return [
        event
        for event, each in records.items()
        if len({one.position for one in each}) > 1 or places.setdefault(each[0].position, event) != event
    ]


def _strayed(told: Iterable[Told]) -> list[str]:
    partitions: dict[str, int] = {}
    return sorted(
        {each.key for each in told if partitions.setdefault(each.key, each.partition) != each.partition}
    )


def _named(what: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    more = f" and {len(found) - TOLD_MAX} more" if len(found) > TOLD_MAX else ""
    return [f"{len(found)} {what}: {', '.join(found[:TOLD_MAX])}{more}"]
