"""What the gateway is given by the process that hosts it, and who is asking."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from activities.starter import OrderStarter
from gateway.problems import ApiError, Code, unauthorized
from schemas.clock import no_fault
from security.tokens import is_mistyped
from storage.database import Database
from storage.signals import Token, find_token
from storage.tokens import use_token

TOKEN_CHARACTERS_MAX: Final = 256


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class GatewayDeps:
    """Everything that reaches outside."""

    database: Database
    dsn: str
    """For the readiness check of the schema, which needs a connection of its own."""
    starter: OrderStarter
    render_metrics: Callable[[], bytes]
    wake_secret: SecretStr | None = None
    """With which the broker signs its pushes; None: none is taken."""
    now: Callable[[], datetime] = utc_now
    clock_fault: Callable[[], str | None] = no_fault
    """Why no signal's age may be judged here now; None: it may."""


async def deps_of(request: Request) -> GatewayDeps:
    """What this application was built with. Async, because FastAPI runs a plain function in a thread."""
    return cast(GatewayDeps, request.app.state.deps)


_bearer: Final = HTTPBearer(auto_error=False, description="A strategy's token; only its sha256 is stored.")


Deps = Annotated[GatewayDeps, Depends(deps_of)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def holder(deps: Deps, credentials: Credentials) -> Token:
    """The token this request speaks for; not counted as one of its requests.

    Raises:
        ApiError: 401, the token is missing, unknown, expired or revoked.
    """
    if credentials is None or not 0 < len(credentials.credentials) <= TOKEN_CHARACTERS_MAX:
        raise unauthorized()
    if is_mistyped(credentials.credentials):
        raise unauthorized()
    async with deps.database.connection() as connection:
        token = await find_token(connection, credentials.credentials, deps.now())
    if token is None:
        raise unauthorized()
    return token


async def caller(deps: Deps, token: Annotated[Token, Depends(holder)]) -> Token:
    """The token this request speaks for, which it counts for.

    Raises:
        ApiError: 401 as `holder`; 429, the token has made as many requests as it may.
    """
    if token.rate_per_minute is None:
        return token
    async with deps.database.transaction("gateway.token_used") as connection:
        use = await use_token(connection, token)
    if not use.granted:
        raise ApiError(
            429, Code.RATE_LIMITED, f"this token may make {token.rate_per_minute} requests a minute",
            headers={"Retry-After": str(ceil(use.wait_seconds) or 1)},
        )  # fmt: skip
    return token


Caller = Annotated[Token, Depends(caller)]
