"""Our pages tell the truth: what they name is there, and what is made from the code is what the code says."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from console.main import build_app
from observability.catalog import families
from tests.tidy.documents import code_words, pages, said, shell_blocks, spans, trading_words, typed
from tests.tidy.tree import ROOT
from workers import api_docs, cli_docs
from workers.settings import PROCESSES

TUTORIAL = ROOT / "docs" / "TUTORIAL.md"
NAMES = [str(page.relative_to(ROOT)) for page in pages()]
FREE = {
    "CHANGELOG.md": "tells of what is gone",
    "docs/CLI.md": "made from the commands",
    "docs/API.md": "made from the documents",
    "docs/EXCHANGE.md": "its routes are Alpaca's",
}
"""Pages that may name what the code does not."""
COMPOSED = ("BROKER", "CANCEL", "SETTLED", "RECONCILED")
"""Decisions of the audit log whose second word is a status or an answer."""
NOT_OURS = {"pg_dump"}
OPTIONS_OF_ALL = {"--json", "--data-dir", "--help", "--version"}
ELSEWHERE = {"/decode", "/encode", "/openapi.json", "/codec"}
"""Routes of no OpenAPI document: the codec's, the document's own, and the proxy's of an example."""


@pytest.mark.parametrize("made", [api_docs, cli_docs], ids=["API.md", "CLI.md"])
def test_a_page_that_is_made_from_the_code_is_up_to_date(made: "Made") -> None:
    assert made.FILE.read_text() == made.document(), "make docs"


class Made:
    """What a module that writes a page has."""

    FILE: Path

    @staticmethod
    def document() -> str: ...


@cache
def options_of(command: str) -> frozenset[str]:
    """The options of a command, as CLI.md tells them."""
    told = cli_docs.commands()[command].options
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(written for written, _ in told)))


def wrong_commands(text: str) -> Iterator[str]:
    """Commands and options of ``trading`` that there are not."""
    known = cli_docs.commands()
    groups = {name.split()[0] for name in known}
    for command in [*typed(text), *said(text)]:
        words = trading_words(command)
        if words is None:
            continue
        plain = [word for word in words if word != "…"]
        found = next((name for name in (" ".join(plain[:2]), *plain[:1]) if name in known), None)
        if found is None:
            if plain and (plain[0].startswith("--") or plain[0].isupper()):
                continue
            if len(plain) != 1 or plain[0] not in groups:
                yield f"there is no `trading {' '.join(words)}`"
            continue
        below = found in {name.split()[0] for name in known if " " in name} and len(plain) > 1
        if (
            below
            and re.fullmatch(r"[a-z-]{3,}", plain[1])
            and found == plain[0]
            and found in ("keys", "limits", "live")
        ):
            yield f"there is no `trading {' '.join(plain[:2])}`"
        for word in plain:
            option = word.partition("=")[0]
            if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in options_of(found) | OPTIONS_OF_ALL:
                yield f"`trading {found}` has no {option}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_exists(name: str) -> None:
    assert [*wrong_commands((ROOT / name).read_text())] == []


@pytest.mark.parametrize(
    "text",
    ["```\ntrading fly\n```", "```sh\ntrading kill --gently\n```", "```sh\nX=1 trading keys lose\n```",
     "`trading order loose ID`", "```\ndc run --rm cli stat\n```",
     "```\ndc run --rm execution trading kil\n```", "```sh\nY=$(trading token bake)\n```",
     "```sh\ntrading status | cat; trading up --fast\n```", "`trading limits show|sit`"],
)  # fmt: skip
def test_what_is_no_command_is_found(text: str) -> None:
    assert [*wrong_commands(text)]


def test_what_the_tutorial_says_to_type_can_be_read_by_the_command_line() -> None:
    app = build_app()
    text = TUTORIAL.read_text()
    commands = [words for each in typed(text) if (words := trading_words(each)) is not None]
    assert len(commands) > 15
    for words in commands:
        app.parse_args(words, exit_on_error=False, print_error=False)
    assert all(mark in ("exit=1", "retry") for block in shell_blocks(text) for mark in block.marks)


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / name).read_text()
    named = {each[1] for each in (*typed(text), *said(text)) if each[0] == "make" and len(each) > 1}
    assert named <= targets, named - targets


@cache
def routes() -> frozenset[str]:
    """Every path that some process answers, with ``{}`` for its parts."""
    paths = [*api_docs.gateway_document()["paths"], *api_docs.console_document()["paths"], *ELSEWHERE]
    return frozenset(re.sub(r"\{[^}]*\}", "{}", path) for path in paths)


def wrong_routes(text: str) -> Iterator[str]:
    """Routes in running text that nobody answers; a part in capitals stands for any."""
    for span in spans(text):
        match = re.fullmatch(r"(?:(?:GET|POST) )?(/[a-z1]+(?:[/\w{}.-]*))(?:\?\S*)?", span)
        if match and not match[1].startswith(("/var", "/dev", "/tmp", "/run", "/etc")):
            path = re.sub(r"\{[^}]*\}|(?<=/)[A-Z]+\b", "{}", match[1])
            if path not in routes() and not any(
                each.startswith(path) for each in routes() if path.endswith("/")
            ):
                yield span


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FREE])
def test_every_route_is_answered(name: str) -> None:
    assert [*wrong_routes((ROOT / name).read_text())] == []


def test_what_is_no_route_is_found() -> None:
    text = "`POST /v1/signal` `/acts/fly` `/v1/orders/ID` `/acts/tickers/TICKER/cancel` `/live/`"
    assert [*wrong_routes(text)] == ["POST /v1/signal", "/acts/fly"]


@cache
def known_names() -> frozenset[str]:
    """What code, settings and metrics are called."""
    fields = {
        f"TRADING_{field.upper()}" for each in PROCESSES.values() for field in each.settings.model_fields
    }
    secrets = {name.lower() for name in fields}
    return code_words() | fields | secrets | {each.name for each in families()}


def is_known(name: str) -> bool:
    first, _, rest = name.partition("_")
    composed = first in COMPOSED and {rest, rest.lower()} & known_names()
    return name in known_names() | NOT_OURS or bool(composed)


def wrong_names(text: str) -> Iterator[str]:
    """Settings, metrics, columns, codes and files in running text that are nowhere in the code."""
    folders = {file.name for file in ROOT.iterdir() if file.is_dir()}
    for span in spans(text):
        if re.fullmatch(r"[A-Za-z]\w*_\w+(=\w+)?", span) and not is_known(span.partition("=")[0]):
            yield span
        if (
            re.fullmatch(r"[\w-]+(/[\w.*-]+)+", span)
            and span.split("/")[0] in folders
            and not [*ROOT.glob(span)]
        ):
            yield span


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FREE])
def test_every_setting_metric_code_and_file_exists(name: str) -> None:
    assert [*wrong_names((ROOT / name).read_text())] == []


def test_what_is_nowhere_in_the_code_is_found() -> None:
    text = "`TRADING_FLY=true` `orders_flown_total` `FLOWN_AWAY` `docs/FLYING.md` `TRADING_NTP_SERVERS`"
    assert [*wrong_names(text)] == ["TRADING_FLY=true", "orders_flown_total", "FLOWN_AWAY", "docs/FLYING.md"]
