"""Named SQL statements, read from ``storage/sql/*.sql``."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_HEADER = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(group: str) -> Mapping[str, str]:
    """The statements of one file by name. Each begins with a line ``-- name: the_name``."""
    text = (resources.files("storage") / "sql" / f"{group}.sql").read_text("utf-8")
    parts = _HEADER.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def groups() -> list[str]:
    """The file names, without ``.sql``."""
    names = (entry.name for entry in (resources.files("storage") / "sql").iterdir())
    return sorted(name.removesuffix(".sql") for name in names if name.endswith(".sql"))
