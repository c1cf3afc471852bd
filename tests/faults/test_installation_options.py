"""What a folder remembers of its paper exchange."""

from pathlib import Path

from workers.datadir import DataDir
from workers.embedded import exchange_options, keep_exchange_options


def start(data_dir: DataDir, *given: str) -> tuple[str, ...]:
    """The options of one start, kept as after it came up."""
    options = exchange_options(data_dir, given)
    keep_exchange_options(data_dir, options)
    return options


def test_options_of_earlier_starts_are_kept_and_new_ones_win(tmp_path: Path) -> None:
    """How: names add up, a repeated one does not; a setting given anew replaces the old, values apart or not."""
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    assert start(data_dir) == ()
    first = ("--symbol={}", "--seed", "7", "--requests-per-minute=200")
    assert start(data_dir, *first) == first
    assert start(data_dir) == first
    again = start(data_dir, "--symbol={}", "--symbol={1}", "--requests-per-minute", "6000")
    assert again == ("--seed", "7", "--symbol={}", "--symbol={1}", "--requests-per-minute", "6000")
    assert start(data_dir) == again


def test_options_that_did_not_come_up_are_not_kept(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    assert exchange_options(data_dir, ["--no-such-option"]) == ("--no-such-option",)
    assert exchange_options(data_dir, []) == ()


def test_faults_are_of_one_start_only(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    given = ("--seed=7", "--fault-plan", "standard", "--fault-seed=3")
    assert start(data_dir, *given) == given
    assert start(data_dir) == ("--seed=7",)
