"""``trading audit export``: rows of the log as files that can be checked without us."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from audit.check.database import numbers_of_time, read_head
from audit.check.exporting import RowGone, file_name, ranges, write_file
from console.audit_progress import STATEMENT_SECONDS, progress_bar
from console.common import NO_OPTIONS, Common, clean, emit
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows
from schemas.events import parse_since

if TYPE_CHECKING:
    import asyncpg

FOLDER_MODE: Final = 0o700
_EVER: Final = datetime(9998, 12, 31, tzinfo=UTC)
_NEVER: Final = datetime(2, 1, 1, tzinfo=UTC)

From = Annotated[
    str | None, Parameter(name="--from", help="First row, by its number, or a time (2026-11-23T15:15:00Z).")
]
To = Annotated[str | None, Parameter(name="--to", help="Up to this row or time, which is left out.")]
Into = Annotated[Path, Parameter(help="Folder for the files; made where it is missing.")]


async def export(
    *, begin: From = None, to: To = None, into: Into = Path(), common: Common = NO_OPTIONS
) -> int:
    """Write sealed rows as JSON lines, compressed with zstd, in files of at most 100,000 rows.

    Only rows under a checkpoint outside are written: `trading audit verify --export` checks them all (with --part
    where it is not the whole log). A time is turned into the run of rows in which all rows of that time lie. A
    file that is there already is complete and stays; after a stop the same command goes on.

    Exit 0: written. 1: a row is missing in the database. 2: bad usage. 3: a dependency is down.
    """
    since, until = _point("--from", begin), _point("--to", to)
    async with rows(common.addresses(), statement_seconds=STATEMENT_SECONDS) as connection:
        newest = (await read_head(connection)).checkpoint_size or 0
        first, end = await _numbers(connection, since, until, newest)
        with _refusing(into):
            into.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            done = 0
            with progress_bar(common) as progress:
                for start, stop in ranges(first, end):
                    async for count in write_file(connection, into, start, stop):
                        done += count
                        if progress is not None:
                            progress(done, end - first)
    files = [str(into / file_name(start, stop)) for start, stop in ranges(first, end)]
    data = {"first": first, "end": end, "rows": end - first, "newest_checkpoint": newest, "files": files}
    emit(common, data, lambda: _draw(data))
    return EXIT_DONE


async def _numbers(
    connection: "asyncpg.Connection[Any]",
    since: int | datetime | None,
    until: int | datetime | None,
    newest: int,
) -> tuple[int, int]:
    """The rows [first, end) that are meant, of the first ``newest`` ones."""
    first, end = 0, newest
    if isinstance(since, datetime) or isinstance(until, datetime):
        times = (
            since if isinstance(since, datetime) else _NEVER,
            until if isinstance(until, datetime) else _EVER,
        )
        first, end = await numbers_of_time(connection, *times)
    if isinstance(since, int):
        first = max(first, since)
    if isinstance(until, int):
        end = min(end, until)
    first = min(first, newest)
    return first, max(first, min(end, newest))


def _point(option: str, text: str | None) -> int | datetime | None:
    try:
        return None if text is None else parse_since(text)
    except ValueError as error:
        raise BadUsage(
            f"{option} {clean(text)}: {error}", do="a row's number or a time with its zone"
        ) from error


@contextmanager
def _refusing(into: Path) -> Iterator[None]:
    try:
        yield
    except RowGone as error:
        raise Refused(str(error), do="run `trading audit verify`: it names what was changed") from error
    except (ConnectionError, TimeoutError):
        raise  # The database's.
    except OSError as error:
        raise BadUsage(
            f"{into} cannot be written: {error.strerror}", do="name another folder with --into"
        ) from error


def _draw(data: dict[str, Any]) -> None:
    if not data["rows"]:
        print(f"no rows to export; {data['newest_checkpoint']:,} rows are under a checkpoint")
        return
    print(f"{data['rows']:,} rows, {data['first']:,} to {data['end'] - 1:,}")
    for name in data["files"]:
        print(name)
