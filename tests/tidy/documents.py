"""What our pages name: commands in blocks and in the text, make targets, routes, files, names of the code."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.tidy.tree import ROOT, project_files

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
SHELL = ("", "sh")
"""Languages of blocks that people type; ``text`` is what they see."""
SEPARATORS = {"|", "||", "&&", ";", "&"}
ASSIGNMENT = re.compile(r"[A-Z_]+=")


class Block(NamedTuple):
    """A block of commands: its words after the language, and its text."""

    marks: tuple[str, ...]
    text: str


def pages() -> list[Path]:
    """Every page of ours, README first."""
    others = [file for file in project_files() if file.suffix == ".md" and "vendor" not in file.parts]
    return sorted(others, key=lambda file: (file.name != "README.md", file))


def shell_blocks(text: str) -> list[Block]:
    """What a page says to type."""
    found = []
    for info, body in BLOCK.findall(text):
        language, *marks = info.split() or [""]
        if language in SHELL:
            found.append(Block(tuple(marks), body))
    return found


def typed(text: str) -> Iterator[list[str]]:
    """Every simple command of the blocks, those within ``$(…)`` too, without assignments before it."""
    for block in shell_blocks(text):
        for line in _logical_lines(block.text):
            yield from _simple_commands(line)


def spans(text: str) -> list[str]:
    """Code in running text."""
    return SPAN.findall(BLOCK.sub("", text))


def said(text: str) -> Iterator[list[str]]:
    """Commands in running text; ``show|set`` is both."""
    for span in spans(text):
        if span.startswith(("trading ", "make ")):
            words = span.split()
            for choice in words[-1].split("|"):
                yield [*words[:-1], choice]


def trading_words(command: list[str]) -> list[str] | None:
    """What follows ``trading``, also inside a container; None: it is another command."""
    if Path(command[0]).name == "trading":
        return command[1:]
    if command[0] in ("docker", "dc") and "run" in command:
        if "cli" in command:
            return command[command.index("cli") + 1 :]
        if "execution" in command and "trading" in command:
            return command[command.index("trading") + 1 :]
    return None


def _logical_lines(text: str) -> Iterator[str]:
    """Lines as a shell reads them: continued ones, and texts over several, are one."""
    waiting = ""
    for line in text.splitlines():
        waiting += line.removesuffix("\\") + (" " if line.endswith("\\") else "\n")
        if line.endswith("\\"):
            continue
        try:
            shlex.split(waiting, comments=True)
        except ValueError:
            continue
        yield waiting
        waiting = ""


def _simple_commands(line: str) -> Iterator[list[str]]:
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from _simple_commands(inner)
    try:
        words = shlex.split(re.sub(r"\$\([^()]*\)", "X", line), comments=True)
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word not in SEPARATORS:
            command.append(word.removesuffix(";"))
        if word in SEPARATORS or word.endswith(";"):
            while command and ASSIGNMENT.match(command[0]):
                command.pop(0)
            if command:
                yield command
            command = []


@cache
def code_words() -> frozenset[str]:
    """Every word of the code, of what is deployed and of the Makefile; not of tests and pages."""
    found: set[str] = set()
    for file in project_files():
        name = file.relative_to(ROOT)
        if name.parts[0] in ("tests", "docs") or file.suffix in (".md", ".lock", ".png", ".woff2"):
            continue
        try:
            text = file.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))
    return frozenset(found)
