"""Crash points: who passes an ordered one is dead at once, and nobody who trades elsewhere may order any."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from observability import crash_points
from workers.crash_orders import CrashPointsRefused, refuse_crash_points
from workers.settings import BrokerSettings, DatabaseSettings, Settings, TemporalSettings

BEFORE = "commit placement.intent before"
PASSES = """
from observability.crash_points import calling, pass_by
pass_by("commit", "placement.intent", "before")
print("went on")
try:
    with calling("temporal.start"):
        raise OSError
except OSError:
    print("raised")
with calling("temporal.start"):
    print("called")
print("came back")
"""


def run(folder: Path | None) -> tuple[int, str]:
    env = {} if folder is None else {crash_points.VARIABLE: str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PASSES], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("ordered", "told"),
    [
        (BEFORE, ""),
        ("call temporal.start before", "went on\n"),
        ("call temporal.start after", "went on\nraised\ncalled\n"),
    ],
)
def test_the_process_dies_at_its_point_and_the_next_one_goes_on(
    tmp_path: Path, ordered: str, told: str
) -> None:
    crash_points.order(tmp_path, ordered)
    assert crash_points.died_at(tmp_path, ordered) is None
    code, output = run(tmp_path)
    assert code == -signal.SIGKILL
    assert told.startswith(output), "what was printed is in a buffer, or was shown"
    assert crash_points.died_at(tmp_path, ordered) is not None
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path)[0] == 0


def test_nothing_happens_without_an_order(tmp_path: Path) -> None:
    crash_points.order(tmp_path, "commit placement.intent after")
    assert run(None) == run(tmp_path)
    assert run(None)[0] == 0


def broker(url: str) -> Settings:
    return BrokerSettings.model_construct(broker_trading_url=url)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (broker("http://127.0.0.1:8085"), True),
        (broker("http://[::1]:8085"), True),
        (broker("https://paper-api.alpaca.markets"), False),
        (broker("http://paper-exchange:8085"), False),
        (broker("http://127.0.0.1.example.com:80"), False),
        (DatabaseSettings.model_construct(database_url=SecretStr("postgresql://ti@127.0.0.1:5/x")), True),
        (DatabaseSettings.model_construct(database_url=SecretStr("postgresql://ti@/x?host=/run/pg")), True),
        (
            DatabaseSettings.model_construct(database_url=SecretStr("postgresql://ti@/x?host=db.example")),
            False,
        ),
        (DatabaseSettings.model_construct(database_url=SecretStr("postgresql://ti@database:5432/x")), False),
        (TemporalSettings.model_construct(temporal_address="localhost:7233"), True),
        (TemporalSettings.model_construct(temporal_address="temporal:7233"), False),
    ],
)
def test_crash_points_are_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, allowed: bool
) -> None:
    refuse_crash_points(settings)
    monkeypatch.setenv(crash_points.VARIABLE, str(tmp_path))
    if allowed:
        refuse_crash_points(settings)
    else:
        with pytest.raises(CrashPointsRefused, match="not an address of this machine") as refused:
            refuse_crash_points(settings)
        assert "ti@" not in str(refused.value)


def test_only_points_that_there_are_can_be_ordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = broker("http://127.0.0.1:8085")
    monkeypatch.setenv(crash_points.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(CrashPointsRefused, match="names no folder"):
        refuse_crash_points(local)
    monkeypatch.setenv(crash_points.VARIABLE, str(tmp_path))
    for name in (BEFORE, "call place_order after", "commit placement.accepted before.4711"):
        crash_points.order(tmp_path, name)
    refuse_crash_points(local)
    crash_points.order(tmp_path, "commit placement.intend before")
    with pytest.raises(CrashPointsRefused, match=r"no such point: commit placement\.intend before"):
        refuse_crash_points(local)
