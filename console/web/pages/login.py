"""Signing in and out, showing a second factor once more, and coming in by a one-time link."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Form, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from console.web import factors, links, sign_in
from console.web.access import (
    ENROL,
    SECOND,
    Entering,
    Viewer,
    address_of,
    clear_cookie,
    inside,
    person_of,
    set_cookie,
    standing_of,
)
from console.web.answers import go, wants_json
from console.web.deps import Deps
from console.web.problems import Code, WebError, invalid
from console.web.rendering import render
from console.web.sign_in import AGENT_CHARACTERS_MAX, SIGN_IN, Visitor
from schemas.people import PASSWORD_CHARACTERS_MIN, Factor

router = APIRouter()

Text = Annotated[str, Form(max_length=4096)]
Optional = Annotated[str, Form(max_length=4096)]
_TYPED: Final = {"totp": Factor.TOTP, "recovery": Factor.RECOVERY_CODE}


def visitor(request: Request) -> Visitor:
    """From where this request comes."""
    agent = request.headers.get("user-agent", "")[:AGENT_CHARACTERS_MAX]
    return Visitor(address_of(request), "".join(each for each in agent if each.isprintable()))


@router.get("/login")
async def show_login(request: Request, deps: Deps, next: str = "/") -> Response:  # noqa: A002 - its name outside
    """The first step."""
    await standing_of(request, deps)
    return render(request, "login.html", next=inside(next), wrong=None)


@router.post("/login")
async def login(
    request: Request,
    deps: Deps,
    name: Text,
    password: Text,
    next: Optional = "/",  # noqa: A002
) -> Response:
    """The password; what is wrong is never told apart."""
    await standing_of(request, deps)
    try:
        secret = await sign_in.with_password(deps, name, password, visitor(request))
    except WebError as error:
        if error.code is not Code.NOT_LET_IN or wants_json(request):
            raise
        return render(request, "login.html", status=error.status, next=inside(next), wrong=error.message)
    response = RedirectResponse(f"{SECOND}?next={inside(next)}", status_code=303)
    set_cookie(response, deps, secret)
    return response


@router.get(SECOND)
async def show_second(request: Request, session: Entering, next: str = "/") -> Response:  # noqa: A002
    """The second step."""
    if not session.has_factor:
        return go(ENROL)
    if session.mfa_at is not None:
        return go(inside(next))
    return render(request, "second.html", session=session, next=inside(next), wrong=None)


@router.post("/login/second/code")
async def second_code(
    request: Request,
    deps: Deps,
    session: Entering,
    kind: Text,
    code: Text,
    next: Optional = "/",  # noqa: A002
) -> Response:
    """A code: of the generator, or a recovery code. At sign-in, and to step up."""
    factor = _TYPED.get(kind)
    if factor is None:
        raise invalid("no such kind of code")
    try:
        secret = await sign_in.with_factor(deps, session, factor, code, visitor(request))
    except WebError as error:
        if error.code is not Code.NOT_LET_IN or wants_json(request):
            raise
        is_in = session.mfa_at is not None
        return render(
            request, "step_up.html" if is_in else "second.html",
            person=person_of(session) if is_in else None, status=error.status, session=session,
            next=inside(next), wrong=error.message, message=error.message, fragment=False,
        )  # fmt: skip
    response = go(inside(next))
    set_cookie(response, deps, secret)
    return response


@router.post("/login/second/passkey/options")
async def passkey_options(deps: Deps, session: Entering) -> JSONResponse:
    """What the browser's authenticator is asked."""
    return JSONResponse(await factors.ask_for_passkey(deps, session, SIGN_IN))


@router.post("/login/second/passkey")
async def second_passkey(
    request: Request, deps: Deps, session: Entering, answer: Annotated[dict[str, Any], Body()]
) -> Response:
    """The authenticator's answer. At sign-in, and to step up."""
    secret = await sign_in.with_factor(deps, session, Factor.PASSKEY, answer, visitor(request))
    response = JSONResponse({"signed_in": True})
    set_cookie(response, deps, secret)
    return response


@router.get("/step-up")
async def show_step_up(request: Request, person: Viewer, next: str = "/") -> Response:  # noqa: A002
    """The page on which somebody who is signed in shows the second factor once more."""
    return render(
        request, "step_up.html", person=person, session=request.state.session, next=inside(next),
        message="Show your second factor once more.", fragment=False,
    )  # fmt: skip


@router.post("/logout")
async def logout(deps: Deps, session: Entering) -> Response:
    """End this session."""
    await factors.end_session(deps, session.session_id, of=session.person_id, by=session.name, own=True)
    response = go("/login")
    clear_cookie(response, deps)
    return response


@router.get("/welcome/{link}")
async def show_welcome(request: Request, deps: Deps, link: str) -> Response:
    """What a one-time link leads to. Looking at it does not use it."""
    await standing_of(request, deps)
    found = await links.link_of(deps, link)
    return render(request, "welcome.html", link=found, wrong=None, least=PASSWORD_CHARACTERS_MIN)


@router.post("/welcome/{link}")
async def welcome(
    request: Request, deps: Deps, link: str, password: Text, again: Text, name: Optional = ""
) -> Response:
    """Use the link: set name and password, then enrol a second factor."""
    await standing_of(request, deps)
    try:
        if password != again:
            raise invalid("the two passwords differ")
        secret = await links.come_in(deps, link, name, password, visitor(request))
    except WebError as error:
        if error.status not in (409, 422) or wants_json(request):
            raise
        found = await links.link_of(deps, link)
        return render(
            request, "welcome.html", status=error.status, link=found, wrong=error.message,
            least=PASSWORD_CHARACTERS_MIN,
        )  # fmt: skip
    response = go(ENROL)
    set_cookie(response, deps, secret)
    return response
