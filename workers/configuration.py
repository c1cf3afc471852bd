"""docs/CONFIGURATION.md, written from the settings models: ``python -m workers.configuration [FILE]``."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from console.addresses import NAMES, VARIABLES
from workers.doc_pages import table, write_page
from workers.held import FOREIGN
from workers.settings import ENV_PREFIX, PROCESSES, SECRETS_DIR_VARIABLE, Process, is_secret

FILE: Final = Path(__file__).parents[1] / "docs" / "CONFIGURATION.md"

_HEAD: Final = """\
# Configuration

Made from the settings models by `make docs`; a test compares the two. Edit `workers/settings.py`, not this page.

Every setting is an environment variable. A secret is better given as a file of that name in lower case
(`trading_broker_key`) in the folder that `{folder}` names: nobody reads a file's content by listing
processes. `trading up` and `trading demo` set all of this themselves; for containers
[docker-compose.temporal.yml](../docker-compose.temporal.yml) shows it.

## Who may hold what

Each process is `trading worker NAME`. One that finds a secret that is not its own, in its environment or in its
folder, refuses to start with exit code 1 and names the secret, never its value. So does one whose database address
is of another role. `compact` is everything in one process, on one machine, and holds it all.

"""


def document() -> str:
    """The whole page."""
    parts = [
        _HEAD.format(folder=SECRETS_DIR_VARIABLE),
        table(("process", "what it does", "database role", "secrets"), map(_process, PROCESSES)),
        "\nAlso refused, whoever holds them: ",
        ", ".join(f"`{each}`" for each in FOREIGN),
        f", any other `APCA_…`, and any `{ENV_PREFIX}…` variable of an unknown name with `KEY`, `SECRET`, ",
        "`PASSWORD`, `TOKEN` or `CREDENTIAL` in it, in capitals or not. The folder of secrets may hold nothing ",
        "else, hidden or not, but the folders of a Kubernetes volume (`..data`) with the process's own secrets.\n",
        "\nWhat each database role may do is in [storage/grants.toml](../storage/grants.toml).\n",
        "\n## Settings of the processes\n\n",
        table(("variable", "processes", "value", "default", "meaning"), _settings()),
        "\n## The command line\n\n",
        "`trading` finds a running installation by the file that `trading up` writes. These outrank it:\n\n",
        table(("variable", "meaning"), ((f"`{VARIABLES[name]}`", NAMES[name]) for name in VARIABLES)),
        "\n`TRADING_DATA_DIR` names the folder of the installation, `TRADING_DEBUG=1` shows where an unexpected\n",
        "error comes from.\n",
    ]
    return "".join(parts)


def _process(name: str) -> tuple[str, ...]:
    process = PROCESSES[name]
    secrets = ", ".join(f"`{ENV_PREFIX.lower()}{each}`" for each in sorted(process.secrets))
    return (f"`{name}`", _sentence(process.settings.__doc__), _role(name, process), secrets or "none")


def _role(name: str, process: Process) -> str:
    if process.role is not None:
        return f"`{process.role.value}`"
    return "the owner" if name in ("migrate", "compact") else "none"


def _settings() -> Iterable[tuple[str, ...]]:
    fields: dict[str, FieldInfo] = {}
    users: dict[str, list[str]] = {}
    for name, process in PROCESSES.items():
        for field, info in process.settings.model_fields.items():
            fields.setdefault(field, info)
            users.setdefault(field, []).append(name)
    for field in sorted(fields):
        info = fields[field]
        everyone = len(users[field]) == len(PROCESSES)
        yield (
            f"`{ENV_PREFIX}{field.upper()}`",
            "all" if everyone else ", ".join(users[field]),
            _value(info),
            _default(info),
            _sentence(info.description),
        )


def _value(info: FieldInfo) -> str:
    if is_secret(info.annotation):
        return "secret"
    if get_origin(info.annotation) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(info.annotation))
    kinds: dict[Any, str] = {int: "whole number", float: "number", Path | None: "path"}
    return kinds.get(info.annotation, "text") + _bounds(info)


def _bounds(info: FieldInfo) -> str:
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    told = [
        f"{word} {getattr(each, name):g}"
        for each in info.metadata
        for name, word in words.items()
        if getattr(each, name, None) is not None
    ]
    return f" {' '.join(told)}" if told else ""


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "needed"
    return "none" if info.default is None else f"`{info.default}`"


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`")


if __name__ == "__main__":
    sys.exit(write_page(sys.argv[1:], FILE, document))
