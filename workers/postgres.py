"""PostgreSQL of an installation on one machine: found, initialised, and described as a child process.

The server listens on 127.0.0.1 with scram-sha-256 and a generated password, and on a unix socket in its own
folder where the path is short enough. It refuses to run as root, so there it runs as nobody.
"""

import asyncio
import os
import secrets
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workers import unprivileged
from workers.children import patient
from workers.datadir import free_port
from workers.postgres_programs import Installation, PostgresError, find_installation, reachable
from workers.supervisor import ChildSpec, StartFailedError, Supervisor

__all__ = [
    "Installation",
    "PostgresError",
    "Server",
    "ensure_database",
    "find_installation",
    "initialise",
    "spec",
]

NAME = "postgres"
SUPERUSER = "trading"
DATABASE = "trading"
CLUSTER = "cluster"
PASSWORD_FILE = "password"  # noqa: S105
PASSWORD_BYTES = 24
# sockaddr_un.sun_path holds 108 bytes on Linux, 104 on macOS; the server appends "/.s.PGSQL.NNNNN".
SOCKET_FOLDER_LENGTH_MAX = 85
READY_TIMEOUT_SECONDS = 30.0
# How long an old postmaster on the same folder may take to close.
RETRY_START_SECONDS = 10.0
STOP_GRACE_SECONDS = 10.0
INITIALISE_SECONDS_MAX = 60.0
CONNECT_TIMEOUT_SECONDS = 2.0
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "250",
    "max_wal_size": "512MB",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # In the cluster's folder rather than in /dev/shm, where a killed server would leave it behind.
    "dynamic_shared_memory_type": "mmap",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Server:
    """One initialised cluster and the address its server is to have."""

    installation: Installation
    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True

    @property
    def cluster(self) -> Path:
        """The data directory in PostgreSQL's sense."""
        return self.folder / CLUSTER

    def dsn(self, database: str = DATABASE) -> str:
        """Return the address of a database with user and password: a secret."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"


async def initialise(
    folder: Path, *, port: int = 0, installation: Installation | None = None, durable: bool = True
) -> Server:
    """Make the cluster in ``folder`` unless it is there; a half-made one is made anew.

    ``port`` 0 chooses a free one. ``durable=False`` is for tests: nothing waits for the disk, and the data
    survives the death of processes but not a loss of power.

    Raises:
        PostgresError: there is no server program, initdb failed, or the cluster's password is lost.
        UnreachableError: as root: nobody cannot reach the folder.
    """
    server = await asyncio.to_thread(
        _prepare, folder, port or free_port(), installation or find_installation()
    )
    server = replace(server, durable=durable)
    if not server.cluster.exists():
        await _initdb(server)
    return server


def spec(server: Server, *, log_path: Path) -> ChildSpec:
    """Describe the server as a child process; it is ready when it answers a query."""

    async def answers() -> str | None:
        return await _answers(server)

    async def clear_stale_pid() -> None:
        _clear_stale_pid(server.cluster)

    socket_folder = str(server.folder) if len(str(server.folder)) <= SOCKET_FOLDER_LENGTH_MAX else ""
    settings = (
        SETTINGS
        | ({} if server.durable else NOT_DURABLE)
        | {
            "listen_addresses": "127.0.0.1",
            "port": str(server.port),
            "unix_socket_directories": socket_folder,
        }
    )
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return ChildSpec(
        name=NAME,
        argv=(str(server.installation.server), "-D", str(server.cluster), *options),
        log_path=log_path,
        cwd=server.folder,
        user=unprivileged.USER,
        # Fast shutdown: SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        grace_seconds=STOP_GRACE_SECONDS,
        ready=answers,
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        retry_start_seconds=RETRY_START_SECONDS,
        before_start=clear_stale_pid,
        advice="read the log; if the port is taken, start again (a free one is chosen each time)",
    )


async def ensure_database(server: Server, name: str = DATABASE) -> str:
    """Create the database unless it is there, and return its address."""
    import asyncpg

    connection = await asyncpg.connect(server.dsn("postgres"), timeout=patient(CONNECT_TIMEOUT_SECONDS))
    try:
        # tidy: sql because this is about the server, before there is a database with our statements
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            with suppress(asyncpg.DuplicateDatabaseError):
                # tidy: sql because a database's name cannot be a parameter, and it is quoted here
                await connection.execute(f"CREATE DATABASE {_quoted(name)}")
    finally:
        await connection.close()
    return server.dsn(name)


async def _answers(server: Server) -> str | None:
    import asyncpg

    try:
        connection = await asyncpg.connect(server.dsn("postgres"), timeout=patient(CONNECT_TIMEOUT_SECONDS))
    except asyncpg.PostgresError as error:
        return str(error)
    await connection.close()
    return None


def _prepare(folder: Path, port: int, installation: Installation) -> Server:
    """Make the folder, its owner and the password what the server program needs."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        installation = reachable(installation)
        unprivileged.hand_over(folder)
    folder.chmod(0o700)
    return Server(installation, folder, port, _password(folder))


async def _initdb(server: Server) -> None:
    """Make the cluster aside and move it into place whole: its presence is the proof that it is complete."""
    partial = server.folder / "cluster.partial"
    shutil.rmtree(partial, ignore_errors=True)
    argv = (
        *(str(server.installation.initdb), "-D", str(partial), "-U", SUPERUSER),
        *("--pwfile", str(server.folder / PASSWORD_FILE), "--auth", "scram-sha-256", "--no-instructions"),
        # The builtin provider sorts by code point on every machine; libc's order changes with its version.
        *(
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--locale-provider",
            "builtin",
            "--builtin-locale",
            "C.UTF-8",
        ),
    )
    log = server.folder / "initdb.log"
    command = ChildSpec(
        name="initdb", argv=argv, log_path=log, cwd=server.folder, user=unprivileged.USER,
        advice="the log says why",
    )  # fmt: skip
    async with Supervisor() as supervisor:
        code = await supervisor.run(command, seconds_max=patient(INITIALISE_SECONDS_MAX))
    if code != 0:
        raise PostgresError(str(StartFailedError(command, f"it ended with exit code {code}")))
    partial.rename(server.cluster)


def _password(folder: Path) -> str:
    """Return the superuser's password, made on first use and kept in the folder with mode 0600."""
    file = folder / PASSWORD_FILE
    if not file.exists():
        if (folder / CLUSTER).exists():
            raise PostgresError(f"{file} is missing, and nothing else knows the password; restore it")
        fresh = file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
        if os.geteuid() == 0:
            unprivileged.hand_over(fresh)
        fresh.rename(file)
    return file.read_text().strip()


def _clear_stale_pid(cluster: Path) -> None:
    """Remove a dead server's pid file if its number belongs to another program by now.

    The server itself takes any living process of that number and user for an old server, and would never
    start again after a restart of the machine has dealt the numbers anew.
    """
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return
    if program != "postgres":
        pid_file.unlink(missing_ok=True)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
