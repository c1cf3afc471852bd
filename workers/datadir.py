"""Where one installation keeps what it must not lose, and who may use the folder now."""

import fcntl
import json
import os
import random
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT_LOCATION = Path("/var/lib/trading-interface")
USER_LOCATION = Path("~/.local/share/trading-interface")
TEMPORARY_PREFIX = "trading-interface-"
TEMPORARY_LOCK = ".temporary"
PRIVATE_FOLDER_MODE = 0o700
# As root, PostgreSQL runs as nobody and must be able to pass through to its own folder, not to list ours.
PASSABLE_FOLDER_MODE = 0o711
PRIVATE_FILE_MODE = 0o600
# Below the kernel's range for outgoing connections (net.ipv4.ip_local_port_range, from 32768 on Linux and
# 49152 elsewhere), so that none of those takes a port between its choice and its use.
FIRST_PORT, LAST_PORT = 20_000, 32_000
PORT_ATTEMPTS_MAX = 200


class DataDirError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The folder of one installation; every path in it is named here and nowhere else."""

    root: Path

    @classmethod
    def default(cls) -> "DataDir":
        """``$TRADING_DATA_DIR``, else /var/lib/trading-interface as root and ~/.local/share/... otherwise."""
        chosen = os.environ.get("TRADING_DATA_DIR", "")
        if chosen:
            return cls(Path(chosen).expanduser().absolute())
        return cls(ROOT_LOCATION if os.geteuid() == 0 else USER_LOCATION.expanduser())

    @property
    def addresses_file(self) -> Path:
        """JSON object of the running installation's addresses; mode 0600."""
        return self.root / "run" / "addresses.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the one process that runs this installation; holds its process id."""
        return self.root / "run" / "lock"

    @property
    def keys(self) -> Path:
        """Key files, mode 0700."""
        return self.root / "keys"

    def service_secrets(self, service: str) -> Path:
        """The secrets of one process of the isolated topology, and nothing else."""
        return self.keys / "services" / service

    @property
    def topology_file(self) -> Path:
        """The topology that this installation's workflows were started in."""
        return self.root / "topology"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder: its cluster, password file and socket."""
        return self.root / "postgres"

    @property
    def temporal_db(self) -> Path:
        """The embedded Temporal server's SQLite file."""
        return self.root / "temporal" / "temporal.db"

    @property
    def exchange_ledger(self) -> Path:
        """The paper exchange's journal, JSON lines."""
        return self.root / "exchange" / "ledger.jsonl"

    @property
    def exchange_options(self) -> Path:
        """The options the paper exchange was last started with, a JSON list."""
        return self.root / "exchange" / "options.json"

    @property
    def audit(self) -> Path:
        """The audit log's checkpoints, where nothing else keeps them."""
        return self.root / "audit"

    def port(self, name: str) -> int:
        """The TCP port of ``name`` on 127.0.0.1: that of the last start, unless something else has it now.

        So addresses outlive a restart: a strategy's gateway, a scrape target, a bookmark of the Web UI.
        """
        file = self.root / "ports.json"
        try:
            found = json.loads(file.read_text())
        except (OSError, ValueError):
            found = None
        kept: dict[str, Any] = found if isinstance(found, dict) else {}
        chosen = kept.pop(name, None)
        # What others have is theirs, though they may not listen yet.
        if not isinstance(chosen, int) or chosen in kept.values() or not _can_listen(chosen):
            chosen = free_port(kept.values())
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(kept | {name: chosen}, indent=2) + "\n")
            fresh.replace(file)
        return chosen

    @property
    def logs(self) -> Path:
        """One log file for each child process."""
        return self.root / "logs"

    def log(self, name: str) -> Path:
        """Return the log file of the child process of that name."""
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Create the folders, each with its mode; nothing already there is lost.

        Raises:
            DataDirError: the place cannot be made or written, or nobody could not pass through it (as root).
        """
        mode = PASSABLE_FOLDER_MODE if os.geteuid() == 0 else PRIVATE_FOLDER_MODE
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(mode)
            private = (self.keys, self.logs, self.addresses_file.parent)
            for folder in (*private, self.temporal_db.parent, self.exchange_ledger.parent, self.audit):
                folder.mkdir(exist_ok=True)
                folder.chmod(PRIVATE_FOLDER_MODE)
        except OSError as error:
            raise DataDirError(
                f"cannot use the data folder {self.root}: {error.strerror}; choose another with --data-dir"
            ) from error

    def keep_topology(self, topology: str) -> None:
        """Remember the topology at the first start.

        Raises:
            DataDirError: it ran in another one, whose open workflows nobody would carry on here.
        """
        file = self.topology_file
        if not file.exists() and not self.postgres.exists():
            file.write_text(topology + "\n")
        # Folders of the first release have no such file; they are compact.
        found = file.read_text().strip() if file.exists() else "compact"
        if found != topology:
            raise DataDirError(
                f"{self.root} was run as {found}; its open orders wait for those workers: start it so, or "
                f"choose another --data-dir for {topology}"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock ends with the process, however that ends.

        Raises:
            DataDirError: another process runs this installation.
        """
        self.lock_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise DataDirError(
                    f"{self.root} is in use by process {holder}; stop that one, or choose another --data-dir"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def write_addresses(self, addresses: Mapping[str, Any]) -> None:
        """Replace the addresses file in one step, so that no reader sees half of it."""
        self.addresses_file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.addresses_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)
        with os.fdopen(descriptor, "w") as out:
            json.dump(addresses, out, indent=2)
            out.write("\n")
        fresh.replace(self.addresses_file)

    def read_addresses(self) -> dict[str, Any]:
        """Return the running installation's addresses.

        Raises:
            DataDirError: nothing runs in this folder.
        """
        try:
            found = json.loads(self.addresses_file.read_text())
        except FileNotFoundError:
            raise DataDirError(f"nothing runs in {self.root}; start it with: trading up") from None
        except (OSError, ValueError) as error:
            raise DataDirError(f"cannot read {self.addresses_file}: {error}") from error
        if not isinstance(found, dict):
            raise DataDirError(f"{self.addresses_file} holds no JSON object; remove it and start again")
        return found

    def remove_addresses(self) -> None:
        """Say that nothing runs here any more."""
        with suppress(FileNotFoundError):
            self.addresses_file.unlink()


