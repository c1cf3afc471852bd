"""docs/FAILURE-MODES.md says what the code says: messages, tests, metrics; the runbook has every alert."""

import ast
import re
from functools import cache

import pytest

from observability.catalog import families
from risk.messages import UserMessage
from schemas.alerts import CLEARED_BY_HAND, AlertCode
from tests.tidy.tree import ROOT, dotted, functions, nodes, sources

PAGE = ROOT / "docs" / "FAILURE-MODES.md"
LABELS = ["Built", "Detected by", "Happens by itself", "Trading", "Message", "Look", "Do", "Shown by"]
BUILT = ("yes", "partly", "not yet")
NOT_STORED = "not stored yet"


@cache
def rows() -> dict[str, dict[str, str]]:
    """Heading → label → text, in one line each."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        points = re.findall(r"^- \*\*(.+?):\*\* (.+?)(?=^- \*\*|\Z)", body, re.MULTILINE | re.DOTALL)
        found[heading] = {label: " ".join(text.split()) for label, text in points}
    return found


def messages() -> dict[str, str]:
    """Constant's name → what its row says of it."""
    told = [row["Message"] for row in rows().values()]
    named = [(found.group(1), text) for text in told if (found := re.match(r"`(\w+)`", text))]
    assert len(named) == len(dict(named)), "one row for each message"
    return dict(named)


@cache
def stored() -> set[str]:
    """Messages that some code uses."""
    return {
        name.removeprefix("UserMessage.")
        for file in sources()
        for node in nodes(file.read_text())
        if isinstance(node, ast.Attribute) and (name := dotted(node)).startswith("UserMessage.")
    }


@pytest.mark.parametrize("heading", list(rows()))
def test_a_row_says_everything_and_how_much_of_it_is_built(heading: str) -> None:
    row = rows()[heading]
    assert list(row) == LABELS
    assert row["Built"].startswith(BUILT)
    anchor = heading.lower().replace(" ", "-")
    summary = re.search(rf"^\| \[{heading}\]\(#{anchor}\) \|.*\| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert summary, f"{heading} is not in the summary"
    assert row["Built"].startswith(summary.group(1))


def test_every_message_is_the_codes_own_text() -> None:
    expected = {
        message.name: f'`{message.name}`{"" if message.name in stored() else ", " + NOT_STORED}: "{message.value}"'
        for message in UserMessage
    }
    assert messages() == expected


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", PAGE.read_text())
    assert len(named) >= len(rows())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file()
        or name not in {function.name for function in functions((ROOT / path).read_text())}
    ]
    assert not missing, f"named in {PAGE.name} and not there: {missing}"
    for heading, row in rows().items():
        assert "::" in row["Shown by"], heading


def test_every_metric_it_names_is_exported() -> None:
    exported = metric_names()
    for heading, row in rows().items():
        told = row["Look"].partition("metric")[2]
        unknown = set(re.findall(r"`(\w+)`", told)) - exported - {"rate_limited"}
        assert not unknown, (heading, unknown)


def metric_names() -> set[str]:
    """Every name that /metrics may show."""
    return {each.name for each in families()}


def test_the_runbook_says_what_every_alert_means_what_to_do_and_with_which_command() -> None:
    section = (
        (ROOT / "docs" / "RUNBOOK.md")
        .read_text()
        .partition("\n### Alerts\n")[2]
        .partition("\nAn alert ends")[0]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    told = {row[0].strip("`"): row[1:] for row in rows[2:]}
    assert set(told) == {code.value for code in AlertCode}
    for code, (means, do, command) in told.items():
        assert all((means, do)), code
        assert re.match(r"`(trading|chronyc) ", command), code


def test_the_runbook_names_the_alerts_that_a_person_clears() -> None:
    text = (ROOT / "docs" / "RUNBOOK.md").read_text()
    sentence = text.partition("does not end: clear ")[2].partition(" when you have seen")[0]
    assert set(re.findall(r"`([A-Z_]+)`", sentence)) == {code.value for code in CLEARED_BY_HAND}
