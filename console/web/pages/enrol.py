"""Second factors: enrolling the first one, adding more, taking one away, recovery codes."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Form, Request
from starlette.responses import JSONResponse, Response

from console.web import factors
from console.web.access import Enrolling, person_of, set_cookie
from console.web.answers import go, wants_json
from console.web.deps import ConsoleDeps, Deps
from console.web.pages.login import Text
from console.web.problems import Code, WebError, invalid
from console.web.rendering import render
from console.web.sign_in import REGISTER
from security import totp
from storage.sessions import Session

router = APIRouter()

SVG = "image/svg+xml"


@router.get("/enrol")
async def show_enrol(request: Request, session: Enrolling) -> Response:
    """Which factor shall it be."""
    person = person_of(session) if session.mfa_at is not None else None
    return render(request, "enrol.html", person=person, session=session)


@router.post("/enrol/totp")
async def begin_totp(deps: Deps, session: Enrolling) -> Response:
    """Begin anew with a secret of its own."""
    await factors.offer_totp(deps, session)
    return go("/enrol/totp")


@router.get("/enrol/totp")
async def show_totp(request: Request, deps: Deps, session: Enrolling) -> Response:
    """The secret to be scanned or typed, and where to type the first code."""
    return await _totp_page(request, deps, session, None, 200)


async def _totp_page(
    request: Request, deps: ConsoleDeps, session: Session, wrong: str | None, status: int
) -> Response:
    secret, _ = await factors.offered_totp(deps, session)
    person = person_of(session) if session.mfa_at is not None else None
    grouped = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    return render(
        request, "enrol_totp.html", person=person, session=session, secret=grouped, wrong=wrong, status=status
    )


@router.get("/enrol/totp.svg")
async def totp_picture(deps: Deps, session: Enrolling) -> Response:
    """The QR code, drawn here: it is a secret, and no other site is told of it."""
    secret, _ = await factors.offered_totp(deps, session)
    return Response(totp.qr_code(totp.address(secret, session.name)), media_type=SVG)


@router.post("/enrol/totp/code")
async def take_totp(request: Request, deps: Deps, session: Enrolling, code: Text) -> Response:
    """The first code: from now on the generator counts."""
    try:
        secret = await factors.take_totp(deps, session, code)
    except WebError as error:
        if error.code is not Code.INVALID_REQUEST or wants_json(request):
            raise
        return await _totp_page(request, deps, session, error.message, error.status)
    return _enrolled(deps, session, secret, go("/enrol/recovery" if secret else "/access"))


@router.post("/enrol/passkey/options")
async def passkey_options(deps: Deps, session: Enrolling) -> JSONResponse:
    """What the browser's authenticator is asked."""
    return JSONResponse(await factors.ask_for_passkey(deps, session, REGISTER))


@router.post("/enrol/passkey")
async def take_passkey(
    deps: Deps, session: Enrolling, answer: Annotated[dict[str, Any], Body()], label: str = ""
) -> Response:
    """The authenticator's answer."""
    secret = await factors.take_passkey(deps, session, answer, label)
    location = "/enrol/recovery" if secret else "/access"
    return _enrolled(deps, session, secret, JSONResponse({"registered": True, "location": location}))


def _enrolled(deps: ConsoleDeps, session: Session, secret: str | None, response: Response) -> Response:
    if secret is not None:
        set_cookie(response, deps, secret)
    return response


@router.get("/enrol/recovery")
async def show_recovery(request: Request, session: Enrolling) -> Response:
    """What recovery codes are for, and the button that makes new ones."""
    person = person_of(session) if session.mfa_at is not None else None
    return render(request, "recovery.html", person=person, codes=None)


@router.post("/enrol/recovery")
async def make_recovery(request: Request, deps: Deps, session: Enrolling) -> Response:
    """Ten new codes, shown this once."""
    if session.mfa_at is None:
        raise invalid("enrol a second factor first")
    codes = await factors.new_recovery_codes(deps, session)
    return render(request, "recovery.html", person=person_of(session), codes=codes)


@router.post("/enrol/totp/remove")
async def remove_totp(deps: Deps, session: Enrolling) -> Response:
    """Take the code generator away, where another factor is left."""
    await factors.remove_totp(deps, session)
    return go("/access")


@router.post("/enrol/passkey/remove")
async def remove_passkey(
    deps: Deps, session: Enrolling, credential_id: Annotated[str, Form(pattern="^([0-9a-f]{2}){1,1024}$")]
) -> Response:
    """Take a passkey away, where another factor is left."""
    await factors.remove_passkey(deps, session, bytes.fromhex(credential_id))
    return go("/access")


@router.post("/enrol/password")
async def change_password(deps: Deps, session: Enrolling, password: Text, again: Text) -> Response:
    """Another password; every other session of this person ends."""
    if password != again:
        raise invalid("the two passwords differ")
    await factors.change_password(deps, session, password)
    return go("/access")
