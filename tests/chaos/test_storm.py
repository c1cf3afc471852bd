"""The kill storm in its short form: a few signals, each kind of process killed, answers lost and frames doubled."""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.servers.processes import REPOSITORY, needs_proc
from workers.chaos.__main__ import main
from workers.chaos.killer import Killer
from workers.chaos.report import too_long
from workers.chaos.storm import Wanted, storm, wrong_run
from workers.chaos.victims import GivenUp, StageError

SIGNALS = 14
KILLS = 4

pytestmark = [needs_proc, pytest.mark.timeout(300)]


async def test_a_short_storm_is_good() -> None:
    """How: the command as a person runs it, everything in one process, with the mix whose faults all leave the
    order at the broker, so that nothing waits for a proof of absence.
    """
    options = f"--signals {SIGNALS} --kills {KILLS} --mix landed --topology compact --seed 3 --json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.chaos", *options.split(), cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert err.decode() == ""
    told = json.loads(out)
    assert process.returncode == 0, told
    assert (told["good"], told["wrong"]) == (True, [])
    assert (told["signals"], sum(told["kills"].values())) == (SIGNALS, KILLS)
    assert (told["duplicates"], told["lost"], told["unapproved"], told["unfinished"]) == (0, 0, 0, 0)
    assert sum(told["injected"].values()) > 0
    off = ("audit_orders_off", "audit_fills_off", "audit_positions_off", "audit_doubts")
    assert [told[name] for name in off] == [0, 0, 0, 0]
    assert told["audit_orders"] >= SIGNALS
    assert told["audit_fills"] >= told["filled"]
    assert told["filled"] + told["resting"] == told["approved"] <= told["broker_orders"]


@pytest.mark.slow
async def test_a_victim_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_vain(*_: Any) -> None:
        raise StageError("not within 90 s: execution is ready")

    monkeypatch.setattr(Killer, "run", in_vain)
    with pytest.raises(GivenUp, match="execution is ready"):
        await storm(Wanted(1, 1, "landed", 1, quiet=True, topology="compact"))


@pytest.mark.parametrize(("error", "code"), [(GivenUp, 1), (StageError, 3)])
def test_what_never_recovers_is_found_wrong_and_what_never_stood_was_no_run(
    error: type[StageError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(_: Any) -> Any:
        raise error("execution is ready")

    monkeypatch.setattr("workers.chaos.storm.run", run)
    assert main(["--signals", "1", "--json"]) == code
    out = capsys.readouterr().out
    assert not out if code == 3 else json.loads(out)["wrong"] == ["given up: execution is ready"]


def test_a_run_that_shows_too_little_is_wrong() -> None:
    """How: each thing that a full run must have had, one short of it."""
    wanted = Wanted(1000, 200, "standard", 1, quiet=True)
    sound = {"signals": 1000, "approved": 800, "filled": 600, "resting": 40, "injected": {"drop_frame": 5}}
    assert wrong_run(sound, wanted, ["drop_frame"]) == []
    for short in (
        {"signals": 999}, {"approved": 799}, {"filled": 599}, {"resting": 39}, {"injected": {"drop_frame": 4}},
        {"injected": {}},
    ):  # fmt: skip
        assert len(wrong_run(sound | short, wanted, ["drop_frame"])) == 1, short


def test_a_whole_run_that_takes_longer_than_it_may_is_told() -> None:
    assert too_long(25 * 60, 25) == []
    assert too_long(25 * 60 + 30, 25) == ["it took 25.5 minutes of 25"]
