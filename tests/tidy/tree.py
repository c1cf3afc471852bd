"""What the rules look at: this repository's files, packages and syntax trees.

A rule is a function from source to findings, so that it can be shown to find something. A finding says where
and what to do instead. ``# tidy: RULE because REASON`` on the line, or alone on the line above, allows one
exception; a whole file is allowed by the same marker on its first line.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REASON_LENGTH_MIN = 10
"""Characters; "because needed" is none."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def pyproject() -> dict[str, Any]:
    """The project's settings."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages() -> list[str]:
    """Our top-level packages, as the wheel has them."""
    listed: list[str] = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return listed


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that git keeps or would keep. Without git the rules fail: a check that cannot run is red."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return tuple(sorted(file for file in set(files) if file.is_file()))


def sources(*names: str) -> list[Path]:
    """The Python files of these packages, of all of ours by default."""
    wanted = set(names or packages())
    return [
        file for file in project_files() if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in wanted
    ]


def check(files: Iterable[Path], rule: Callable[[str], Iterable[tuple[int, str]]]) -> None:
    """Apply a rule to each file; the failure lists every finding as ``file:line what to do``."""
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in files
        for line, text in sorted(rule(file.read_text(encoding="utf-8")))
    ]
    assert not found, "\n" + "\n".join(found)


def allowed(source: str, rule: str, line: int) -> bool:
    """Whether a marker with a reason allows this finding."""
    marker = re.compile(rf"# tidy: {rule} because .{{{REASON_LENGTH_MIN},}}")
    lines = source.splitlines()
    own = lines[line - 1] if line <= len(lines) else ""
    above = lines[line - 2].strip() if line >= 2 else ""
    whole_file = lines[0] if lines else ""
    return bool(
        marker.search(own)
        or (above.startswith("#") and marker.search(above))
        or (whole_file.startswith("#") and marker.search(whole_file))
    )


@cache
def parse(source: str) -> ast.Module:
    """The syntax tree of a module. Rules share it and never change it."""
    return ast.parse(source)


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """Every node of a module's tree, as `ast.walk` gives them: walking costs more than what a rule does there."""
    return tuple(ast.walk(parse(source)))


def functions(source: str) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    for node in nodes(source):
        if isinstance(node, Function):
            yield node


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for attribute chains and names, ``().c`` for an attribute of anything else, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '()'}.{node.attr}"
    return ""


def docstrings(source: str) -> set[int]:
    """Ids of the text nodes that document something: bare texts after a definition or a field."""
    return {
        id(node.value)
        for node in nodes(source)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
