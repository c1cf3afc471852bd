"""Where the command line looks for the installation, and what it says when nothing is there."""

import json
import os
from pathlib import Path

import pytest

from console.addresses import find
from console.errors import BadUsage, DependencyDown

FOUND = {"gateway_url": "http://127.0.0.1:1", "pid": os.getpid(), "tokens": {"demo": "secret"}}
NO_SUCH_PROCESS = 2**22 + 1


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRADING_")]:
        monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    (folder / "run").mkdir()
    (folder / "run" / "addresses.json").write_text(text)
    return folder


def test_the_file_of_the_running_installation_is_read(tmp_path: Path) -> None:
    addresses = find(write(tmp_path, json.dumps(FOUND)))
    assert addresses.running
    assert addresses.need("gateway_url") == "http://127.0.0.1:1"
    assert addresses.need("token") == "secret"
    assert addresses.namespace == "trading"


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_DATA_DIR", str(write(tmp_path, json.dumps(FOUND))))
    assert find(None).data_dir == tmp_path


def test_variables_outrank_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_GATEWAY_URL", "http://elsewhere")
    monkeypatch.setenv("TRADING_TOKEN", "mine")
    addresses = find(write(tmp_path, json.dumps(FOUND)))
    assert (addresses.need("gateway_url"), addresses.need("token")) == ("http://elsewhere", "mine")


def test_the_roles_password_may_be_a_file_as_every_process_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trading_database_password").write_text("a/b @c\n")
    monkeypatch.setenv("TRADING_SECRETS_DIR", str(tmp_path))
    for given, found in (
        (
            "postgresql://ti_console@database:5432/trading",
            "postgresql://ti_console:a%2Fb%20%40c@database:5432/trading",
        ),
        ("postgresql://ti_console:own@database/trading", "postgresql://ti_console:own@database/trading"),
    ):
        monkeypatch.setenv("TRADING_DATABASE_URL", given)
        assert find(None).need("database_url") == found


def test_nothing_there_says_what_to_do(tmp_path: Path) -> None:
    addresses = find(tmp_path)
    assert not addresses.running
    with pytest.raises(DependencyDown) as caught:
        addresses.need("database_url")
    assert str(tmp_path) in caught.value.what
    assert "trading up" in caught.value.do
    assert "TRADING_DATABASE_URL" in caught.value.do


def test_a_dead_writer_is_not_running(tmp_path: Path) -> None:
    assert not find(write(tmp_path, json.dumps(FOUND | {"pid": NO_SUCH_PROCESS}))).running


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_broken_file_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadUsage):
        find(write(tmp_path, text))


@pytest.mark.parametrize("pid", [None, "1", -1, 0, 1.5, []])
def test_a_strange_pid_is_nobody(tmp_path: Path, pid: object) -> None:
    assert not find(write(tmp_path, json.dumps(FOUND | {"pid": pid}))).running
