"""The verifier on export files and a checkpoints folder alone."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from audit.check.findings import Report, Wrong
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verify import verify_export
from tests.audit.made import Log, canonical, line_of, make_log, tree_root


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


async def found(
    log: Log, outside: Path, folder: Path, lines: list[bytes] | None = None
) -> list[tuple[str, int | None]]:
    report = await verify(log, outside, log.lines if lines is None else lines, folder)
    return [(each.kind.value, each.sequence) for each in report.findings]


async def test_evidence_that_was_changed_outside_is_found(tmp_path: Path) -> None:
    """How: one thing is changed in the folder, looked for, and put back."""
    log = make_log(30, [10, 20, 30])
    outside = log.put_outside(tmp_path / "outside")
    note, leaves, proof = (
        outside / f"checkpoints/{20:020d}", outside / f"leaves/{10:020d}-{20:020d}",
        outside / f"consistency/{10:020d}-{20:020d}",
    )  # fmt: skip
    kept = {file: file.read_bytes() for file in (note, leaves, proof)}
    other = log.signer.note(20, tree_root(log.leaves[:19] + log.leaves[:1]))
    flipped = bytes([*kept[leaves][:40], kept[leaves][40] ^ 1, *kept[leaves][41:]])
    previous = [
        number for number, row in enumerate(log.fields) if str(row["previous_checkpoint"]).startswith("20 ")
    ]
    named = [("PREVIOUS_UNKNOWN", row) for row in previous]
    for file, content, expected in (
        (note, other, [("INCONSISTENT", 10), ("INCONSISTENT", 20), ("OUTSIDE_DAMAGED", 10), *named]),
        (note, kept[note].replace(b"\n20\n", b"\n21\n"), [("BAD_CHECKPOINT", None), *named]),
        (note, log.signer.note(10, tree_root(log.leaves[:10])), [("BAD_CHECKPOINT", None), *named]),
        (leaves, flipped, [("REWRITTEN", 11), ("OUTSIDE_DAMAGED", 10)]),
        (leaves, kept[leaves][:-32], [("REWRITTEN", 19), ("OUTSIDE_DAMAGED", 10), ("OUTSIDE_DAMAGED", None)]),
        (proof, kept[proof][:-10], [("OUTSIDE_DAMAGED", None)]),
        (proof, b"", [("INCONSISTENT", 10)]),
    ):
        file.write_bytes(content)
        assert sorted(await found(log, outside, tmp_path), key=str) == sorted(expected, key=str), file.name
        file.write_bytes(kept[file])
    assert await found(log, outside, tmp_path) == []


async def test_without_the_leaves_outside_the_signed_roots_still_tell(tmp_path: Path) -> None:
    """How: a file of leaves is gone; then a row after it, and its leaf, are changed too."""
    log = make_log(30, [10, 20, 30])
    outside = log.put_outside(tmp_path / "outside")
    (outside / f"leaves/{10:020d}-{20:020d}").unlink()
    assert await found(log, outside, tmp_path) == [("OUTSIDE_DAMAGED", 10)]
    lines = log.lines
    lines[25] = line_of(log.fields[25] | {"actor": "nobody"}, 25)
    assert await found(log, outside, tmp_path, lines) == [("OUTSIDE_DAMAGED", 10), ("REWRITTEN", 20)]


async def test_what_an_earlier_release_could_not_keep_is_no_finding_if_the_log_says_so(
    tmp_path: Path,
) -> None:
    """How: the payload of row 3 is not what was hashed; a row says so under the first checkpoint, or after it."""
    for place, kinds in ((8, []), (12, ["PAYLOAD_CHANGED"])):
        log = make_log(20, [10, 20])
        wrong, told = log.fields[3], canonical({"rows_without_their_hash": [log.fields[3]["id"]]})
        wrong["payload"] = "{}"
        log.fields[place] |= {
            "component": "Migration", "decision": "AUDIT_MOVED", "payload": told, "previous_checkpoint": None,
            "input_hash": sha256(told.encode()).hexdigest(),
        }  # fmt: skip
        for row in log.fields[10:]:
            row["previous_checkpoint"] = None
        outside = log.put_outside(tmp_path / str(place))
        report = await verify(log, outside, log.lines, tmp_path)
        assert [each.kind.value for each in report.findings] == kinds


async def test_a_list_of_what_could_not_be_kept_is_not_believed_if_its_row_is_not_right(
    tmp_path: Path,
) -> None:
    """How: the payload of row 3 is not what was hashed; the row that tells of it is changed in a copy, or is one
    that was written before it, or tells in broken JSON.
    """
    log = make_log(20, [10, 20])
    log.fields[3]["payload"] = "{}"
    told = canonical({"rows_without_their_hash": [log.fields[3]["id"]]})
    for place, sealed, written in (
        (8, "{}", told),
        (0, told, told),
        (8, "{", "{"),
        (8, "{}", "{"),
        (8, "[1]", "[1]"),
    ):
        changed = make_log(20, [10, 20])
        changed.signer = log.signer
        changed.fields[3]["payload"] = "{}"
        changed.fields[place] |= {
            "component": "Migration", "decision": "AUDIT_MOVED", "payload": sealed, "previous_checkpoint": None,
            "input_hash": sha256(sealed.encode()).hexdigest(),
        }  # fmt: skip
        for row in changed.fields:
            row["previous_checkpoint"] = None
        outside = changed.put_outside(tmp_path / f"{place}{len(sealed)}{len(written)}")
        lines = changed.lines
        lines[place] = canonical(json.loads(lines[place]) | {"payload": written}).encode()
        report = await verify(changed, outside, lines, tmp_path)
        expected = [("PAYLOAD_CHANGED", 3)] + [("PAYLOAD_CHANGED", place)] * (sealed != written)
        assert [(each.kind.value, each.sequence) for each in report.findings] == expected
        assert report.warnings == []


async def test_what_proves_nothing_is_not_right(log: Log, outside: Path, tmp_path: Path) -> None:
    """How: a folder without a checkpoint, or another log's; files without a row."""
    empty, others = tmp_path / "empty", make_log(10, [10]).put_outside(tmp_path / "others")
    empty.mkdir()
    young = make_log(10, [10])
    for whole in (True, False):
        report = await verify(young, empty, young.lines, tmp_path, whole=whole)
        assert [each.kind for each in report.findings] == [Wrong.NOT_PROVED]
        assert "--checkpoints" in report.findings[0].text
        report = await verify(log, others, [], tmp_path, whole=whole)
        assert {each.kind for each in report.findings} == {Wrong.BAD_CHECKPOINT, Wrong.NOT_PROVED}
    report = await verify(log, outside, [], tmp_path, whole=False)
    assert [each.kind for each in report.findings] == [Wrong.NOT_PROVED]
    report = await verify(log, outside, [], tmp_path)
    assert [each.kind for each in report.findings] == [Wrong.CUT_TAIL]


