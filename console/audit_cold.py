"""``trading audit archives|restore|drop``: what went to cold storage, what comes back, what goes for ever."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from uuid import uuid4

from cyclopts import Parameter
from cyclopts.validators import Number

from console.acts.people import REASON_MAX_CHARACTERS
from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, EXIT_REFUSED, BadUsage, DependencyDown, Refused
from console.kill_steps import operator
from console.rows import rows
from console.temporal import SIGNAL_RPC_TIMEOUT, connect, operations_queue, reading_answer
from schemas import wire
from schemas.archives import (
    Archive,
    ArchiveKind,
    Drop,
    DropAnswer,
    DropGrant,
    RestoreInput,
    RestoreReport,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

WAIT_SECONDS: Final = 600.0
SHOWN: Final = 50
_MONTH: Final = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")

_Answer = TypeVar("_Answer", bound="BaseModel")

Wait = Annotated[
    float, Parameter(validator=Number(gt=0, lte=86_400), help="How long to wait for the result.")
]


async def archives(
    *,
    kind: Annotated[Literal["audit", "events"] | None, Parameter(help="Only these.")] = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000), help="How many files.")] = SHOWN,
    common: Common = NO_OPTIONS,
) -> int:
    """List files in cold storage, what occurred last first, and months that were dropped.

    `removed`: only there. `restored`: there, and its payloads are here for a while.
    """
    from storage.archives import list_archives, list_drops

    async with rows(common.addresses()) as connection:
        found = await list_archives(connection, kind and ArchiveKind(kind), limit=limit)
        drops = await list_drops(connection)
    data = {
        "archives": [each.model_dump(mode="json") for each in found],
        "dropped": [each.model_dump(mode="json") for each in drops],
    }
    emit(common, data, lambda: _draw(found, drops))
    return EXIT_DONE


def _draw(found: list[Archive], drops: list[Drop]) -> None:
    if not found:
        print("nothing is in cold storage yet")
    else:
        lines = [
            (each.name, "restored" if each.restored_at else each.state.value, each.rows, each.object_bytes or "",
             f"{each.oldest_at:%Y-%m-%d %H:%M}", f"{each.newest_at:%Y-%m-%d %H:%M}", f"{each.keep_until:%Y-%m-%d}")
            for each in found
        ]  # fmt: skip
        columns = ("file", "state", "rows", "bytes", "from", "to", "kept until")
        console().print(table(columns, lines, right=("rows", "bytes")))
    for drop in drops:
        print(
            f"{drop.starts_at:%Y-%m}: {drop.rows} rows dropped by {clean(drop.person)}: {clean(drop.reason)}"
        )


async def restore(
    *,
    since: Annotated[str, Parameter(name="--from", help="From this time on: 2026-10-01, or with a time.")],
    until: Annotated[str, Parameter(name="--to", help="To before this time.")],
    wait_seconds: Wait = WAIT_SECONDS,
    common: Common = NO_OPTIONS,
) -> int:
    """Bring back the payloads of audit rows of that time, whole files of them, for 30 days.

    Each is checked against its row and its leaf before it is written.

    Exit 0: they are back. 1: something was refused, and is named. 2: bad usage. 3: a dependency is down.
    """
    order = RestoreInput(since=_time(since), until=_time(until), person=operator())
    if order.since >= order.until:
        raise BadUsage("--from is not before --to", do="see --help")
    report = await _run(
        common.addresses(), wire.WORKFLOW_AUDIT_RESTORE, order, RestoreReport, wait_seconds,
        what=f"payloads of {order.since:%Y-%m-%d %H:%M} to {order.until:%Y-%m-%d %H:%M}",
    )  # fmt: skip

    def draw() -> None:
        print(f"{report.rows} payloads of {report.files} files are back")
        for each in report.refused:
            print(f"REFUSED {clean(each)}")

    emit(common, report.model_dump(mode="json"), draw)
    return EXIT_REFUSED if report.refused else EXIT_DONE


async def drop(
    month: str,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why it may go.")],
    person: Annotated[str | None, Parameter(help="Who says so (default: the key's owner).")] = None,
    key_file: Annotated[Path | None, Parameter(help="Operator key file, mode 0600.")] = None,
    wait_seconds: Wait = 60.0,
    common: Common = NO_OPTIONS,
) -> int:
    """Let the audit rows of a month (2019-03) go for ever, signed with the operator key.

    It must be older than seven years, sealed, and whole in cold storage. Leaves and checkpoints stay: what is left
    of the log is as verifiable as before.

    Exit 0: they are gone. 1: they stay. 2: bad usage. 3: a dependency is down.
    """
    if not _MONTH.fullmatch(month):
        raise BadUsage(f"no month: {clean(month)}", do="write it as 2019-03")
    if not reason.strip():
        raise BadUsage("it needs a reason", do='--reason "seven years are over"')
    addresses = common.addresses()
    grant = await _grant(addresses, month, key_file, reason=reason, person=person)
    answer = await _run(
        addresses, wire.WORKFLOW_AUDIT_DROP, grant, DropAnswer, wait_seconds, what=grant.partition
    )
    if not answer.dropped:
        raise Refused(f"{month} stays: {answer.message}", do="see `trading audit archives`")
    text = f"DROPPED {month}: {answer.rows} rows; {answer.message}"
    emit(common, answer.model_dump(mode="json"), lambda: print(text))
    return EXIT_DONE


async def _grant(
    addresses: Addresses, month: str, key_file: Path | None, *, reason: str, person: str | None
) -> DropGrant:
    from security.grants import KeyFileError, make_drop_grant
    from storage.switches import read_installation

    async with rows(addresses) as connection:
        installation = await read_installation(connection)
    key = key_file or Path(
        addresses.get("operator_key_file") or addresses.data_dir / "keys" / "operator.json"
    )
    try:
        return make_drop_grant(
            key, account=installation.account or "", partition=f"audit_log_{month.replace('-', '_')}",
            reason=reason[:REASON_MAX_CHARACTERS], now=utc_now(), person=person,
        )  # fmt: skip
    except KeyFileError as error:
        raise Refused(str(error), do="only the holder of the operator key may let it go") from error


async def _run(
    addresses: Addresses, workflow: str, order: Any, answer: type[_Answer], seconds: float, *, what: str
) -> _Answer:
    """Start a workflow of operations and wait for its answer."""
    from temporalio.client import WorkflowFailureError
    from temporalio.service import RPCError

    client = await connect(addresses)
    queue = await operations_queue(client)
    try:
        handle: Any = await client.start_workflow(
            workflow, order, id=f"{workflow}-{uuid4()}", task_queue=queue, static_summary=what,
            result_type=answer, rpc_timeout=SIGNAL_RPC_TIMEOUT,
        )  # fmt: skip
        with reading_answer("the workflow in the Temporal Web UI says how it ended"):
            found: _Answer = await asyncio.wait_for(handle.result(), seconds)
    except TimeoutError as error:
        raise DependencyDown(
            f"no result within {seconds:g} s; it goes on", do="see the workflow in the Temporal Web UI"
        ) from error
    except (RPCError, WorkflowFailureError) as error:
        cause = getattr(error.cause, "cause", None) or error.cause or error
        raise DependencyDown(
            f"it did not end: {cause}", do="see `trading doctor`; again is harmless"
        ) from error
    return found


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadUsage(
            f"no time: {clean(text)}", do="write it as 2026-10-01 or 2026-10-01T09:30:00Z"
        ) from error
