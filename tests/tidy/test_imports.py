"""What may be imported where, proved by importing it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, check, dotted, parse, sources

IO_LIBRARIES = (
    "asyncpg", "alpaca", "httpx2", "requests", "websockets", "fastapi", "uvicorn", "prometheus_client",
    "cryptography",
)  # fmt: skip
"""Loaded by a workflow module, each costs every worker and replay; some do not load in the sandbox at all."""

HEAVY_AT_START = ("temporalio", "asyncpg", "alpaca", "pandas", "fastapi", "httpx2", "opentelemetry")
"""``trading --help`` answers in 0.3 s: none of these may load with the command line."""

# Prints the names that are loaded after every module of the given packages is.
_IMPORT_ALL = """
import importlib, pkgutil, sys
names = []
for package in sys.argv[1].split(","):
    root = importlib.import_module(package)
    names += [package, *(m.name for m in pkgutil.walk_packages(root.__path__, package + "."))]
for name in names:
    importlib.import_module(name)
print(len(names))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in the repository's root."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )


def loaded_by(*packages: str) -> set[str]:
    """Top-level names that importing every module of ``packages`` loads."""
    child = run("-c", _IMPORT_ALL, ",".join(packages))
    assert child.returncode == 0, f"importing {packages} fails:\n{child.stderr[-2000:]}"
    count, names = child.stdout.splitlines()
    expected = len(sources(*packages))
    assert int(count) == expected, f"{expected} files in {packages}, but {count} modules were imported"
    return set(names.split())


def test_workflows_load_no_io_library() -> None:
    found = loaded_by("workflows") & set(IO_LIBRARIES)
    assert not found, (
        f"importing workflows loads {sorted(found)}. Find the way with python -X importtime -c 'import "
        "workflows.orders'; name the library under TYPE_CHECKING only, or import it where it is used"
    )


@pytest.mark.parametrize("package", ["schemas", "risk"])
def test_decisions_load_neither_engine_nor_io(package: str) -> None:
    found = loaded_by(package) & {*IO_LIBRARIES, "temporalio", "opentelemetry", "structlog"}
    assert not found, (
        f"importing {package} loads {sorted(found)}: move what needs them to activities or storage"
    )


def loaded_names(program: str) -> set[str]:
    """Top-level names loaded after ``program``."""
    child = run("-c", f"{program}\nimport sys; print(*sorted({{n.split('.')[0] for n in sys.modules}}))")
    assert child.returncode == 0, child.stderr[-2000:]
    return set(child.stdout.split())


def test_the_command_line_starts_light() -> None:
    found = loaded_names("import console.main") & set(HEAVY_AT_START)
    assert not found, (
        f"importing console.main loads {sorted(found)}: import them inside the command that needs them"
    )


def test_imports_point_down() -> None:
    """The contracts in pyproject.toml, by import-linter."""
    program = Path(sys.executable).with_name("lint-imports")
    assert program.exists(), "import-linter is missing: run make install-dev"
    child = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert child.returncode == 0, (
        "move the import or the code down the list:\n"
        f"{child.stdout.partition('Broken contracts')[2] or child.stdout}{child.stderr}"
    )


def unguarded_workflow_imports(source: str) -> list[tuple[int, str]]:
    """Imports of our packages in a workflow module outside ``imports_passed_through``."""
    ours = {"activities", "schemas", "risk", "workflows", "observability"}
    found = []
    for node in parse(source).body:
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [
            (node.lineno, f"import {name} inside `with workflow.unsafe.imports_passed_through():`, or every "
                          "run of the workflow loads it again")
            for name in names
            if name.split(".")[0] in ours
        ]  # fmt: skip
    return found


def test_workflow_modules_pass_our_models_through() -> None:
    with_temporal = [file for file in sources("workflows") if defines_workflow_code(file.read_text())]
    assert with_temporal, (
        "no module of workflows imports temporalio.workflow: this rule looks at the wrong folder"
    )
    check(with_temporal, unguarded_workflow_imports)


def defines_workflow_code(source: str) -> bool:
    """Whether a module speaks to the workflow engine; plain tables of constants need no pass-through."""
    return (
        any(
            isinstance(node, ast.With)
            and any("imports_passed_through" in dotted(call_of(item)) for item in node.items)
            for node in parse(source).body
        )
        or "@workflow.defn" in source
    )


def call_of(item: ast.withitem) -> ast.AST:
    """The function called in a ``with`` item."""
    return item.context_expr.func if isinstance(item.context_expr, ast.Call) else item.context_expr


def test_an_unguarded_import_would_be_found() -> None:
    good = "with workflow.unsafe.imports_passed_through():\n    from schemas import wire\n"
    assert defines_workflow_code(good)
    assert unguarded_workflow_imports(good) == []
    assert [
        line for line, _ in unguarded_workflow_imports(good + "from schemas.orders import OrderView\n")
    ] == [3]
    assert [line for line, _ in unguarded_workflow_imports("import asyncio\nimport risk.limits\n")] == [2]
