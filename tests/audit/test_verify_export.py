"""The verifier on export files and a checkpoints folder alone."""

from pathlib import Path

import pytest

from audit.check.findings import Report, Wrong
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verify import verify_export
from tests.audit.made import Log, make_log


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(1_000)


@pytest.fixture(scope="module")
def outside(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log.put_outside(tmp_path_factory.mktemp("outside"))


async def verify(log: Log, outside: Path, lines: list[bytes], folder: Path, *, whole: bool = True) -> Report:
    file = folder / "export.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return await verify_export([file], Folder(outside), VerifierKey.parse(log.signer.vkey), whole=whole)


async def test_a_good_log_is_good(log: Log, outside: Path, tmp_path: Path) -> None:
    report = await verify(log, outside, log.lines, tmp_path)
    assert report.findings == []
    assert (report.rows, report.payloads, report.first, report.end) == (1_000, 1_000, 0, 1_000)
    assert (report.checkpoints, report.newest, report.beyond) == (10, 1_000, 0)


async def test_changes_are_named(log: Log, outside: Path, tmp_path: Path) -> None:
    lines = log.lines
    for change, kind, row in (
        (lines[:500] + lines[501:], Wrong.MISSING, 500),
        (lines[:500] + lines[520:], Wrong.MISSING, 500),
        ([*lines[:500], lines[3], *lines[500:]], Wrong.INSERTED, 500),
        ([*lines[:500], lines[501], lines[500], *lines[502:]], Wrong.SWAPPED, 500),
        ([*lines[:10], lines[900], *lines[11:900], lines[10], *lines[901:]], Wrong.SWAPPED, 10),
        (lines[:700], Wrong.CUT_TAIL, 700),
        ([*lines[:999], lines[999].replace(b"system", b"sYstem")], Wrong.EDITED, 999),
        ([*lines[:998], lines[999]], Wrong.MISSING, 998),
        ([*lines[:998], lines[999], lines[998]], Wrong.SWAPPED, 998),
    ):
        report = await verify(log, outside, change, tmp_path)
        first = report.first_wrong
        assert first is not None
        assert (first.kind, first.sequence) == (kind, row), report.findings
