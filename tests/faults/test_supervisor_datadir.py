"""The data folder: who may use it, what lies in it with which mode, and what a killed process leaves."""

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workers import unprivileged
from workers.datadir import FIRST_PORT, LAST_PORT, DataDir, DataDirError, free_port, temporary_data_dir

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
HOLDER = """
import sys, time
from pathlib import Path
from workers.datadir import DataDir, temporary_data_dir
with temporary_data_dir() as folder, folder.locked():
    print(folder.root, flush=True)
    time.sleep(300)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Temporary folders of this test are made in its own folder, here and in its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "data")
    made.prepare()
    return made


def test_folders_are_private(folder: DataDir) -> None:
    for private in (folder.keys, folder.logs, folder.addresses_file.parent, folder.temporal_db.parent):
        assert mode(private) == 0o700
    assert mode(folder.root) == (0o711 if os.geteuid() == 0 else 0o700)


def test_prepare_keeps_what_is_there(folder: DataDir) -> None:
    (folder.keys / "key").write_text("secret")
    folder.prepare()
    assert (folder.keys / "key").read_text() == "secret"


def test_unusable_place_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match=r"cannot use the data folder .*: Not a directory; .* --data-dir"):
        DataDir(tmp_path / "file" / "data").prepare()


def test_second_process_is_refused_with_the_first_ones_id(folder: DataDir) -> None:
    """How: a second open file of the same lock stands for the second process; flock treats them alike."""
    refused = pytest.raises(DataDirError, match=f"in use by process {os.getpid()}")
    with folder.locked(), refused, folder.locked():
        pytest.fail("two holders at once")
    with folder.locked():
        pass


def test_lock_of_a_killed_process_is_free(short_tmp: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        folder = DataDir(Path(holder.stdout.readline().strip()))
        assert folder.root.parent == short_tmp
        with pytest.raises(DataDirError, match=f"in use by process {holder.pid}"), folder.locked():
            pytest.fail("two holders at once")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with folder.locked():
            pass


def test_next_process_removes_what_a_killed_one_left_and_nothing_else(short_tmp: Path) -> None:
    foreign = short_tmp / "trading-interface-but-not-ours"
    foreign.mkdir()
    with (
        temporary_data_dir() as living,
        subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder,
    ):
        assert holder.stdout
        abandoned = Path(holder.stdout.readline().strip())
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert abandoned.exists()
        with temporary_data_dir():
            assert not abandoned.exists()
            assert living.root.exists()
            assert foreign.exists()
    assert not living.root.exists()


def test_addresses_are_private_and_replaced_whole(folder: DataDir) -> None:
    folder.write_addresses({"gateway": "http://127.0.0.1:1", "long": "x" * 1000})
    folder.write_addresses({"gateway": "http://127.0.0.1:2"})
    assert folder.read_addresses() == {"gateway": "http://127.0.0.1:2"}
    assert mode(folder.addresses_file) == 0o600
    assert [path.name for path in folder.addresses_file.parent.iterdir()] == ["addresses.json"]


def test_no_addresses_means_nothing_runs(folder: DataDir) -> None:
    folder.write_addresses({})
    folder.remove_addresses()
    folder.remove_addresses()
    with pytest.raises(DataDirError, match="start it with: trading up"):
        folder.read_addresses()


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_broken_addresses_are_a_typed_error(folder: DataDir, content: str) -> None:
    folder.addresses_file.write_text(content)
    with pytest.raises(DataDirError, match=r"addresses\.json"):
        folder.read_addresses()


def test_default_place_is_a_setting_or_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_DATA_DIR", "/somewhere/else")
    assert DataDir.default().root == Path("/somewhere/else")
    monkeypatch.delenv("TRADING_DATA_DIR")
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert DataDir.default().root == Path("/home/ada/.local/share/trading-interface")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert DataDir.default().root == Path("/var/lib/trading-interface")


def test_no_two_names_ever_have_one_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How: the same number comes up again, and stands twice in a file of an earlier release."""
    numbers = iter([25_011, 25_011, 25_012, 25_012, 25_011, 25_013])
    monkeypatch.setattr("workers.datadir.random.randrange", lambda *_: next(numbers))
    monkeypatch.setattr("workers.datadir._can_listen", lambda _: True)
    monkeypatch.setattr("workers.datadir.socket.socket.bind", lambda *_: None)
    folder = DataDir(tmp_path)
    assert [folder.port(name) for name in ("a", "b", "a", "b")] == [25_011, 25_012, 25_011, 25_012]
    (tmp_path / "ports.json").write_text('{"a": 25011, "b": 25011, "c": 25012}')
    assert [folder.port(name) for name in ("a", "b", "c")] == [25_013, 25_011, 25_012]
    assert [path.name for path in tmp_path.iterdir()] == ["ports.json"]


def test_free_port_is_free_and_outside_the_range_of_outgoing_connections() -> None:
    port = free_port()
    assert FIRST_PORT <= port < LAST_PORT
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


@needs_root
def test_folder_nobody_cannot_reach_is_refused_with_the_remedy(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "postgres").mkdir()
    with pytest.raises(unprivileged.UnreachableError, match=r"may not pass through .*chmod o\+x"):
        unprivileged.hand_over(closed / "postgres")


@needs_root
def test_programs_nobody_cannot_reach_are_copied_once_to_where_he_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """How: a program and what it reads beside its tree lie in a folder closed to others, like root's home."""
    base = tmp_path / "closed"
    (base / "server" / "bin").mkdir(parents=True)
    base.chmod(0o700)
    program = base / "server" / "bin" / "program"
    program.write_text("#!/bin/sh\ncat $(dirname $0)/../../libs/share\n")
    program.chmod(0o700)
    (base / "libs").mkdir(mode=0o700)
    (base / "libs" / "share").write_text("reached")
    (base / "libs" / "share").chmod(0o600)
    (base / "secret").touch()
    with tempfile.TemporaryDirectory(dir="/tmp") as cache:
        Path(cache).chmod(0o755)
        monkeypatch.setattr(unprivileged, "CACHE", Path(cache))
        copy = unprivileged.reachable_copy(base, [base / "server", base / "libs"], program)
        assert copy != base
        assert not (copy / "secret").exists()
        assert unprivileged.reachable_copy(base, [base / "server", base / "libs"], program) == copy
        nobody = pwd.getpwnam(unprivileged.USER).pw_uid
        command = [copy / "server" / "bin" / "program"]
        run = subprocess.run(command, user=nobody, cwd="/", capture_output=True, text=True, check=True)
        assert run.stdout == "reached"


@needs_root
def test_reachable_programs_are_used_where_they_are() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        base = Path(made)
        base.chmod(0o755)
        (base / "program").touch(mode=0o755)
        assert unprivileged.reachable_copy(base, [base], base / "program") == base


def test_a_folder_keeps_its_topology(tmp_path: Path) -> None:
    """Open workflows wait on the queues of the workers that began them."""
    fresh = DataDir(tmp_path / "fresh")
    fresh.root.mkdir()
    fresh.keep_topology("isolated")
    fresh.postgres.mkdir()
    fresh.keep_topology("isolated")
    with pytest.raises(DataDirError, match="was run as isolated"):
        fresh.keep_topology("compact")
    old = DataDir(tmp_path / "old")
    old.postgres.mkdir(parents=True)
    old.keep_topology("compact")
    with pytest.raises(DataDirError, match="was run as compact"):
        old.keep_topology("isolated")
