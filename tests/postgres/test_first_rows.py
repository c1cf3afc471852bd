"""What is done again at every migration, and what a process says that cannot reach what it needs."""

import asyncio
import logging
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from temporalio.service import RPCError, RPCStatusCode

from storage.database import BadDatabaseAddress, Database
from tests.postgres.as_role import connected
from workers import run
from workers.settings import MigrateSettings, OrdersSettings
from workers.setup import first_rows, run_migrate

PASSWORD = "hunter2pass"


async def test_a_revoked_token_stays_revoked_and_an_expiry_stays(database: str) -> None:
    kept = "select revoked_at, expires_at from api_tokens"
    async with connected(database) as owner:
        await first_rows(database, token="t" * 64, operator_key=None)
        assert tuple(await owner.fetchrow(kept)) == (None, None)
        await owner.execute("update api_tokens set revoked_at = now(), expires_at = now() + interval '1 day'")
        before = await owner.fetchrow(kept)
        await first_rows(database, token="t" * 64, operator_key=None)
        assert await owner.fetchrow(kept) == before
        first = await owner.fetchval("select token_hash from api_tokens")
        await first_rows(database, token="u" * 64, operator_key=None)
        assert await owner.fetchval("select revoked_at from api_tokens") == before["revoked_at"]
        assert await owner.fetchval("select token_hash from api_tokens") != first


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://ti_gateway:{PASSWORD}/secret@127.0.0.1:5/d",
        f"postgresql://ti_gateway:{PASSWORD}#ter@127.0.0.1:5/d",
        f"postgresql://ti_gateway@127.0.0.1:{PASSWORD}/d",
        f"postgresql://ti_gateway:{PASSWORD}?x@127.0.0.1:5/d",
    ],
)
async def test_an_address_that_is_none_is_not_told(address: str) -> None:
    with pytest.raises(BadDatabaseAddress) as refused:
        await Database.connect(address)
    seen: BaseException | None = refused.value
    while seen is not None and not seen.__suppress_context__:
        seen = seen.__context__
    assert seen is refused.value, "nothing behind it is shown"
    assert PASSWORD not in str(refused.value)
    secret = SecretStr("x")
    settings = MigrateSettings(
        database_url=SecretStr(address), ti_gateway_password=secret, ti_risk_password=secret,
        ti_execution_password=secret, ti_operations_password=secret, ti_console_password=secret,
    )  # fmt: skip
    with pytest.raises(BadDatabaseAddress):
        await run_migrate(settings, asyncio.Event())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RPCError("namespace not found", RPCStatusCode.NOT_FOUND, b""), 3),
        (asyncpg.TooManyConnectionsError("too many connections for role"), 3),
        (BadDatabaseAddress(), 2),
    ],
)
async def test_what_is_down_ends_a_process_with_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run, "runner", lambda _: failing)
    with caplog.at_level(logging.ERROR):
        assert await run._main("orders", OrdersSettings(temporal_address="127.0.0.1:1")) == code
    assert [(line.levelname, bool(line.exc_info)) for line in caplog.records] == [("ERROR", False)]
