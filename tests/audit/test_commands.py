"""``trading audit``: verify, prove, show and export, as a person and a program use them."""

import json
from pathlib import Path

import asyncpg
import pytest

from audit.check.tree import Tree
from tests.audit.loading import load_log
from tests.audit.made import Log, line_of, make_log
from tests.console.commands import Trading, environment

ROWS, SIZES = 60, [20, 40, 55]


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(ROWS, SIZES)


@pytest.fixture(scope="module")
def outside(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log.put_outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture
async def trading(database: str, log: Log, outside: Path) -> Trading:
    connection = await asyncpg.connect(database)
    await load_log(connection, log)
    await connection.close()
    return Trading(environment(TRADING_DATABASE_URL=database, TRADING_AUDIT_TARGET=str(outside)))


def frontier_of(log: Log, size: int) -> tuple[list[str], str]:
    """What a check of so many rows leaves behind."""
    tree = Tree()
    tree.extend(log.leaves[:size])
    return tree.frontier(), tree.root().hex()


def nowhere() -> Trading:
    """The program with nothing but files."""
    return Trading(environment())


async def test_export_verify_and_prove_for_a_stranger(
    trading: Trading, log: Log, outside: Path, tmp_path: Path
) -> None:
    """How: export and proof are made with the database; checked without it, whole, in part, and after a change."""
    done = await trading("audit", "export", "--into", str(tmp_path), "--json")
    assert (done.code, done.json["rows"], len(done.json["files"])) == (0, 55, 1), done.err
    (file,) = done.json["files"]
    again = await trading("audit", "export", "--into", str(tmp_path))
    assert (again.code, again.out.splitlines()) == (0, ["55 rows, 0 to 54", file])
    offline = ("audit", "verify", "--checkpoints", str(outside), "--key", log.signer.vkey)
    found = await nowhere()(*offline, "--export", file, "--json")
    assert (found.code, found.json["ok"], found.json["rows"], found.json["warnings"]) == (0, True, 55, [])

    part = await trading("audit", "export", "--into", str(tmp_path), "--from", "10", "--to", "20", "--json")
    (piece,) = part.json["files"]
    assert [(await nowhere()(*offline, "--export", piece, *more)).code for more in ((), ("--part",))] == [
        1,
        0,
    ]

    lines = [line_of(row, number) for number, row in enumerate(log.fields[:55])]
    lines[33] = lines[33].replace(b"system", b"sYstem")
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(b"\n".join(lines) + b"\n")
    told = await nowhere()(*offline, "--export", str(changed))
    assert told.code == 1
    first = f"first wrong row: 33 (id {log.fields[33]['id']}, {log.fields[33]['correlation_id']}): EDITED"
    assert first in told.out
    assert told.err == ""

    proof = tmp_path / "rows.proof"
    assert (await trading("audit", "prove", "sig-0003", "--out", str(proof))).code == 0
    checked = await nowhere()("audit", "prove", "--check", str(proof), "--key", log.signer.vkey, "--json",
                              "--checkpoints", str(outside))  # fmt: skip
    mine = [number for number, row in enumerate(log.fields) if row["correlation_id"] == "sig-0003"]
    assert sorted(each["sequence"] for each in checked.json) == mine
    proof.write_text(proof.read_text().replace("system", "sYstem"))
    refused = await nowhere()("audit", "prove", "--check", str(proof), "--key", log.signer.vkey)
    assert (refused.code, "not proved: row 1" in refused.err) == (1, True)


async def test_a_row_that_was_changed_is_not_proved(trading: Trading, database: str, log: Log) -> None:
    """How: its leaf is as it was, so the tree still has the signed root."""
    connection = await asyncpg.connect(database)
    await connection.execute("set session_replication_role = replica")
    await connection.execute("update audit_log set decision = 'APPROVED' where id = $1", log.fields[7]["id"])
    await connection.close()
    done = await trading("audit", "prove", str(log.fields[7]["correlation_id"]))
    assert (done.code, done.out, "cannot be proved" in done.err) == (1, "", True), done.err


async def test_verify_goes_on_and_finds(trading: Trading, database: str, log: Log, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    full = await trading("audit", "verify", "--incremental", "--state", str(state))
    assert full.code == 0, full.out
    assert "60 hashed anew, 0 to 59" in full.out
    assert "warning" in full.out, "the key was not given"
    later = await trading("audit", "verify", "--incremental", "--state", str(state), "--json")
    assert (later.code, later.json["first"], later.json["rows"]) == (0, 55, 5)
    connection = await asyncpg.connect(database)
    await connection.execute("set session_replication_role = replica")
    await connection.execute("update audit_log set decision = 'APPROVED' where id = $1", log.fields[7]["id"])
    await connection.close()
    wrong = await trading("audit", "verify", "--json", "--state", str(state))
    assert (wrong.code, wrong.json["first_wrong"]["kind"], wrong.json["first_wrong"]["sequence"]) == (
        1,
        "EDITED",
        7,
    )
    assert wrong.json["first_wrong"]["audit_id"] == log.fields[7]["id"]
    kept = json.loads(state.read_text())
    assert kept["size"] == 55
    frontier, root = frontier_of(log, 56)
    state.write_text(json.dumps(kept | {"size": 56, "frontier": frontier, "root": root}))
    rolled = await trading("audit", "verify", "--json", "--state", str(state))
    assert "ROLLED_BACK" in {each["kind"] for each in rolled.json["findings"]}, "a full check remembers too"


async def test_show_tells_a_story_in_order(trading: Trading, log: Log) -> None:
    story = [row for row in log.fields if row["correlation_id"] == "sig-0010"]
    shown = await trading("audit", "show", "sig-0010", "--json")
    assert shown.code == 0
    assert [each["id"] for each in shown.json] == sorted(row["id"] for row in story)
    assert {each["sealed_by"] for each in shown.json} == {55}
    assert [each["checks"] for each in shown.json] == [
        row["checks"] for row in sorted(story, key=lambda row: int(row["id"]))
    ]
    one = await trading("audit", "show", str(story[0]["id"]))
    assert one.code == 0
    assert f"id {story[0]['id']}, row" in one.out
    assert "under checkpoint 55" in one.out
    none = await trading("audit", "show", "nothing\x1b[31m")
    assert (none.code, "\x1b" in none.err) == (1, False)


async def test_a_folder_that_cannot_be_made_is_a_mistake(trading: Trading) -> None:
    done = await trading("audit", "export", "--into", "/proc/nowhere")
    assert (done.code, "/proc/nowhere cannot be written" in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--export", "nowhere.jsonl"),
        ("prove", "x", "--check", "y"),
        ("export", "--from", "yesterday"),
        ("restore", "--from", "0001-01-01T00:00:00+14:00", "--to", "2026-10-02"),
        ("drop", "٢٠١٩-03", "--reason", "old"),
    ],
)
async def test_mistakes_are_told_in_two_lines(outside: Path, arguments: tuple[str, ...]) -> None:
    mistaken = Trading(
        environment(TRADING_AUDIT_TARGET=str(outside), TRADING_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    )
    done = await mistaken("audit", *arguments)
    assert (done.code, [line[:9] for line in done.err.splitlines()]) == (2, ["trading: ", "  what to"]), (
        done.err
    )
