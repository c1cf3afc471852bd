"""docs/AUDIT.md says what the code does: which row tells of each commit, request, command and topic.

A commit with a new name, or a decision that nobody has described, is a failed test.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest

from audit.cold.mover import CORRELATION as RETENTION
from console.main import _COMMANDS, _GROUPS
from schemas.wire import Topic
from storage import (
    builds,
    clock,
    deliveries,
    equity,
    halt,
    journal,
    limits,
    locks,
    reconciliation,
    statements,
    switches,
    two_persons,
)
from tests.tidy.audit_code import Product, product
from tests.tidy.tree import ROOT
from workers.audit_alerts import SUBJECT as AUDIT
from workers.chaos.points import places
from workers.stream_watch import STREAM

PAGE: Final = ROOT / "docs" / "AUDIT.md"
EXECUTIONS: Final = "*executions*"
BY_MIGRATIONS: Final = frozenset({"AUDIT_MOVED"})
WORD: Final = re.compile(r"`([A-Z][A-Z_]*\*?)`")


@cache
def table(heading: str) -> dict[str, str]:
    """First cell → last cell of each row; several names in the first are several rows."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *_, last = (cell.strip() for cell in line.strip("|").split(" | "))
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), last)
    return found


@cache
def executions() -> frozenset[str]:
    """What stands for `EXECUTIONS`."""
    told = PAGE.read_text().partition(f"{EXECUTIONS}: ")[2].partition(". A row")[0]
    return frozenset(WORD.findall(told))


def words_of(cell: str) -> set[str]:
    """The decisions that a cell names."""
    return set(WORD.findall(cell)) | (executions() if EXECUTIONS in cell else frozenset())


@cache
def commits() -> dict[str, frozenset[str]]:
    """Commit → the decisions that its code can write."""
    return {name: frozenset(words) for name, words, _ in product().commits()}


def test_every_commit_is_found_in_the_code() -> None:
    assert commits().keys() == {place.name for place in places() if place.act == "commit"}


def test_the_page_names_the_rows_of_every_commit_or_says_why_there_is_none() -> None:
    page = table("Which row tells of which commit")
    wrong = []
    for name in sorted(commits().keys() | page.keys()):
        if name not in commits():
            wrong.append(f"{name}: no such commit any more, take it out")
            continue
        should = ", ".join(f"`{word}`" for word in sorted(commits()[name])) or "none: WHY"
        cell = page.get(name, "")
        is_right = bool(re.fullmatch(r"none: .{10,}", cell)) if not commits()[name] else True
        if not is_right or words_of(cell) != commits()[name]:
            wrong.append(f"| `{name}` | {should} |")
    assert not wrong, "docs/AUDIT.md, rows of commits should be:\n" + "\n".join(wrong)


def test_every_decision_is_described_once_and_none_that_nobody_writes() -> None:
    page = table("Decisions")
    written = {word for words in commits().values() for word in words} | BY_MIGRATIONS
    assert page.keys() == written, (
        f"describe {sorted(written - page.keys())}, take out {sorted(page.keys() - written)}"
    )
    assert not [word for word in written if word.startswith("?")], (
        "say in audit_code.SAID_ELSEWHERE what it can be"
    )


@pytest.mark.parametrize(
    "heading",
    [
        "Which row tells of which request to others",
        "Which row tells of which topic",
        "Which row tells of which command",
    ],
)
def test_what_is_said_to_be_told_is_a_decision_that_is_written(heading: str) -> None:
    written = {word for words in commits().values() for word in words}
    for name, cell in table(heading).items():
        assert words_of(cell) <= written, name
        assert words_of(cell) or cell.startswith(("none: ", "as ", "each ")), f"{name}: rows, or why none"


def test_every_request_to_others_is_on_the_page() -> None:
    calls = {place.name for place in places() if place.act == "call"}
    assert table("Which row tells of which request to others").keys() == calls


def test_every_topic_and_every_command_is_on_the_page() -> None:
    assert table("Which row tells of which topic").keys() == set(Topic)
    commands = {name for _, name, _, _ in _COMMANDS} | {
        f"{group} {name}" for group, _, inner in _GROUPS for name, _, _ in inner
    }
    assert table("Which row tells of which command").keys() == commands


def test_every_story_that_is_no_signals_is_on_the_page() -> None:
    stories = {
        switches.CORRELATION, switches.ACCESS, reconciliation.CORRELATION, journal.CORRELATION, limits.AUDIT_KEY,
        equity.CORRELATION, builds.CORRELATION, halt.SUBJECT, locks.CORRELATION, clock.CORRELATION,
        two_persons.CORRELATION, deliveries.CHANNELS, STREAM, AUDIT, RETENTION,
    }  # fmt: skip
    assert table("Whose story: correlation ids").keys() == stories


def test_there_is_one_way_to_write_a_row_or_an_event() -> None:
    writers = {
        f"{group}.{name}"
        for group in statements.groups()
        for name, sql in statements.load(group).items()
        if re.search(r"insert into (audit_log|audit_payloads|events)\b", sql)
    }
    assert writers == {"events.append_records"}


_EVENTS = "async def append(connection: Connection, entry): ..."
_ROWS = (
    "from storage.events import append\n"
    "async def save(connection, step):\n await append(connection, entry('X', step))\n"
    "async def read(connection): ...\n"
    "def entry(decision, step): ...\n"
)


def made(body: str) -> Iterator[tuple[str, set[str], bool]]:
    source = f"from storage import rows\nfrom storage.rows import save\nclass A:\n{body}"
    return Product({"storage.events": _EVENTS, "storage.rows": _ROWS, "workers.a": source}).commits()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (" async def job(self):\n  async with self.database.transaction('a') as c:\n   await rows.read(c)", set()),
        (" async def job(self):\n  async with self.database.transaction('a') as c:\n   await save(c, 1)", {"X"}),
        (" async def job(self):\n  await self._database.run('a', lambda c: rows.save(c, 1))", {"X"}),
        (
            " async def job(self):\n  async with committing(c, 'a'):\n   await self.later(c)\n"
            " async def later(self, c):\n  await save(c, Step(decision='Y' if c else f'Z_{c}'))",
            {"X", "Y", "Z_*"},
        ),
        (
            " async def job(self, decision):\n  async with committing(c, 'a'):\n"
            "   await save(c, Step(decision=decision))\n"
            " async def later(self):\n  await self.job('W')",
            {"X", "W"},
        ),
        (
            " async def job(self, told):\n  async with committing(c, 'a'):\n   await save(c, told)\n"
            " async def later(self):\n  await self.job(rows.entry('V', 1))",
            {"V", "X"},
        ),
        (
            " def __init__(self, other: 'A | None'):\n  self._other = other\n"
            " async def job(self):\n  async with committing(c, 'a'):\n   await self._other.later(c)\n"
            " async def later(self, c):\n  await save(c, 1)",
            {"X"},
        ),
        (
            " async def job(self):\n  async with committing(c, 'a'):\n   await save(c, Step(decision=self.odd()))",
            {"X", "? workers.a:self.odd()"},
        ),
    ],
)  # fmt: skip
def test_what_a_commit_writes_is_found(body: str, words: set[str]) -> None:
    [(name, found, writes)] = made(body)
    assert (name, found, writes) == ("a", words, bool(words))
