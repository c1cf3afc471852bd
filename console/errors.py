"""How a command ends when it cannot do what was asked: one line what happened, one line what to do."""

from typing import Final

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells expect."""
EXIT_BROKEN_PIPE: Final = 141
"""128 + SIGPIPE: whoever read our output went away."""


class CommandFailed(Exception):
    """Told to the person as two lines, to a program as ``{"error": {...}}``; never a traceback."""

    exit_code = EXIT_REFUSED
    code = "REFUSED"

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {"error": {"code": self.code, "message": self.what, "do": self.do}}


class Refused(CommandFailed):
    """The thing asked for was refused, or found wrong."""


class BadUsage(CommandFailed):
    """The command line or a file on it is wrong; nothing was done."""

    exit_code = EXIT_USAGE
    code = "BAD_USAGE"


class DependencyDown(CommandFailed):
    """Something this command needs does not answer."""

    exit_code = EXIT_DEPENDENCY
    code = "DEPENDENCY_DOWN"
