"""`pytest --json`: what is printed of a run that went wrong in each way a run can."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.verdict import configure as pytest_configure, pytest_addoption\n"
GOOD = """
import pytest

@pytest.mark.parametrize("case", [1, 2, 3])
def test_cases(case):
    pass

@pytest.mark.skip(reason="absent")
def test_absent():
    pass
"""
WRONG = """
import pytest

@pytest.fixture
def broken():
    raise OSError

def test_needs(broken):
    pass

def test_fails():
    assert False
"""


def verdict(folder: Path, **files: str) -> tuple[int, dict[str, object]]:
    """The exit code of a pytest on these files, and what it wrote."""
    for name, text in {"conftest": CONFTEST, **files}.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--json", "told.json"]
    ended = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    return ended.returncode, json.loads((folder / "told.json").read_text())


def test_cases_are_counted_by_their_function(tmp_path: Path) -> None:
    code, told = verdict(tmp_path, test_good=GOOD)
    assert (code, told["good"], told["passed"], told["wrong"]) == (0, True, 3, [])
    assert told["tests"] == {"test_good.py::test_cases": 3}
    assert told["skipped"] == ["test_good.py::test_absent"]


def test_all_that_went_wrong_is_named(tmp_path: Path) -> None:
    code, told = verdict(tmp_path, test_good=GOOD, test_wrong=WRONG)
    assert (code, told["good"], told["passed"]) == (1, False, 3)
    assert told["wrong"] == ["test_wrong.py::test_needs", "test_wrong.py::test_fails"]


def test_file_that_cannot_be_read_is_wrong_and_no_test_is_not_good(tmp_path: Path) -> None:
    code, told = verdict(tmp_path, test_torn="import absent_module\n")
    assert (code, told["good"], told["wrong"]) == (2, False, ["test_torn.py"])
    (tmp_path / "test_torn.py").unlink()
    code, told = verdict(tmp_path)
    assert (code, told["good"], told["wrong"]) == (5, False, [])