@contextmanager
def temporary_data_dir() -> Iterator[DataDir]:
    """Give a prepared data folder that is deleted at the end.

    A process that was killed could not delete its own; the next one to come here does.
    """
    _remove_abandoned()
    root = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
    with (root / TEMPORARY_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            data_dir = DataDir(root)
            data_dir.prepare()
            yield data_dir
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _remove_abandoned() -> None:
    """Delete our temporary folders that no living process holds; nothing else, and nobody else's."""
    for root in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                continue
            # A folder without this file is one that is being made at this moment, or none of ours.
            with (root / TEMPORARY_LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)


def _can_listen(port: int) -> bool:
    """Whether a server could take the port; connections that are only fading away do not keep it."""
    with socket.socket() as probe, suppress(OSError, OverflowError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


_given: Final[deque[int]] = deque(maxlen=500)
"""Ports that this process has chosen of late: what they are for may not have begun to listen."""


def free_port(taken: Collection[object] = ()) -> int:
    """Choose a TCP port of 127.0.0.1 that nothing uses now, that is none of ``taken`` and was not given before.

    Raises:
        DataDirError: none found in 200 attempts.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        port = random.randrange(FIRST_PORT, LAST_PORT)  # noqa: S311
        if port in taken or port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.append(port)
            return port
    raise DataDirError(f"no free port between {FIRST_PORT} and {LAST_PORT} on 127.0.0.1")
