"""Limits: what is in force, changed by Risk; a raise with a fresh factor, and where the rule is on by two."""

from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from console.acts.limits import Change, Changed, Wanted, change_limits
from console.acts.people import why
from console.limits_change import edited
from console.web.access import Person, Risk, Viewer
from console.web.acting import Reason, Span, actor_of, end_of, show, told
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import invalid
from risk.limit_changes import changes, in_force, states
from schemas.limits import LISTS, MODELS, LimitsRow
from schemas.people import Role
from schemas.risk import LimitScope
from security.two_persons import is_on
from storage.limits import read_document, read_history, read_names, read_standing
from storage.two_persons import read_rule

router = APIRouter()

LIMITS: Final = "/acts/limits"
NAME_CHARACTERS_MAX: Final = 64
FIELD_PREFIX: Final = "limit."
NONE: Final = "none"
VALUE_CHARACTERS_MAX: Final = 4000
Name = Annotated[str, Query(max_length=NAME_CHARACTERS_MAX)]


@router.get(LIMITS)
async def show_limits(
    request: Request, deps: Deps, person: Viewer, scope: LimitScope = LimitScope.ACCOUNT, name: Name = ""
) -> Response:
    """One scope's limits as they last, with a form for Risk, and every version of it."""
    return await _page(request, deps, person, Wanted(scope, name), None)


@router.post(LIMITS)
async def change(
    request: Request,
    deps: Deps,
    person: Risk,
    reason: Reason,
    approval_id: Annotated[UUID, Form()],
    scope: Annotated[LimitScope, Form()] = LimitScope.ACCOUNT,
    name: Annotated[str, Form(max_length=NAME_CHARACTERS_MAX)] = "",
    span: Span = "",
) -> Response:
    """Store what differs from what lasts. A raise asks for the factor, or for a second person."""
    whose = Wanted(scope, name)
    form = {
        key.removeprefix(FIELD_PREFIX): str(value)
        for key, value in (await request.form()).items()
        if key.startswith(FIELD_PREFIX)
    }
    if not form or not form.keys() <= MODELS[scope].model_fields.keys():
        raise invalid("no limits of this scope were sent")
    if any(len(value) > VALUE_CHARACTERS_MAX for value in form.values()):
        raise invalid("a value is too long")
    with told():
        wish = Change(
            whose,
            lambda stored: edited(scope, stored, _edits(stored, form)),
            reason=why(reason, "limits are changed for a reason"),
            author=person.name,
            expires_at=end_of(span, deps.now()),
            approval_id=approval_id,
        )
        async with deps.database.connection() as connection:
            changed = await change_limits(connection, wish, actor_of(person, deps))
    return await _page(request, deps, person, whose, changed)


def _edits(stored: dict[str, Any], form: dict[str, str]) -> list[str]:
    """What was typed and differs from what is stored. An empty field is one that is not given."""
    found = []
    for field, text in form.items():
        wanted, now = text.strip(), _text(stored.get(field))
        if wanted != now:
            found.append(f"{field}={wanted if wanted or field in LISTS else NONE}")
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(value) if isinstance(value, list) else str(value)


async def _page(
    request: Request, deps: ConsoleDeps, person: Person, whose: Wanted, changed: Changed | None
) -> Response:
    now = deps.now()
    async with deps.database.connection() as connection:
        stored = await read_document(connection, whose.scope, whose.name)
        standing = await read_standing(connection, whose.scope, whose.name, now)
        history = await read_history(connection, whose.scope, whose.name)
        names = await read_names(connection)
        always, mode = await read_rule(connection)
    fields = [(field, _text(stored.get(field))) for field in MODELS[whose.scope].model_fields]
    became = states(history, now)
    return show(
        request, "limits", person, whose=whose, fields=fields, stands=standing, names=names,
        scopes=list(LimitScope), changed=changed, approval_id=uuid4(), may_change=person.may(Role.RISK),
        two=is_on(mode=mode, always=always),
        history=[(row, became[row.version].value, _changes(history, index)) for index, row in enumerate(history)],
    )  # fmt: skip


def _changes(history: list[LimitsRow], index: int) -> str:
    before = in_force(history[index + 1 :], history[index].created_at)
    found = changes(before.document if before else None, history[index].document)
    return (
        "; ".join(f"{each.field} {each.before} → {each.after}" for each in found) if before else "the first"
    )
