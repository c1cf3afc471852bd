"""What a child process of the supervisor is: how to run it, what may happen to it, and its log."""

import math
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from observability.log_files import LOG_BYTES_MAX, make_room, shift

READY_TIMEOUT_SECONDS = 30.0
STOP_GRACE_SECONDS = 5.0
LEASH_GRACE_SECONDS = 1.0
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 64 * 1024
LOG_MAX_BYTES = LOG_BYTES_MAX
LOG_LEFT_ALONE_BYTES = 2 * LOG_BYTES_MAX
"""Our own processes begin a new file long before; a server's that is longer is cut while it writes."""
LOG_COPY_BYTES = 1024 * 1024
START_SECONDS = 60.0
"""How long the slowest part of an installation may take until it is ready, on a machine that is not busy."""
START_SECONDS_VARIABLE = "TRADING_START_SECONDS"
MORE_TIME = f"{START_SECONDS_VARIABLE}=300 gives each part five times the time to be ready"
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_LEASH = Path(__file__).with_name("leash.py")

# Returns None once the child is ready, else why it is not yet. Raises OSError for "nothing answers yet".
Probe = Callable[[], Awaitable[str | None]]


def patient(seconds: float) -> float:
    """``seconds`` at a start, or more where ``TRADING_START_SECONDS`` asks for patience: on a slow or busy machine.

    Everything that is waited for at a start grows with it, so that no single answer is the one that is too slow.
    """
    try:
        wanted = float(os.environ.get(START_SECONDS_VARIABLE) or START_SECONDS)
    except ValueError:
        wanted = START_SECONDS
    return seconds * max(wanted / START_SECONDS, 1.0) if math.isfinite(wanted) else seconds


class SupervisorError(Exception):
    """A child process could not be started, or does not exist."""


class StartFailedError(SupervisorError):
    """A child ended, or was not ready in time, while starting. The message holds the end of its log."""

    def __init__(
        self, spec: "ChildSpec", reason: str, *, exit_code: int | None = None, too_slow: bool = False
    ) -> None:
        """``too_slow``: it went on, and nobody waited longer."""
        tail = log_tail(spec.log_path)
        lines = [f"{spec.name} did not start: {reason}"]
        lines += [f"  on a slow or busy machine: {MORE_TIME}"] if too_slow else []
        lines += [f"  what to do: {spec.advice}"] if spec.advice else []
        lines += [f"  last lines of {spec.log_path}:", *(f"    {line}" for line in tail)] if tail else []
        super().__init__("\n".join(lines))
        self.name = spec.name
        self.reason = reason
        self.exit_code = exit_code
        """The child's own, where it ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to run one child process.

    ``env`` is added to the allow-listed variables of this process (`INHERITED_VARIABLES`), nothing else is
    passed on. ``user`` is a change of user for root only. ``ready`` is asked until it returns None, for at
    most ``ready_timeout_seconds``. ``retry_start_seconds``: a child that ends before it is ready is started
    again for that long (an old postmaster may still be closing). ``before_start`` runs before every start.
    ``advice`` tells a person what to do when it does not come up.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = STOP_GRACE_SECONDS
    ready: Probe | None = None
    ready_timeout_seconds: float = READY_TIMEOUT_SECONDS
    retry_start_seconds: float = 0.0
    before_start: Callable[[], Awaitable[None]] | None = None
    advice: str = ""


class ChildState(StrEnum):
    """What happened to a child."""

    STARTED = "started"
    READY = "ready"
    DIED = "died"
    RESTART_FAILED = "restart failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEvent:
    """One thing that happened to one child; ``detail`` is for people, ``pid`` is the command's own."""

    name: str
    state: ChildState
    pid: int
    detail: str = ""


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """Return the last lines of a log file, at most 64 KiB of it; none if there is no such file."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def leash_command(spec: ChildSpec, pid_fd: int) -> list[str]:
    options = [
        f"--stop-signal={spec.stop_signal.name}",
        f"--grace={LEASH_GRACE_SECONDS}",
        f"--pid-fd={pid_fd}",
    ]
    options += [f"--user={spec.user}"] if spec.user else []
    options += [f"--cwd={spec.cwd}"] if spec.cwd else []
    # By path, isolated and without site: a third of the start-up time of `-m`, and no import of ours.
    return [sys.executable, "-I", "-S", str(_LEASH), *options, "--", *spec.argv]


def environment(spec: ChildSpec) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return inherited | dict(spec.env)


def open_log(path: Path) -> int:
    """Open a log for appending, private to us; one that has grown too long becomes the newest old copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_MAX_BYTES:
            shift(path)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def cut_log(path: Path) -> bool:
    """Whether the log of a child that cannot begin a new file was too long: copied aside and emptied.

    Lines that it writes in that moment may be lost: of a server's log, not of ours.
    """
    try:
        if path.stat().st_size <= LOG_LEFT_ALONE_BYTES:
            return False
        shift_from = path.with_name(path.name + ".0")
        descriptor = os.open(shift_from, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with path.open("rb") as log, os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(log, copy, LOG_COPY_BYTES)
        os.truncate(path, 0)
        make_room(path)
        shift_from.replace(path.with_name(path.name + ".1"))
    except OSError:
        return False  # Looked at again: a full disk must not end the supervision.
    return True


def ending_in_words(code: int) -> str:
    """Say an exit code in words: the leash gives 128 + N for signal N."""
    number = -code if code < 0 else code - 128
    try:
        return f"signal {signal.Signals(number).name}" if number > 0 else f"exit code {code}"
    except ValueError:
        return f"exit code {code}"
