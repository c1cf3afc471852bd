"""Who is asking, and whether they may: each route names one of the dependencies below.

A person is read from the session's row at every request, so that a lost role, a logout or a disabling counts at the
next one. Requests under ``/live/`` (streams, refreshed fragments) do not keep a session from going idle.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, cast
from urllib.parse import quote
from uuid import UUID

import asyncpg
from fastapi import Depends, Request, Response

from console.web.deps import ConsoleDeps, Deps
from console.web.problems import Code, Elsewhere, WebError
from schemas.people import SESSION_LIFE, STEP_UP_FRESH, Role
from storage.sessions import Session, Standing, read_session, read_standing, touch_session

__all__ = [
    "Admin", "FreshAdmin", "FreshOperator", "FreshRisk", "FreshViewer", "Operator", "Person", "Risk", "Role",
    "Viewer", "needs", "standing_of",
]  # fmt: skip

SIGN_IN: Final = "/login"
SECOND: Final = "/login/second"
ENROL: Final = "/enrol"
TOUCH_EVERY: Final = timedelta(seconds=60)
"""A session's row is written at most so often."""
LIVE: Final = "/live/"
COOKIE_CHARACTERS_MAX: Final = 128
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

PUBLIC: Final = frozenset({
    ("GET", "/login"), ("POST", "/login"), ("GET", "/welcome/{link}"), ("POST", "/welcome/{link}"),
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/static/{name:path}"),
    ("GET", "/favicon.ico"),
})  # fmt: skip
"""What anybody may ask for: method and path of the route. Everything else names who may."""


@dataclass(frozen=True)
class Person:
    """Somebody who has shown password and second factor."""

    person_id: UUID
    name: str
    role: Role
    session_id: UUID
    mfa_at: datetime | None

    def may(self, role: Role) -> bool:
        """Whether this person's role is that or a higher one."""
        return self.role.covers(role)

    @property
    def may_act(self) -> bool:
        """What an Operator may."""
        return self.may(Role.OPERATOR)

    @property
    def may_risk(self) -> bool:
        """What Risk may."""
        return self.may(Role.RISK)

    @property
    def may_release(self) -> bool:
        """What an Admin may."""
        return self.may(Role.ADMIN)


class Check:
    """A dependency that lets somebody through. The route-table test looks for exactly one in each route."""

    role: Role | None = None
    fresh = False


class Needs(Check):
    """Password, second factor and a role; ``fresh``: the factor at most ``STEP_UP_FRESH`` ago."""

    def __init__(self, role: Role, *, fresh: bool = False) -> None:
        self.role = role
        self.fresh = fresh

    async def __call__(self, request: Request, deps: Deps) -> Person:
        """Raises Elsewhere or WebError."""
        session = await session_of(request, deps)
        if session.mfa_at is None:
            where = SECOND if session.has_factor else ENROL
            raise Elsewhere(Code.SECOND_FACTOR_MISSING, where, "show your second factor first")
        person = person_of(session)
        if self.role is not None and not session.role.covers(self.role):
            raise WebError(
                403, Code.ROLE_TOO_LOW, f"this needs the role {self.role}; {session.name} is {session.role}"
            )
        if self.fresh and not is_fresh(session, deps.now()):
            raise WebError(403, Code.STEP_UP_REQUIRED, "show your second factor once more to do this")
        return person


class NeedsEntry(Check):
    """The password was right: the second factor is still to be shown, or the first one to be enrolled."""

    async def __call__(self, request: Request, deps: Deps) -> Session:
        """Raises Elsewhere."""
        return await session_of(request, deps)


class NeedsEnrolment(Check):
    """May add a way to sign in: has none yet, or has shown one at most ``STEP_UP_FRESH`` ago."""

    async def __call__(self, request: Request, deps: Deps) -> Session:
        """Raises Elsewhere or WebError."""
        session = await session_of(request, deps)
        if session.has_factor and session.mfa_at is None:
            raise Elsewhere(Code.SECOND_FACTOR_MISSING, SECOND, "show your second factor first")
        if session.has_factor and not is_fresh(session, deps.now()):
            raise WebError(403, Code.STEP_UP_REQUIRED, "show your second factor once more to do this")
        return session


