"""``trading logs``: what every process wrote, in the order of time; with ``--order`` the lines of one order."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, Final

from cyclopts import Parameter

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, utc_now
from console.errors import EXIT_DONE, BadUsage, CommandFailed, Refused
from console.log_lines import LEVELS, Line, Wanted, follow, merged, read, since_of
from console.log_view import show

STDIN: Final = "-"
LEVEL_NAMES: Final = ", ".join(LEVELS)


Source = Annotated[
    str, Parameter(allow_leading_hyphen=True, help="`-`: standard input, as `docker compose logs` writes.")
]
Order = Annotated[str, Parameter(help="Any id of an order: signal, internal, client or broker.")]
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on as lines come.")]
Since = Annotated[str, Parameter(help="Not before: `10m`, `2h`, `1d`, or a time like 2026-11-27T14:00Z.")]
Level = Annotated[str, Parameter(help=f"At least: {LEVEL_NAMES}.")]
Processes = Annotated[str, Parameter(help="Only of these processes: `risk,execution`.")]


async def logs(
    source: Source = "",
    /,
    *,
    order: Order = "",
    following: Follow = False,
    since: Since = "",
    level: Level = "",
    process: Processes = "",
    common: Common = NO_OPTIONS,
) -> int:
    """Print log lines; --order finds those of an order over all processes, rotated files too."""
    addresses = common.addresses()
    wanted = Wanted(
        ids=await _ids(addresses, order) if order else set(),
        since=since_of(since, utc_now()),
        level=_level(level),
        processes=frozenset(each.strip() for each in process.split(",") if each.strip()),
    )
    if source not in ("", STDIN):
        raise BadUsage(f"no such source: {source}", do="leave it out, or `-` for standard input")
    printed = 0
    if source == STDIN:
        lines: Iterable[Line] = _from_stdin(wanted, streaming=following)
        printed = _print(lines, common, at_once=following)
    else:
        folder = addresses.data_dir / "logs"
        if not folder.is_dir():
            raise Refused(f"no logs in {folder}", do="name the installation's folder with --data-dir")
        printed = _print(merged(folder, wanted), common)
        if following:
            async for line in follow(folder, wanted):
                printed += _print([line], common)
    if order and not printed:
        raise Refused(
            f"no line tells of {order}", do="its lines may be dropped by now: see `trading audit show`"
        )
    return EXIT_DONE


def _print(lines: Iterable[Line], common: Common, *, at_once: bool = False) -> int:
    printed = 0
    for line in lines:
        show(line, as_json=common.json)
        printed += 1
        if at_once:
            sys.stdout.flush()
    if printed:
        sys.stdout.flush()
    return printed


def _from_stdin(wanted: Wanted, *, streaming: bool) -> Iterator[Line]:
    """At the end of a stream all is known of an order; what never ends is judged line by line."""
    if streaming:
        for raw in sys.stdin.buffer:
            line = read(raw, "")
            if line is not None and wanted.takes(line):
                yield line
        return
    # A later line may say that an earlier one is the order's: kept in a file, as it may be a month of logs.
    with TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        wanted.learn_all(lambda: _kept(kept, wanted))
        found = [line for line in _kept(kept, wanted) if wanted.takes(line)]
    yield from sorted(found, key=lambda line: line.at)


def _kept(file: IO[bytes], wanted: Wanted) -> Iterator[Line]:
    file.seek(0)
    for raw in file:
        line = read(raw, "") if wanted.might_take(raw) else None
        if line is not None:
            yield line


async def _ids(addresses: Addresses, order: str) -> set[str]:
    """Every id of that order and its legs that the database knows; without one the id alone, and what lines say."""
    ids = {order}
    if addresses.get("database_url") is None:
        return ids
    try:
        from console.rows import rows
        from storage.orders import find_by_any_id
        from storage.protection import all_legs

        async with rows(addresses) as connection:
            found = await find_by_any_id(connection, order)
            if found is not None:
                ids.add(found[0])
                for leg in await all_legs(connection, found[0]):
                    ids |= ids_of(leg)
    except CommandFailed:
        return ids  # Logs are read most when something is down.
    return ids


def ids_of(leg: Any) -> set[str]:
    """The ids of one order row."""
    named = (leg.signal_id, leg.internal_order_id, leg.client_order_id, leg.broker_order_id)
    return {str(each) for each in named if each is not None}


def _level(name: str) -> int:
    if not name:
        return 0
    if name.lower() not in LEVELS:
        raise BadUsage(f"no level {name!r}", do=f"one of {LEVEL_NAMES}")
    return LEVELS.index(name.lower())
