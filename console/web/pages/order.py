"""One order: what was asked, what was decided with which numbers, every request to the broker, and why it ended."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse

from audit.check.database import read_story
from console.audit_show import ROWS_MAX, StoryRow
from console.web.access import Viewer
from console.web.deps import ConsoleDeps, Deps
from console.web.pages.orders import slippage
from console.web.problems import Code, WebError
from console.web.rendering import render
from console.web.routes import page
from console.web.text import segment
from observability.trace_links import trace_link
from schemas.orders import OrderView
from schemas.signals import SignalRow
from schemas.wire import Leg, order_workflow_id, protect_workflow_id
from storage.blotter import Words, arrival_price, strategys_words
from storage.database import Connection
from storage.orders import StoredOrder, find_by_any_id, read_order
from storage.protection import all_legs
from storage.risk import read_decision
from storage.signals import read_signal

router: Final = APIRouter()
KNOWN_FIELDS: Final = frozenset({"detail", "calls", "events", "post"})
FIELD_CHARACTERS_MAX: Final = 2000
STORY_MAX: Final = min(ROWS_MAX, 1000)

SomeId = Annotated[str, Path(max_length=128)]


@dataclass(frozen=True)
class Step:
    """One row of the story."""

    row: StoryRow
    after: timedelta | None
    calls: list[dict[str, Any]]
    kind: str
    """good, bad, warn or plain: the sign in front."""

    @property
    def detail(self) -> str:
        return str((self.row.input or {}).get("detail") or "")

    @property
    def rest(self) -> list[tuple[str, str]]:
        """What else the row was decided from, field by field."""
        told = self.row.input or {}
        return [
            (name, cut(value))
            for name, value in told.items()
            if name not in KNOWN_FIELDS and value not in (None, "")
        ]


@dataclass(frozen=True)
class Found:
    """All that the page shows."""

    order: StoredOrder
    legs: tuple[OrderView, ...]
    signal: SignalRow
    words: Words
    arrival: Decimal | None
    decision: Any
    steps: list[Step]


@page(router, "/orders/{some_id}")
async def order(request: Request, person: Viewer, deps: Deps, some_id: SomeId) -> HTMLResponse:
    """An order under its internal, client or broker id, or its signal's."""
    async with deps.database.connection() as connection:
        found = await _read(connection, some_id)
    one = found.order
    return render(
        request, "order.html", person=person, found=found, order=one, slippage=slippage(one, found.arrival),
        run=_run(deps, order_workflow_id(one.signal_id)),
        protect_run=_run(deps, protect_workflow_id(one.signal_id)) if found.legs else None,
        trace=trace_link(deps.settings.trace_url, found.signal.traceparent),
    )  # fmt: skip


async def _read(connection: Connection, some_id: str) -> Found:
    key = None if "\0" in some_id else await find_by_any_id(connection, some_id)
    if key is None:
        raise WebError(404, Code.NOT_FOUND, "no order has this id")
    one = await read_order(connection, *key)
    rows = await read_story(connection, one.signal_id, None, STORY_MAX)
    return Found(
        order=one,
        legs=await all_legs(connection, one.signal_id),
        signal=await read_signal(connection, one.signal_id),
        words=await strategys_words(connection, one.signal_id),
        arrival=await arrival_price(connection, one),
        decision=await read_decision(connection, one.signal_id) if one.leg is Leg.ENTRY else None,
        steps=steps_of([StoryRow(row) for row in rows]),
    )


def steps_of(rows: list[StoryRow]) -> list[Step]:
    """The rows with what came between them."""
    found, before = [], None
    for row in rows:
        told = row.input or {}
        calls = [
            dict.fromkeys(CALL_FIELDS) | each for each in told.get("calls") or () if isinstance(each, dict)
        ]
        if calls and "post" in told:
            calls[-1]["try_number"] = told["post"]
        found.append(Step(row, None if before is None else row.at - before, calls, _kind(row)))
        before = row.at
    return found


CALL_FIELDS: Final = (
    "operation",
    "request",
    "http_status",
    "outcome",
    "latency_ms",
    "request_id",
    "try_number",
)
_BAD: Final = ("REJECTED", "REFUSED", "FATAL", "UNKNOWN", "CONFLICT", "DRIFT", "FAILED", "KILL", "DENIED")
_GOOD: Final = ("APPROVED", "ACCEPTED", "FILL", "PASSED", "SETTLED_FILLED", "ADOPTED", "RECONCILED_CLEAN")
_WARN: Final = ("CANCEL", "DELAYED", "LAPSED", "NOT_SENT", "ALERT_RAISED", "BUST", "NOT_FOUND")


def _kind(row: StoryRow) -> str:
    decision = str(row.record["decision"])
    for kind, marks in (("bad", _BAD), ("good", _GOOD), ("warn", _WARN)):
        if any(mark in decision for mark in marks):
            return kind
    return "plain"


def cut(value: object) -> str:
    """As a person reads it, not longer than ``FIELD_CHARACTERS_MAX``."""
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= FIELD_CHARACTERS_MAX else text[:FIELD_CHARACTERS_MAX] + " …"


def _json(value: object) -> str:
    import json

    return json.dumps(
        value,
        ensure_ascii=False,
        indent=1,
        default=lambda each: str(each) if isinstance(each, Decimal) else repr(each),
    )


def _run(deps: ConsoleDeps, workflow_id: str) -> str | None:
    """Where the Temporal Web UI shows the run; None where nobody said where that is."""
    ui = deps.settings.temporal_ui
    if ui is None:
        return None
    return f"{ui.rstrip('/')}/namespaces/{segment(deps.settings.namespace)}/workflows/{segment(workflow_id)}"
