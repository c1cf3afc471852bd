"""Reading and writing rows from the command line: one connection, short waits, honest failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from console.addresses import Addresses
from console.errors import BadUsage, DependencyDown

if TYPE_CHECKING:
    import asyncpg

CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 10


@asynccontextmanager
async def rows(
    addresses: Addresses, *, statement_seconds: float = STATEMENT_SECONDS
) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection to the installation's database.

    Raises:
        DependencyDown: it does not answer, or answers that it cannot serve this command.
    """
    import asyncpg

    url = addresses.need("database_url")
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=statement_seconds,
            server_settings={"application_name": "trading-console", "timezone": "UTC"},
        )
    except ValueError:
        # Not what it says: what stands in the wrong place may be the password.
        raise BadUsage(
            "the database's address cannot be read",
            do="write %2F for /, %3F for ? and %23 for # in its user and password",
        ) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise _down(addresses, error) from error
    try:
        yield connection
    except asyncpg.UndefinedTableError as error:
        raise DependencyDown("the database has no tables of ours yet", do="run `trading migrate`") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise DependencyDown(
            "the database takes no writes now", do="its server may have become a replica: look there"
        ) from error
    except BrokenPipeError:
        raise  # Whoever read our own output went away.
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, TimeoutError) as error:
        raise _down(addresses, error) from error
    finally:
        # Not close(): it waits for a server that may be gone.
        connection.terminate()


def _down(addresses: Addresses, error: BaseException) -> DependencyDown:
    stale = addresses.known.get("pid") is not None and not addresses.running
    do = (
        "the last `trading up` ended without cleaning up: start it again"
        if stale
        else "is `trading up` running?"
    )
    return DependencyDown(f"PostgreSQL does not answer: {str(error) or type(error).__name__}", do=do)
