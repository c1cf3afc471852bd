"""What the console's web app is given by the process that hosts it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from pydantic import SecretStr

from schemas.mode import Mode
from security.grants import GrantKey
from security.passkeys import Passkeys
from security.passwords import Passwords
from security.sealing import Sealer
from storage.database import Database

if TYPE_CHECKING:
    from temporalio.client import Client

    from audit.check.outside import Outside


ENTRY_POOL_MAX: Final = 3
SEARCHES_AT_ONCE: Final = 4
"""What reads many rows leaves connections to everything else."""
SEARCH_SECONDS: Final = 8.0
PROOFS_AT_ONCE: Final = 1
"""A proof reads every leaf of the log."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Shown:
    """One setting as the settings page shows it; a secret is masked before it comes here."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class WebSettings:
    """What the pages need to know of how the process was started."""

    origin: str
    """``scheme://host[:port]`` as browsers see the console."""
    temporal_ui: str | None = None
    """Where the Temporal Web UI is, for links to runs."""
    namespace: str = "trading"
    trace_url: str | None = None
    """Where a trace is read, with ``{trace_id}`` in it."""
    settings: tuple[Shown, ...] = ()
    """The process's own settings with where each comes from."""

    @property
    def rp_id(self) -> str:
        """The relying party of passkeys: the origin's host."""
        return urlsplit(self.origin).hostname or "localhost"

    @property
    def is_https(self) -> bool:
        return self.origin.startswith("https://")


@dataclass(frozen=True)
class GatewayDoor:
    """Where the console proposes closing signals, with a token of its own."""

    url: str
    token: SecretStr


@dataclass
class LastSeen:
    """What the newest request read of the installation."""

    mode: Mode = Mode.PAPER


@dataclass(frozen=True)
class ConsoleDeps:
    """Everything that reaches outside."""

    database: Database
    entry: Database
    """Connections for nothing but whose session it is, how the installation stands, and the kill switch.

    However many wait for rows, these are free.
    """
    dsn: str
    """For what needs a connection of its own: listening, the check of the schema. A secret."""
    client: "Client | None"
    """Temporal; None while it does not answer."""
    settings: WebSettings
    passwords: Passwords
    sealer: Sealer
    passkeys: Passkeys
    outside: "Outside | None" = None
    """Where the audit log's checkpoints are; None: nobody said."""
    render_metrics: Callable[[], bytes] = bytes
    now: Callable[[], datetime] = utc_now
    last_seen: LastSeen = field(default_factory=LastSeen)
    grant_key: GrantKey | None = None
    """Signs releases of the kill switch in an Admin's name; None: nobody is released here."""
    gateway: GatewayDoor | None = None
    """Where closing signals are proposed; None: nothing is closed here."""
    searches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES_AT_ONCE))
    proving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROOFS_AT_ONCE))

    def mode(self) -> Mode:
        """As the newest request read it from the installation's row: what the broker connection reports."""
        return self.last_seen.mode


async def deps_of(request: Request) -> ConsoleDeps:
    """What this application was built with. Async, because FastAPI runs a plain function in a thread."""
    return cast(ConsoleDeps, request.app.state.deps)


Deps = Annotated[ConsoleDeps, Depends(deps_of)]
NOTHING: Final[Mapping[str, object]] = {}