def needs(role: Role, *, fresh: bool = False) -> Callable[[Request, ConsoleDeps], Awaitable[Person]]:
    """The dependency for a role."""
    return Needs(role, fresh=fresh)


Viewer = Annotated[Person, Depends(needs(Role.VIEWER))]
Operator = Annotated[Person, Depends(needs(Role.OPERATOR))]
Risk = Annotated[Person, Depends(needs(Role.RISK))]
Admin = Annotated[Person, Depends(needs(Role.ADMIN))]
FreshViewer = Annotated[Person, Depends(needs(Role.VIEWER, fresh=True))]
FreshOperator = Annotated[Person, Depends(needs(Role.OPERATOR, fresh=True))]
FreshRisk = Annotated[Person, Depends(needs(Role.RISK, fresh=True))]
FreshAdmin = Annotated[Person, Depends(needs(Role.ADMIN, fresh=True))]
Entering = Annotated[Session, Depends(NeedsEntry())]
Enrolling = Annotated[Session, Depends(NeedsEnrolment())]


def person_of(session: Session) -> Person:
    return Person(session.person_id, session.name, session.role, session.session_id, session.mfa_at)


def is_fresh(session: Session, now: datetime) -> bool:
    """Whether the last second factor still counts for what needs a fresh one."""
    return session.mfa_at is not None and now - session.mfa_at <= STEP_UP_FRESH


async def session_of(request: Request, deps: ConsoleDeps) -> Session:
    """The session behind the cookie.

    Raises:
        Elsewhere: there is none that counts.
    """
    await standing_of(request, deps)
    secret = request.cookies.get(cookie_name(deps), "")
    session = None
    if 0 < len(secret) <= COOKIE_CHARACTERS_MAX:
        now = deps.now()
        async with deps.entry.connection() as connection:
            session = await read_session(connection, secret, now)
        if session is not None and not request.url.path.startswith(LIVE):
            await _touch(deps, session, now)
    request.state.session = session
    if session is None:
        back = (
            f"?next={quote(request.url.path)}" if request.method == "GET" and request.url.path != "/" else ""
        )
        raise Elsewhere(Code.NOT_SIGNED_IN, SIGN_IN + back, "sign in first")
    return session


async def _touch(deps: ConsoleDeps, session: Session, now: datetime) -> None:
    # A database that takes no writes must not keep anybody from looking, nor from sending a kill on its other way.
    with suppress(asyncpg.ReadOnlySQLTransactionError):
        if now - session.seen_at < TOUCH_EVERY:
            return
        async with deps.entry.transaction("people.session_seen") as connection:
            await touch_session(connection, session.session_id, now)


async def standing_of(request: Request, deps: ConsoleDeps) -> Standing:
    """Mode and halt, read once for each request: what stands on every page."""
    known = getattr(request.state, "standing", None)
    if known is None:
        async with deps.entry.connection() as connection:
            known = await read_standing(connection)
        request.state.standing = known
        deps.last_seen.mode = known.mode
    return cast(Standing, known)


async def standing_anew(request: Request, deps: ConsoleDeps) -> None:
    """Read it again, after an act that has changed it: the answer's page must not say what was before."""
    request.state.standing = None
    await standing_of(request, deps)


def cookie_name(deps: ConsoleDeps) -> str:
    """``__Host-`` binds it to this host and to https; plain http knows no such names."""
    return "__Host-console" if deps.settings.is_https else "console"


def set_cookie(response: Response, deps: ConsoleDeps, secret: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        cookie_name(deps),
        secret,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=deps.settings.is_https,
        httponly=True,
        samesite="strict",
    )


def clear_cookie(response: Response, deps: ConsoleDeps) -> None:
    response.delete_cookie(
        cookie_name(deps), path="/", secure=deps.settings.is_https, httponly=True, samesite="strict"
    )


def address_of(request: Request) -> str:
    """From where, as the connection says; a proxy's own address behind one."""
    return request.client.host if request.client else "unknown"


def inside(path: str | None) -> str:
    """A path of ours to go to next; anything else becomes the first page."""
    if path and path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout", "/enrol")):
        return path if path.isprintable() and "\\" not in path else "/"
    return "/"
