"""The audit log: search it, read one row with its payload, and prove in the page that the signed log holds it."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import asyncpg
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from audit.check.database import read_story
from audit.check.notes import BadKey, VerifierKey
from audit.check.outside import KEY, OutsideUnreadable
from console.audit_prove import Made, make_proof
from console.audit_show import ROWS_MAX, StoryRow, read_rows
from console.errors import Refused
from console.web.access import Viewer
from console.web.deps import ConsoleDeps, Deps
from console.web.pages.order import cut, steps_of
from console.web.paging import Typed, given
from console.web.problems import Code, WebError, invalid, refused
from console.web.rendering import render
from console.web.routes import page
from console.web.searching import proving, searching
from console.web.text import query
from schemas.audit import text_sha256
from storage.blotter import PAGE, AuditFilter, search_audit
from storage.database import Connection

router: Final = APIRouter()

RowId = Annotated[int, Path(ge=0, lt=2**63)]
Story = Annotated[str, Path(max_length=128)]


@dataclass(frozen=True)
class Proof:
    """What became of the try to prove one row."""

    made: Made | None
    key: str | None
    """As an auditor would have written it down."""
    why_not: str | None


@page(router, "/audit")
async def audit(
    request: Request, person: Viewer, deps: Deps, correlation_id: Typed = None, component: Typed = None,
    decision: Typed = None, since: Typed = None, until: Typed = None,
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> HTMLResponse:  # fmt: skip
    """A page of rows, newest first."""
    story, part, word = given(correlation_id), given(component), given(decision)
    wanted = AuditFilter(
        story, part, word.upper().replace(" ", "_") if word else None, _time("since", since), _time("until", until),
        before,
    )  # fmt: skip
    async with searching(deps) as connection:
        found = await search_audit(connection, wanted, limit=PAGE + 1)
    shown = found[:PAGE]
    kept = {
        "correlation_id": story, "component": part, "decision": wanted.decision, "since": given(since),
        "until": given(until),
    }  # fmt: skip
    return render(
        request, "audit.html", person=person, rows=shown, kept=kept, components=COMPONENTS,
        first=query("/audit", **kept) if before is not None else None,
        older=query("/audit", **kept, before=shown[-1].id) if len(found) > PAGE else None,
    )  # fmt: skip


COMPONENTS: Final = (
    "Gateway", "RiskManager", "ExecutionAgent", "BrokerWatcher", "Protection", "KillSwitch", "DriftMonitor",
    "Books", "EquityWatch", "BrokerHalt", "Operations", "AlertPost", "Retention", "Console", "Setup",
)  # fmt: skip
"""As docs/AUDIT.md names them."""


def _time(name: str, text: str | None) -> datetime | None:
    """A time of a form's field, UTC.

    Raises:
        WebError: it is none.
    """
    chosen = given(text)
    if chosen is None:
        return None
    try:
        found = datetime.fromisoformat(chosen)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(f"`{name}` is a time like 2026-11-27T14:30") from error


@router.get("/audit/story/{some_id}/proof.txt", response_class=PlainTextResponse)
async def story_proof(person: Viewer, deps: Deps, some_id: Story) -> Response:
    """The proof of all rows of a story: what `trading audit prove` writes, and anybody can check by hand."""
    async with proving(deps) as connection:
        rows = await _story(connection, some_id)
        proof = await _prove(deps, connection, some_id, rows)
    return _file(_text_of(proof), "audit-proof.txt")


@router.get("/audit/story/{some_id}/rows.json")
async def story_rows(person: Viewer, deps: Deps, some_id: Story) -> Response:
    """All rows of a story with their payloads."""
    async with searching(deps) as connection:
        rows = await _story(connection, some_id)
        # Some thousand payloads take their time: others are served meanwhile.
        return await asyncio.to_thread(_rows_file, rows)


def _rows_file(rows: list[asyncpg.Record]) -> Response:
    answer = JSONResponse([StoryRow(row).as_json() for row in rows])
    answer.headers["Content-Disposition"] = 'attachment; filename="audit-rows.json"'
    return answer


@router.get("/audit/{row_id}/proof.txt", response_class=PlainTextResponse)
async def row_proof(person: Viewer, deps: Deps, row_id: RowId) -> Response:
    """The proof of one row."""
    async with proving(deps) as connection:
        rows = await _row(connection, row_id)
        proof = await _prove(deps, connection, f"row {row_id}", rows)
    return _file(_text_of(proof), f"audit-row-{row_id}-proof.txt")


@page(router, "/audit/{row_id}")
async def row(
    request: Request, person: Viewer, deps: Deps, row_id: RowId, prove: bool = False
) -> HTMLResponse:
    """One row with its payload; ``prove``: and whether it stands in the log that was signed."""
    async with proving(deps) if prove else deps.database.connection() as connection:
        rows = await _row(connection, row_id)
        proof = await _prove(deps, connection, f"row {row_id}", rows) if prove else None
    one = StoryRow(rows[0])
    payload = rows[0]["payload"]
    return render(
        request, "audit_row.html", person=person, row=one, proof=proof, payload=_pretty(payload),
        hash_is_right=None if payload is None else text_sha256(payload) == one.record["input_hash"],
        fields=[(name, cut(value)) for name, value in (one.input or {}).items() if name not in ("detail", "calls")],
        calls=steps_of([one])[0].calls,
    )  # fmt: skip


def _pretty(payload: str | None) -> str | None:
    """The payload's text with line breaks, number by number as it stands there."""
    if payload is None:
        return None
    return json.dumps(json.loads(payload, parse_float=str, parse_int=int), indent=2, ensure_ascii=False)


async def _row(connection: Connection, row_id: int) -> list[asyncpg.Record]:
    rows = list(await read_story(connection, None, row_id, 1))
    if not rows:
        raise WebError(404, Code.NOT_FOUND, "no audit row has this id")
    return rows


async def _story(connection: Connection, some_id: str) -> list[asyncpg.Record]:
    try:
        return (await read_rows(connection, some_id))[:ROWS_MAX]
    except Refused as error:
        raise WebError(404, Code.NOT_FOUND, error.what) from error


async def _prove(deps: ConsoleDeps, connection: Connection, name: str, rows: list[asyncpg.Record]) -> Proof:
    """Make the proof and check it as a stranger would, against the newest signed checkpoint outside."""
    outside = deps.outside
    if outside is None:
        return Proof(None, None, "this console was not told where the checkpoints are")
    try:
        line = await outside.get(KEY)
        if line is None:
            return Proof(None, None, "no key lies beside the checkpoints yet")
        key = VerifierKey.parse(line.decode())
        made = await make_proof(connection, name, rows, outside, key)
    except Refused as error:
        return Proof(None, None, error.what)
    except UnicodeDecodeError:
        return Proof(None, None, "what lies beside the checkpoints is no key")
    except (BadKey, OutsideUnreadable) as error:
        return Proof(None, None, str(error))
    return Proof(made, line.decode().strip(), None)


def _text_of(proof: Proof) -> str:
    if proof.made is None:
        raise refused(f"not proved: {proof.why_not}")
    return proof.made.text


def _file(text: str, name: str) -> Response:
    return PlainTextResponse(text, headers={"Content-Disposition": f'attachment; filename="{name}"'})
