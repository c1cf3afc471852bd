"""Commands that become another process: the supervisor, one worker, the paper exchange; and ``migrate``."""

import os
import sys
from importlib.util import find_spec
from typing import Annotated, NoReturn

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, emit
from console.errors import EXIT_DONE, DependencyDown, Refused

PassedOn = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


def up(*options: PassedOn) -> int:
    """Run everything on this machine until Ctrl-C."""
    _become("workers.up", *options)


def exchange(*options: PassedOn) -> int:
    """Run the paper exchange alone."""
    _become("workers.exchange", *options)


def worker(*options: PassedOn) -> int:
    """Run one process of the product. Its settings are environment variables ``TRADING_...``."""
    _become("workers.run", *options)


def chaos(*options: PassedOn) -> int:
    """Make a fault run on this machine, in folders of its own."""
    _become("workers.chaos", *options)


def _become(module: str, *arguments: str) -> NoReturn:
    """Replace this process, so that signals and exit code are the other's own."""
    if find_spec(module) is None:
        raise Refused(f"this installation has no {module}", do="install trading-interface again")
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: the folder a person happens to stand in must not be able to replace our packages.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606


async def migrate(*, common: Common = NO_OPTIONS) -> int:
    """Bring the database to this release's schema. Again is harmless."""
    import asyncpg

    from storage.migrate import MigrationError
    from storage.migrate import migrate as bring_up

    url = common.addresses().need("database_url")
    try:
        applied = await bring_up(url)
    except MigrationError as error:
        raise Refused(str(error)) from error
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise DependencyDown(f"PostgreSQL does not answer: {error}", do="is it running?") from error

    def draw() -> None:
        print("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is current")

    emit(common, {"applied": applied}, draw)
    return EXIT_DONE
