"""Run a command on a leash: the command ends when whoever started it ends.

    leash.py [--stop-signal=SIGINT] [--grace=1.0] [--user=nobody] [--cwd=DIR] [--pid-fd=N] -- COMMAND...

The leash holds the command as its child and reads its own standard input, the far end of which only the
starter holds. When that reaches its end (the starter closed it, or died in any way, ``kill -9`` included) the
command gets its stop signal, and SIGKILL after the grace. Whatever the command leaves behind ends with it.
The exit code is the command's, or 128 + the number of the signal that ended it.

Standard library only, and as little of that as possible: every server starts through this file.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

DEFAULT_GRACE_SECONDS = 1.0
FORWARDED_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
POLL_SECONDS = 0.02
KILL_WAIT_SECONDS = 2.0
EXIT_USAGE = 2
EXIT_CANNOT_RUN = 127
EXIT_SIGNAL_BASE = 128
IS_LINUX = sys.platform.startswith("linux")
# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Options:
    """What the command line says; see the module's docstring."""

    def __init__(self, arguments: list[str]) -> None:
        """Raise ValueError, with what is wrong, on an argument list that is not as documented."""
        if "--" not in arguments or not arguments[arguments.index("--") + 1 :]:
            raise ValueError("expected: leash.py [OPTIONS] -- COMMAND [ARGUMENTS]")
        cut = arguments.index("--")
        self.command = arguments[cut + 1 :]
        given = dict(argument.partition("=")[::2] for argument in arguments[:cut])
        self.stop_signal = signal.Signals[given.pop("--stop-signal", "SIGTERM")]
        self.grace_seconds = float(given.pop("--grace", DEFAULT_GRACE_SECONDS))
        self.user = given.pop("--user", "")
        self.cwd = given.pop("--cwd", "")
        self.pid_fd = int(given.pop("--pid-fd", "-1"))
        if given:
            raise ValueError(f"unknown options: {' '.join(given)}")


def _prctl(option: int, value: int) -> None:
    if IS_LINUX:
        import ctypes

        unused = ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), unused, unused, unused)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel end this process so when the thread that started it ends (Linux; elsewhere nothing)."""
    _prctl(PR_SET_PDEATHSIG, number)


def _become(user: str) -> None:
    """Give up root for good; a user who is not root stays who he is."""
    if user and os.geteuid() == 0:
        import pwd

        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def _run_command(options: Options, leash_pid: int) -> None:
    """In the forked child: become the command. Returns only by raising OSError or KeyError."""
    # Own session: a terminal's Ctrl-C reaches only the top process, which then stops us in order.
    os.setsid()
    for number in (*FORWARDED_SIGNALS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if options.cwd:
        os.chdir(options.cwd)
    _become(options.user)
    # After the change of user, which clears it; from the leash's only thread, whose end is what it watches.
    die_with_parent()
    if os.getppid() != leash_pid:
        os._exit(EXIT_SIGNAL_BASE + signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.execvp(options.command[0], options.command)  # noqa: S606


def _spawn(options: Options) -> int:
    leash_pid = os.getpid()
    # Blocked across the fork: a signal sent before the command stands would meet our handlers and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        return pid
    try:
        _run_command(options, leash_pid)
    except (OSError, KeyError) as error:
        os.write(2, f"leash: cannot run {options.command[0]}: {error}\n".encode())
    os._exit(EXIT_CANNOT_RUN)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        os.write(2, f"leash: cannot signal {pid}: {error}\n".encode())


def _wake_pipe() -> int:
    """Make signals readable: the returned descriptor gives one byte, its number, for each that arrives."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (*FORWARDED_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def _reap(command_pid: int, status: int | None) -> int | None:
    """Collect every ended child; return the command's wait status once it is known."""
    while True:
        try:
            pid, found = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == command_pid:
            status = found


def _hold(command_pid: int, wake_fd: int, options: Options) -> int:
    """Wait for the command's end, forwarding signals and heeding the end of standard input."""
    sources = [0, wake_fd]
    kill_at: float | None = None
    status: int | None = None
    while status is None:
        limit = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        ready = select.select(sources, [], [], limit)[0]
        if 0 in ready and not os.read(0, 4096):
            sources.remove(0)
            _send(command_pid, options.stop_signal)
            kill_at = time.monotonic() + options.grace_seconds
        if wake_fd in ready:
            for number in os.read(wake_fd, 4096):
                if number != signal.SIGCHLD:
                    _send(command_pid, number)
        status = _reap(command_pid, status)
        if status is None and kill_at is not None and time.monotonic() >= kill_at:
            _send(command_pid, signal.SIGKILL)
            kill_at = time.monotonic() + KILL_WAIT_SECONDS
    return status


def _children() -> list[int]:
    """Our living children; on Linux also what our command orphaned, as we are its subreaper."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:  # noqa: PTH123
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


def _end_leftovers(command_pid: int, grace_seconds: float) -> None:
    """Give what the command left behind the grace to end by itself, then end it."""
    kill_at = time.monotonic() + grace_seconds
    while time.monotonic() < kill_at + KILL_WAIT_SECONDS:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            break
        if time.monotonic() >= kill_at:
            for pid in _children():
                _send(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(command_pid, signal.SIGKILL)


def _report(pid_fd: int, command_pid: int) -> None:
    # A broken pipe: the starter is gone already; standard input will say so.
    with suppress(BrokenPipeError):
        os.write(pid_fd, f"{command_pid}\n".encode())
    os.close(pid_fd)


def main(arguments: list[str]) -> int:
    """Run the command on its leash and return the exit code for this process."""
    try:
        options = Options(arguments)
    except (ValueError, KeyError) as error:
        os.write(2, f"leash: {error}\n".encode())
        return EXIT_USAGE
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_fd = _wake_pipe()
    command_pid = _spawn(options)
    if options.pid_fd >= 0:
        _report(options.pid_fd, command_pid)
    status = _hold(command_pid, wake_fd, options)
    _end_leftovers(command_pid, options.grace_seconds)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else EXIT_SIGNAL_BASE - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
