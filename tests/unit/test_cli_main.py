"""How the program ``trading`` starts and ends: fast, with the right exit code, never with a traceback."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console.errors import CommandFailed, DependencyDown, Refused
from console.main import _COMMANDS, _GROUPS, build_app, run

PROGRAM = Path(sys.executable).with_name("trading")
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TRADING_DATA_DIR": "/nonexistent/data"}
HEAVY = {"temporalio", "pydantic", "asyncpg", "alpaca", "fastapi", "httpx2", "rich", "cryptography", "pandas"}
RUN_SECONDS = 60
ANSWERS_OF_DATABASE_DOWN = (
    "status", "orders", "positions", "account", "signal list", "kill", "migrate", "events tail",
)  # fmt: skip


def trading(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a person does."""
    return subprocess.run(
        [str(PROGRAM), *arguments], capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
        env=ENVIRONMENT | variables,
    )  # fmt: skip


def imported_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter loads."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=RUN_SECONDS
    )
    return {name.partition(".")[0] for name in found.stdout.split()}


def test_every_command_can_be_imported_and_has_help() -> None:
    app = build_app()
    for _, name, _, text in _COMMANDS:
        assert callable(app[name].default_command), name
        assert text.endswith(".")
    for group, _, commands in _GROUPS:
        for name, _, _ in commands:
            assert callable(app[group][name].default_command), (group, name)


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = trading("--help")
    assert done.returncode == 0
    for _, name, _, _ in _COMMANDS:
        assert name in done.stdout
    assert "3 a dependency is" in done.stdout


def test_the_program_starts_without_what_its_commands_need() -> None:
    assert not imported_by("import console.main; console.main.build_app()") & HEAVY


def test_status_needs_rows_and_nothing_else() -> None:
    assert imported_by("import console.status, asyncpg") & HEAVY == {"asyncpg"}


@pytest.mark.parametrize(
    "arguments",
    ["nonsense", "status --nope", "order show", "orders --limit 0", "kill --scope most", "signal submit",
     "signal submit /nonexistent.json", "worker nonsense", "exchange --nope", "up --nope",
     "events tail --topic nonsense", "events tail --since yesterday", "events tail --limit 0"],
)  # fmt: skip
def test_bad_usage_is_exit_2(arguments: str) -> None:
    done = trading(*arguments.split())
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr


@pytest.mark.parametrize(
    ("arguments", "what", "do"),
    [("status --nope", "no such option --nope", "see `trading status --help`"),
     ("--nope", "no such option --nope", "see `trading --help`"),
     ("orders --lmit 3", "no such option --lmit. Did you mean --limit?", "see `trading orders --help`"),
     ("order show one two", "`trading order show` does not take: two", "see `trading order show --help`"),
     ("signal nonsense", 'Unknown command "nonsense". Available commands: submit, show, list',
      "see `trading signal --help`")],
)  # fmt: skip
def test_a_wrong_command_line_is_told_in_two_lines(
    capsys: pytest.CaptureFixture[str], arguments: str, what: str, do: str
) -> None:
    assert run(arguments.split()) == 2
    told = capsys.readouterr()
    assert told.err == f"trading: {what}\n  what to do: {do}\n"
    assert told.out == ""


@pytest.mark.parametrize(
    "arguments", [["status", "--nope"], ["orders", "--limit", "0"], ["signal", "submit"]]
)
def test_bad_usage_for_programs(arguments: list[str]) -> None:
    done = trading(*arguments, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "BAD_USAGE"


@pytest.mark.parametrize("command", ANSWERS_OF_DATABASE_DOWN)
def test_nothing_running_is_exit_3_and_says_what_to_do(command: str) -> None:
    done = trading(*command.split())
    assert done.returncode == 3
    assert "what to do" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ANSWERS_OF_DATABASE_DOWN)
def test_a_dead_database_is_exit_3(command: str) -> None:
    done = trading(*command.split(), "--json", TRADING_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 3
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stderr
    json.loads(done.stdout)


def test_a_broken_pipe_is_quiet() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} --help | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=RUN_SECONDS, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_a_closed_output_is_quiet() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} --help >&-"],
        capture_output=True, text=True, timeout=RUN_SECONDS, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


# A job that a shell put into the background starts with SIGINT ignored, and so would its children.
HEEDING_CTRL_C = (
    "import os, sys; from signal import *; signal(SIGINT, SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_ctrl_c_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HEEDING_CTRL_C, str(PROGRAM), "signal", "submit", "-"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as waiting:  # fmt: skip
        assert waiting.stdin is not None
        assert waiting.stderr is not None
        # It reads standard input once it is up: a pipe holds less than this.
        waiting.stdin.write(" " * 200_000)
        waiting.stdin.flush()
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr.read() == ""
    assert waiting.returncode == 130


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("console.main._run", broken)
    assert run(["orders"]) == 1
    errors = capsys.readouterr().err
    assert "unexpected ZeroDivisionError" in errors
    assert "TRADING_DEBUG" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("error", "code"), [(Refused("no"), 1), (DependencyDown("down"), 3)])
def test_a_failed_command_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: CommandFailed, code: int
) -> None:
    def failing(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("console.main._run", failing)
    assert run(["orders", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["message"] == error.what
