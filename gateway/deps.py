"""What the gateway is given by the process that hosts it, and who is asking."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from activities.starter import OrderStarter
from gateway.problems import unauthorized
from storage.database import Database
from storage.signals import Token, find_token

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


async def deps_of(request: Request) -> GatewayDeps:
    """What this application was built with. Async, because FastAPI runs a plain function in a thread."""
    return cast(GatewayDeps, request.app.state.deps)


_bearer: Final = HTTPBearer(auto_error=False, description="A strategy's token; only its sha256 is stored.")


Deps = Annotated[GatewayDeps, Depends(deps_of)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def caller(deps: Deps, credentials: Credentials) -> Token:
    """The token this request speaks for.

    Raises:
        ApiError: 401, the token is missing, unknown, expired or revoked.
    """
    if credentials is None or not 0 < len(credentials.credentials) <= TOKEN_CHARACTERS_MAX:
        raise unauthorized()
    async with deps.database.connection() as connection:
        token = await find_token(connection, credentials.credentials, deps.now())
    if token is None:
        raise unauthorized()
    return token


Caller = Annotated[Token, Depends(caller)]