@pytest.mark.parametrize("first", [b'{"sequence":Infinity}', b"[" * 100_000])
async def test_a_first_line_that_is_none_is_named(
    log: Log, outside: Path, tmp_path: Path, first: bytes
) -> None:
    """How: what JSON readers choke on stands where the first row was."""
    report = await verify(log, outside, [first, *log.lines[1:]], tmp_path)
    assert report.first_wrong is not None
    assert (report.first_wrong.kind, report.first_wrong.sequence) == (Wrong.MALFORMED, 0)


async def test_leaves_that_were_put_and_never_signed_are_no_damage(tmp_path: Path) -> None:
    """How: leaves of rows that a restore took back lie outside, over rows that were sealed anew after it; then a
    hole is there too.
    """
    log = make_log(40, [10, 20, 40])
    outside = log.put_outside(tmp_path / "outside")
    other = b"".join(make_log(40, seed=2).leaves)
    for first, end in ((10, 15), (15, 18), (20, 30), (25, 40)):
        (outside / f"leaves/{first:020d}-{end:020d}").write_bytes(other[first * 32 : end * 32])
    assert await found(log, outside, tmp_path) == []
    (outside / f"leaves/{10:020d}-{20:020d}").unlink()
    assert await found(log, outside, tmp_path) == [("OUTSIDE_DAMAGED", 10)]
    report = await verify(log, outside, log.lines, tmp_path)
    assert report.findings[0].text == "the leaf hashes of rows 10 to 19 are not outside"
