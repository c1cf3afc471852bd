"""The real console on a real database; passwords hashed cheaply."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from console.web.app import build_console
from console.web.deps import ENTRY_POOL_MAX, ConsoleDeps, WebSettings
from security.passkeys import Passkeys
from security.passwords import Passwords
from security.sealing import Sealer
from storage.database import Database
from storage.grants import Role
from tests.web.browser import ORIGIN, Web

if TYPE_CHECKING:
    from temporalio.client import Client


@asynccontextmanager
async def console_on(database: str, client: "Client | None" = None) -> AsyncIterator[Web]:
    """A console on these rows, with its own rights and no more, and a clock that a test may move.

    Without a ``client`` Temporal is away.
    """
    opened = await Database.connect(f"{database}?role={Role.CONSOLE}")
    entry = await Database.connect(f"{database}?role={Role.CONSOLE}", most=ENTRY_POOL_MAX)
    owner = await Database.connect(database)
    clock = [datetime.now(UTC)]
    settings = WebSettings(origin=ORIGIN)
    deps = ConsoleDeps(
        database=opened,
        entry=entry,
        dsn=database,
        client=client,
        settings=settings,
        passwords=Passwords(time_cost=1, memory_kib=8, parallelism=1),
        sealer=Sealer([b"k" * 32]),
        passkeys=Passkeys(ORIGIN, settings.rp_id),
        now=lambda: clock[0],
    )
    yield Web(build_console(deps), deps, clock, owner)
    await owner.close()
    await entry.close()
    await opened.close()


@pytest.fixture
async def web(database: str) -> AsyncIterator[Web]:
    """Give a console with nobody in it."""
    async with console_on(database) as made:
        yield made
