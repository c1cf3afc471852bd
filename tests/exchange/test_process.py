"""The exchange as a program: options, environment, exit codes."""

from decimal import Decimal
from pathlib import Path

import pytest

from simulation.settings import DEFAULT_SYMBOLS, ExchangeSettings
from workers import exchange
from workers.exchange import EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, launch_from, main

KEYS = {"EXCHANGE_KEY": "K", "EXCHANGE_SECRET": "topsecret"}


def test_options_and_environment_become_settings() -> None:
    arguments = [
        "--data-dir",
        "d",
        "--cash",
        "5000",
        "--symbol",
        '{"symbol":"ABC","price":"12.5"}',
        "--tickers",
        "3",
    ]
    launch = launch_from([*arguments, "--start", "2026-11-27T12:57:00-05:00", "--speed", "2"], KEYS)
    chosen = launch.settings
    assert (chosen.key.get_secret_value(), chosen.secret.get_secret_value()) == ("K", "topsecret")
    assert (chosen.cash, chosen.speed, chosen.data_dir) == (Decimal(5000), 2.0, Path("d"))
    assert len(chosen.universe()) == len(DEFAULT_SYMBOLS) + 4
    assert not launch.tells_keys
    assert "topsecret" not in repr(chosen)


def test_keys_nobody_gave_are_made_up_and_told() -> None:
    first, second = launch_from(["--data-dir", "d"], {}), launch_from(["--data-dir", "d"], {})
    assert first.tells_keys
    assert first.settings.key.get_secret_value() != second.settings.key.get_secret_value()


def test_without_a_folder_the_account_ends_with_the_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the server is taken for one that was stopped at once; what it was given is looked at."""
    used: list[Path] = []

    async def run(settings: ExchangeSettings, *, tells_keys: bool) -> None:
        used.append(settings.data_dir)
        assert tells_keys
        assert settings.data_dir.is_dir()

    monkeypatch.setattr(exchange, "_run", run)
    assert main([]) == EXIT_DONE
    assert main([]) == EXIT_DONE
    assert "no --data-dir" in capsys.readouterr().err
    assert used[0] != used[1]
    assert not any(folder.exists() for folder in used)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--speed", "21"),
        ("--start", "tomorrow"),
        ("--start", "2026-11-27T12:57:00"),
        ("--cash", "-1"),
        ("--symbol", "{}"),
        ("--symbol", "ABC"),
        ("--port", "70000"),
        ("--requests-per-minute", "0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert main(["--data-dir", str(tmp_path), option, value]) == EXIT_USAGE
    error = capsys.readouterr().err
    assert error.startswith("exchange: ")
    assert "Traceback" not in error


def test_a_start_the_calendar_does_not_reach_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-dir", str(tmp_path), "--start", "1990-01-01T00:00:00Z"]) == EXIT_REFUSED
    assert "the calendar covers" in capsys.readouterr().err
