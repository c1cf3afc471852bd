"""Limits: what is in force, changed by Risk; a raise with a fresh factor, and where the rule is on by two."""

from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from console.acts.limits import Change, Changed, LimitsMoved, Shown, Wanted, change_limits
from console.acts.people import why
from console.limits_change import edited
from console.web.access import Person, Risk, Viewer
from console.web.acting import Reason, Span, actor_of, end_of, show, told
from console.web.answers import CODE_HEADER, wants_json
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import Code, WebError, invalid
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
Version = Annotated[int | None, Form(ge=1, lt=2**63)]
Name = Annotated[str, Query(max_length=NAME_CHARACTERS_MAX)]


@router.get(LIMITS)
async def show_limits(
    request: Request, deps: Deps, person: Viewer, scope: LimitScope = LimitScope.ACCOUNT, name: Name = ""
) -> Response:
    """One scope's limits as they last, with a form for Risk, and every version of it."""
    return await _page(request, deps, person, Wanted(scope, name))


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
    in_force: Version = None,
    lasting: Version = None,
) -> Response:
    """Store what differs from what lasts. A raise asks for the factor, or for a second person.

    The form sends every field: where other limits stand by now than it shows, those that nobody touched would put
    the old ones back.
    """
    whose, shown = Wanted(scope, name), Shown(in_force, lasting)
    form = await _typed(request, scope)
    try:
        with told():
            wish = Change(
                whose, lambda stored: edited(scope, stored, _edits(stored, form)),
                reason=why(reason, "limits are changed for a reason"), author=person.name,
                expires_at=end_of(span, deps.now()), approval_id=approval_id, shown=shown,
            )  # fmt: skip
            async with deps.database.connection() as connection:
                changed = await change_limits(connection, wish, actor_of(person, deps))
    except WebError as error:
        if not isinstance(error.__cause__, LimitsMoved) or wants_json(request):
            raise
        return await _page(request, deps, person, whose, moved=Moved(shown, form, span, reason))
    return await _page(request, deps, person, whose, changed=changed)


@dataclass(frozen=True)
class Moved:
    """What somebody sent on limits that do not stand any more."""

    shown: Shown
    form: dict[str, str]
    span: str
    reason: str

    def typed(self, history: list[LimitsRow]) -> dict[str, str]:
        """The fields that he had changed."""
        row = next((each for each in history if each.version == self.shown.lasting), None)
        was = {} if row is None else row.document.model_dump(mode="json", exclude_none=True)
        return {field: text for field, text in self.form.items() if text.strip() != _text(was.get(field))}


async def _typed(request: Request, scope: LimitScope) -> dict[str, str]:
    form = {
        key.removeprefix(FIELD_PREFIX): str(value)
        for key, value in (await request.form()).items()
        if key.startswith(FIELD_PREFIX)
    }
    if not form or not form.keys() <= MODELS[scope].model_fields.keys():
        raise invalid("no limits of this scope were sent")
    if any(len(value) > VALUE_CHARACTERS_MAX for value in form.values()):
        raise invalid("a value is too long")
    return form


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
    request: Request,
    deps: ConsoleDeps,
    person: Person,
    whose: Wanted,
    *,
    changed: Changed | None = None,
    moved: Moved | None = None,
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
    page = show(
        request, "limits", person, status=200 if moved is None else 409, whose=whose, fields=fields,
        shown=Shown.of(standing), moved=moved, stands=standing, names=names,
        typed={} if moved is None else moved.typed(history),
        scopes=list(LimitScope), changed=changed, approval_id=uuid4(), may_change=person.may(Role.RISK),
        two=is_on(mode=mode, always=always),
        history=[(row, became[row.version].value, _changes(history, index)) for index, row in enumerate(history)],
    )  # fmt: skip
    if moved is not None:
        page.headers[CODE_HEADER] = Code.REFUSED
    return page


def _changes(history: list[LimitsRow], index: int) -> str:
    before = in_force(history[index + 1 :], history[index].created_at)
    found = changes(before.document if before else None, history[index].document)
    return (
        "; ".join(f"{each.field} {each.before} → {each.after}" for each in found) if before else "the first"
    )
