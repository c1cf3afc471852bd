"""What does not start: another account's database, no limits, a migration that was edited."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from security.approvals import ApprovalSigner
from storage.switches import bind_installation
from tests.faults.installation import data_dir, interrupt, run, running
from tests.servers.approvals import AUDIT_KEY, BOTH
from tests.servers.exchange import Exchange
from tests.servers.processes import REPOSITORY, needs_proc
from tests.servers.stack import WIDE_LIMITS, seed
from workers import postgres
from workers.datadir import DataDir, free_port
from workers.parts import utc_now
from workers.supervisor import Supervisor

__all__ = ["data_dir"]

ENDED_WITHIN_SECONDS = 60
NOBODY_LISTENS = "127.0.0.1:9"

pytestmark = [needs_proc, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Refusal:
    """How the product's process ended and the last line of its log."""

    code: int
    said: dict[str, Any]


async def start(dsn: str, exchange: Exchange, **more: str) -> Refusal:
    """``python -m workers.run compact``; Temporal is never reached, as the checks come first."""
    environment = {
        "PATH": os.environ["PATH"],
        "TRADING_DATABASE_URL": dsn,
        "TRADING_TEMPORAL_ADDRESS": NOBODY_LISTENS,
        "TRADING_BROKER_TRADING_URL": exchange.url,
        "TRADING_BROKER_STREAM_URL": f"{exchange.ws_url}/stream",
        "TRADING_BROKER_KEY": exchange.key,
        "TRADING_BROKER_SECRET": exchange.secret,
        "TRADING_DATA_URL": exchange.url,
        "TRADING_DATA_STREAM_URL": f"{exchange.ws_url}/v2/iex",
        "TRADING_GATEWAY_PORT": str(free_port()),
        "TRADING_AUDIT_KEY": AUDIT_KEY,
        "TRADING_AUDIT_TARGET": "/var/empty/never-written",
        **{f"TRADING_{name.upper()}": value.get_secret_value() for name, value in BOTH.items()},
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.run", "compact", cwd=REPOSITORY, env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, log = await asyncio.wait_for(process.communicate(), ENDED_WITHIN_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    assert exchange.secret not in log.decode()
    return Refusal(process.returncode, json.loads(log.decode().splitlines()[-1]))


async def execute(dsn: str, statement: str, *arguments: Any) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement, *arguments)
    await connection.close()


async def test_database_of_another_account_is_refused(database: str, exchange: Exchange) -> None:
    await seed(database, "token", WIDE_LIMITS)
    connection = await asyncpg.connect(database)
    await bind_installation(connection, account="somebody-elses", mode="paper", now=utc_now())
    await connection.close()
    refusal = await start(database, exchange)
    assert refusal.code == 1
    assert refusal.said["event"] == "refusing to start"
    assert "somebody-elses" in refusal.said["reason"]


async def test_a_signing_key_that_execution_would_not_accept_is_refused(
    database: str, exchange: Exchange
) -> None:
    other, secret = ApprovalSigner.generate()
    refusal = await start(database, exchange, TRADING_APPROVAL_SIGNING_KEY=secret)
    assert refusal.code == 1
    assert refusal.said["event"] == "refusing to start"
    assert f"key {other.key_id}, which TRADING_APPROVAL_PUBLIC_KEYS does not name" in refusal.said["reason"]


async def test_missing_limits_are_refused(database: str, exchange: Exchange) -> None:
    refusal = await start(database, exchange)
    assert refusal.code == 1
    assert refusal.said["event"] == "refusing to start"
    assert "limits" in refusal.said["reason"]


async def test_limits_that_lack_one_are_refused_by_name(database: str, exchange: Exchange) -> None:
    await seed(database, "token", WIDE_LIMITS)
    await execute(database, "update limits set document = document - 'max_gross_exposure_pct'")
    refusal = await start(database, exchange)
    assert refusal.code == 1
    assert refusal.said["event"] == "refusing to start"
    assert "max_gross_exposure_pct: Field required" in refusal.said["reason"]


async def test_edited_migration_is_refused(database: str, exchange: Exchange) -> None:
    await seed(database, "token", WIDE_LIMITS)
    await execute(database, "update schema_migrations set sha256 = repeat('0', 64)")
    refusal = await start(database, exchange)
    assert refusal.code == 1
    assert refusal.said["event"] == "refusing to start"
    assert "0001_core.sql was changed after it was applied" in refusal.said["reason"]


async def test_unreachable_database_is_a_dependency_that_is_down(exchange: Exchange) -> None:
    refusal = await start(f"postgresql://trading:x@127.0.0.1:{free_port()}/trading", exchange)
    assert refusal.code == 3
    assert refusal.said["event"] == "cannot run: a dependency is down"


async def test_up_says_why_it_refuses_its_own_folder(data_dir: DataDir) -> None:
    """How: one installation lives; its account is changed, which the product refuses; then a migration is
    edited, which `up` itself refuses before the product starts.
    """
    async with running(data_dir) as doors:
        account = (await doors.exchange.get("/v2/account")).json()["id"]
        # What is bound is bound for ever: only its owner can take away what keeps it so.
        await execute(
            doors.addresses["database_url"],
            "alter table installation disable trigger installation_kept;"
            "update installation set account = 'somebody-elses'",
        )
        await interrupt(doors.up)
    end = await run(data_dir)
    assert (end.code, "Traceback" in end.errors) == (1, False), end.errors
    assert f"serves account somebody-elses (paper), not {account} (paper)" in end.errors
    await while_down(data_dir, "update schema_migrations set sha256 = repeat('0', 64)")
    end = await run(data_dir)
    assert (end.code, end.errors.count("\n")) == (1, 1), end.errors
    assert "0001_core.sql was changed after it was applied" in end.errors
    assert end.stopped[-1] == "postgres"


async def while_down(data_dir: DataDir, statement: str) -> None:
    """Change the installation's database while nothing else of it runs."""
    server = await postgres.initialise(data_dir.postgres)
    async with Supervisor() as supervisor:
        await supervisor.start(postgres.spec(server, log_path=data_dir.log("postgres")))
        await execute(server.dsn(), statement)
