"""docs/CLI.md, written from the commands themselves: ``python -m workers.cli_docs [FILE]``."""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from console.main import build_app
from workers import exchange, exchange_faults, run, up
from workers.chaos import __main__ as chaos
from workers.doc_pages import one_line, table, write_page

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import Argument

FILE: Final = Path(__file__).parents[1] / "docs" / "CLI.md"
PASSED_ON: Final[Mapping[str, Callable[[], argparse.ArgumentParser]]] = {
    "up": up.options_parser,
    "worker": run.options_parser,
    "exchange": exchange.options_parser,
    "exchange faults": exchange_faults.options_parser,
    "chaos": chaos.options_parser,
}
"""Commands that become another process, which reads their options itself."""
EVERYWHERE: Final = ("--json", "--data-dir")
"""Options that are told once, at the head of the page."""
_NO_VALUE: Final = {bool, bool | None}
_KINDS: Final[Mapping[Any, str]] = {int: "N", float: "N", Path: "PATH"}

_HEAD: Final = """\
# The command line

Made from the commands themselves by `make docs`; a test compares them. Edit those, not this page.

`make install` puts `trading` into `.venv/bin`; `trading COMMAND --help` says what stands here.

Every command takes `--json` (JSON, for programs). Those that look for an installation take `--data-dir DIR`, its
folder: by default `$TRADING_DATA_DIR`, else `/var/lib/trading-interface` for the superuser and
`~/.local/share/trading-interface` for others. Exit codes: 0 done, 1 refused or found wrong, 2 bad usage, 3 a
dependency is down, 130 after Ctrl-C.

"""

Row = tuple[str, str]
"""An option as it is written, and what it means."""


def document() -> str:
    """The whole page."""
    found = commands()
    contents = (
        (f"[`trading {name}`](#trading-{name.replace(' ', '-')})", each.help) for name, each in found.items()
    )
    return "".join(
        (_HEAD, table(("command", "what it does"), contents), *map(_section, found, found.values()))
    )


@cache
def commands() -> Mapping[str, "Command"]:
    """Each command by its words, ``token make``, in the order of the page. Change nothing in it."""
    found: dict[str, Command] = {}
    for name, app in _below(build_app()):
        if name not in PASSED_ON:
            found[name] = Command(one_line(app.help), _words(app.default_command), tuple(_options(app)))
    for name, make in PASSED_ON.items():
        parser = make()
        found[name] = Command(one_line(parser.description), parser.epilog or "", tuple(_switches(parser)))
    return found


class Command:
    """One command: in one line, in more, and its options."""

    def __init__(self, help_line: str, text: str, options: tuple[Row, ...]) -> None:
        self.help = help_line
        self.text = text
        self.options = options


def _below(app: "App", *words: str) -> Iterator[tuple[str, "App"]]:
    """Every command of ``app`` that does something, at any depth."""
    for name in app:
        if not name.startswith("-"):
            command = app[name]
            if command.default_command is not None:
                yield " ".join((*words, name)), command
            yield from _below(command, *words, name)


def _section(name: str, command: Command) -> str:
    text = command.text or command.help
    options = table(("option", "meaning"), command.options) if command.options else "No options of its own.\n"
    return f"\n## trading {name}\n\n{text}\n\n{options}"


def _options(app: "App") -> Iterator[Row]:
    """Arguments and options as the command line reads them."""
    for argument in app.assemble_argument_collection():
        if argument.show and argument.name not in EVERYWHERE:
            yield _written(argument), _meaning(argument)


def _written(argument: "Argument") -> str:
    hidden = () if argument.field_info.default is True else argument.negatives
    names = ", ".join(name for name in argument.names if name not in hidden)
    if argument.name.startswith("-") and argument.hint not in _NO_VALUE:
        names += f" {_kind(argument.hint)}"
    return f"`{names}`" + (", needed" if argument.required else "")


def _kind(hint: Any) -> str:
    several = get_origin(hint) in (tuple, list)
    inner = [each for each in get_args(hint) if each not in (type(None), Ellipsis)]
    return _kind(inner[0]) + "…" * several if inner else _KINDS.get(hint, "TEXT")


def _meaning(argument: "Argument") -> str:
    parts = [one_line(argument.parameter.help)]
    if choices := argument.get_choices():
        parts.append(f"One of {', '.join(f'`{each}`' for each in choices)}.")
    default = argument.field_info.default
    if default not in (None, "", (), False, inspect.Parameter.empty):
        parts.append(f"Default `{getattr(default, 'value', default)}`.")
    return " ".join(filter(None, parts))


def _switches(parser: argparse.ArgumentParser) -> Iterator[Row]:
    """The same of a parser of Python's own; a command below it bears its name first."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from ((f"{name} {written}", meaning) for written, meaning in _switches(below))
        elif not isinstance(action, argparse._HelpAction) and "--json" not in action.option_strings:
            yield _switch(action)


def _switch(action: argparse.Action) -> Row:
    value = action.metavar or _kind(action.type) if action.nargs != 0 else ""
    names = " ".join(
        (", ".join(action.option_strings) or str(action.metavar or action.dest).upper(), str(value))
    )
    several = "…" if isinstance(action, argparse._AppendAction) else ""
    if not action.option_strings:
        names, several = str(action.metavar or action.dest).upper(), ""
    needed = ", needed" if action.required and action.option_strings else ""
    text = one_line(action.help)
    choices = ", ".join(f"`{each}`" for each in action.choices or ())
    return f"`{names.strip()}{several}`{needed}", f"{text}{'; ' if text and choices else ''}{choices}"


def _words(function: Callable[..., Any] | None) -> str:
    """What stands under a command in the code."""
    return (inspect.getdoc(function) or "").partition("\n\nRaises:")[0].replace("``", "`")


if __name__ == "__main__":
    sys.exit(write_page(sys.argv[1:], FILE, document))
