"""Every change of an export is found, and the first wrong row is named. The whole: ``make audit-mutations``."""

import random
from pathlib import Path

import pytest

from audit.check.findings import Wrong
from tests.audit.made import Log, make_log
from tests.audit.mutations import BITS, Export, flips, one_flip

SHORT, WHOLE = 24, 1_000
PAIRS = 200


@pytest.fixture(
    scope="module", params=[SHORT, pytest.param(WHOLE, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A log of so many rows; the last checkpoint is at its end."""
    rows: int = request.param
    sizes = [*range(5, rows, 5), rows] if rows == SHORT else None
    return Export.of(make_log(rows, sizes), tmp_path_factory.mktemp("export"))


def rows_of(export: Export) -> range:
    return range(len(export.lines))


async def test_every_single_byte_flip_is_seen_at_its_row(export: Export) -> None:
    """How: each byte of each line, each of its eight bits (in the short form one), held against the row's leaf."""
    count, missed = 0, []
    bits = BITS if len(export.lines) == WHOLE else BITS[:1]
    for row, line in enumerate(export.lines):
        for changed in flips(line, bits):
            count += 1
            if not export.is_seen(row, changed):
                missed.append((row, changed))
    assert not missed, missed[:3]
    assert count == len(bits) * sum(map(len, export.lines))
    print(f"{count:,} single-bit flips of {len(export.lines):,} rows: every one seen")


async def test_a_flip_in_every_row_is_found_by_the_full_verifier(export: Export) -> None:
    chance = random.Random(2)
    for row in rows_of(export):
        changed = one_flip(export.lines[row], chance)
        found = await export.first_wrong([*export.lines[:row], changed, *export.lines[row + 1 :]])
        assert found is not None, changed
        assert found[1] == row, (found, row, changed)


async def test_every_missing_row_is_named(export: Export) -> None:
    for row in rows_of(export):
        kind = Wrong.CUT_TAIL if row == len(export.lines) - 1 else Wrong.MISSING
        found = await export.first_wrong([*export.lines[:row], *export.lines[row + 1 :]])
        assert found == (kind, row)


async def test_every_inserted_row_is_named(export: Export) -> None:
    """How: a row with good hashes of its own, and a copy of an older one, before each row and at the end."""
    stranger = make_log(3, [3], seed=9).lines[1].replace(b'"sequence":1,', b'"sequence":%d,')
    for row in range(len(export.lines) + 1):
        last = row == len(export.lines)
        for line in (stranger % row, *export.lines[max(row - 3, 0) : row][:1]):
            found = await export.first_wrong([*export.lines[:row], line, *export.lines[row:]])
            assert found is not None
            assert last or found[0] == Wrong.INSERTED, (found, row)
            assert found[1] == row, (found, row)


async def test_every_swap_is_named(export: Export) -> None:
    """How: each row with its neighbour, then pairs at random."""
    chance = random.Random(3)
    pairs = [(row, row + 1) for row in rows_of(export)[:-1]]
    pairs += [
        tuple(sorted(chance.sample(rows_of(export), 2))) for _ in range(min(PAIRS, 2 * len(export.lines)))
    ]
    for one, other in pairs:
        lines = list(export.lines)
        lines[one], lines[other] = lines[other], lines[one]
        assert await export.first_wrong(lines) == (Wrong.SWAPPED, one), (one, other)


async def test_the_tail_cut_at_every_length_is_named(export: Export) -> None:
    for length in rows_of(export):
        assert await export.first_wrong(export.lines[:length]) == (Wrong.CUT_TAIL, length)


async def test_a_file_cut_within_a_line_is_named(export: Export) -> None:
    row = len(export.lines) - 1
    whole = b"".join(line + b"\n" for line in export.lines)
    for cut in (1, 2, len(export.lines[-1])):
        export.file.write_bytes(whole[:-cut])
        found = (await export.reread()).first_wrong
        assert found is not None
        assert found.sequence == row


async def test_the_whole_log_rolled_back_to_each_earlier_checkpoint_is_named(export: Export) -> None:
    for size in export.log.sizes[:-1]:
        assert await export.first_wrong(export.lines[:size]) == (Wrong.CUT_TAIL, size)


async def test_a_log_signed_anew_by_another_is_not_believed(export: Export, tmp_path: Path) -> None:
    """How: rows, leaves and checkpoints are all made anew by somebody without the key."""
    forged = Log([row | {"decision": "APPROVED"} for row in export.log.fields], export.log.sizes)
    report = await export.verify(forged.lines, forged.put_outside(tmp_path))
    refused = [each for each in report.findings if each.kind == Wrong.BAD_CHECKPOINT]
    assert len(refused) == len(export.log.sizes)
    assert (report.checkpoints, report.newest) == (0, None)
