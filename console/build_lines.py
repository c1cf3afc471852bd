"""The builds as ``trading status`` shows them, from rows alone: which gets new work, which still drain."""

from typing import TYPE_CHECKING, Any, Final

from console.common import clean
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

SHOWN: Final = ("CURRENT", "RAMPING", "DRAINING")


async def read_builds(connection: "asyncpg.Connection[Any]") -> list[dict[str, Any]]:
    """Those that get work or have some of their own; none where all runs in one process."""
    found = await connection.fetch(load("builds")["list_builds"])
    return [
        {
            name: row[name]
            for name in ("deployment", "build_id", "state", "ramp_percent", "open_workflows", "attended")
        }
        for row in found
        if row["state"] in SHOWN
    ]


def build_lines(builds: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """(label, text, whether it needs attention), one for each deployment."""
    lines = []
    for deployment in dict.fromkeys(each["deployment"] for each in builds):
        own = [each for each in builds if each["deployment"] == deployment]
        wrong = any(not each["attended"] and (_gets_work(each) or each["open_workflows"]) for each in own)
        lines.append((f"{deployment} build", ", ".join(map(_words, own)), wrong))
    return lines


def _words(build: dict[str, Any]) -> str:
    name = clean(build["build_id"])
    absent = "" if build["attended"] else ", NO PROCESS RUNS IT"
    match build["state"]:
        case "CURRENT":
            return f"{name}{absent}"
        case "RAMPING":
            return f"{name} gets {build['ramp_percent']} %{absent}"
        case _:
            return f"{name} drains, {build['open_workflows']} open{absent}"


def _gets_work(build: dict[str, Any]) -> bool:
    return build["state"] in ("CURRENT", "RAMPING")
