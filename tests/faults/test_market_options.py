"""Recorded quotes as options of an installation: what they become, what is refused before anything starts."""

import argparse
import os
from pathlib import Path

import pytest

from workers.market_options import add_market_options, chosen_options, market_speed, wrong_options
from workers.up import EXIT_USAGE, main


def options_of(*given: str) -> tuple[str, ...]:
    parser = argparse.ArgumentParser()
    add_market_options(parser)
    return chosen_options(parser.parse_args(given))


def test_files_are_kept_by_their_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How: later starts may happen in another folder."""
    monkeypatch.chdir(tmp_path)
    Path("SPY-20131008-second.csv.gz").touch()
    options = options_of("--market", "SPY-20131008-second.csv.gz", "--speed", "20")
    assert options == (f"--market={tmp_path / 'SPY-20131008-second.csv.gz'}", "--speed=20")
    assert wrong_options(options) == []
    assert options_of() == ()


@pytest.mark.parametrize(
    ("options", "speed"),
    [((), "1"), (("--speed=20",), "20"), (("--speed", "2", "--seed=3"), "2"), (("--seed=3",), "1")],
)
def test_the_product_is_told_the_speed_of_its_market(options: tuple[str, ...], speed: str) -> None:
    assert market_speed(options) == speed


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--speed", "20.5", "less than or equal to 20"),
        ("--speed", "0", "greater than 0"),
        ("--speed", "-1", "greater than or equal to 0"),
        ("--speed", "fast", "valid number"),
        ("--start", "yesterday", "--start"),
        ("--start", "2013-10-08T10:00:00", "timezone"),
        ("--market", "nowhere.csv.gz", "there is no file"),
    ],
)
def test_a_market_that_cannot_be_is_bad_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, told: str
) -> None:
    folder = tmp_path / "never"
    assert main(["--data-dir", str(folder), option, value]) == EXIT_USAGE
    assert told in capsys.readouterr().err
    assert not os.path.lexists(folder)
