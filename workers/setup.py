"""What is done with the owner's rights, once for each release: schema, roles, and the rows of a first start."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Final

import asyncpg

from console.person_changes import first_admin_link as make_first_admin_link
from observability.logging import get_logger
from schemas.risk import Limits
from schemas.tokens import CONSOLE_TOKEN
from security.grants import public_key_id
from security.one_time import new_secret
from storage.database import CONNECT_TIMEOUT_SECONDS, BadDatabaseAddress, Database, DatabaseUnavailable
from storage.grants import Role, can_log_in, set_passwords
from storage.limits import LimitsMissing, save_limits
from storage.migrate import MigrationError, migrate
from storage.signals import save_token
from storage.switches import save_operator_key
from storage.two_persons import set_rule
from workers.embedded import CONSOLE, DEMO_TOKEN, FIRST_LIMITS, OPERATOR
from workers.limits import require_limits
from workers.settings import MigrateSettings

KEY_BYTES: Final = 32

_log = get_logger(__name__)


async def run_migrate(settings: MigrateSettings, stop: asyncio.Event) -> None:
    """Bring the database to this release and give each role its password. Again is harmless; nothing to stop.

    Raises:
        MigrationError, LimitsUnsound: nothing can be done with what is there.
        DatabaseUnavailable, BadDatabaseAddress: it does not answer, or its address is none.
    """
    passwords = {
        Role.GATEWAY: settings.ti_gateway_password,
        Role.RISK: settings.ti_risk_password,
        Role.EXECUTION: settings.ti_execution_password,
        Role.OPERATIONS: settings.ti_operations_password,
        Role.CONSOLE: settings.ti_console_password,
    }
    secrets = (
        settings.demo_token, settings.operator_public_key, settings.console_grant_public_key,
        settings.console_gateway_token,
    )  # fmt: skip
    token, key, grant_key, console_token = (
        each.get_secret_value().strip() if each else None for each in secrets
    )
    try:
        applied = await migrate(settings.dsn)
        connection = await asyncpg.connect(settings.dsn, timeout=CONNECT_TIMEOUT_SECONDS)
        try:
            await set_passwords(
                connection,
                {role: secret.get_secret_value() for role, secret in passwords.items()},
                datetime.now(UTC),
            )
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {type(error).__name__}: {error}") from error
    except ValueError:
        raise BadDatabaseAddress from None
    await first_rows(
        settings.dsn,
        token=token,
        operator_key=_key("trading_operator_public_key", key) if key else None,
        console_key=_key("trading_console_grant_public_key", grant_key) if grant_key else None,
        console_token=console_token,
        two_persons=settings.two_persons == "always",
    )
    _log.info("database ready", applied=applied, roles=[role.value for role in passwords])


def _key(name: str, text: str) -> bytes:
    """Raises:
    MigrationError: not a public key in hexadecimal.
    """
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise MigrationError(f"{name} is not 64 hexadecimal digits")
    return key


async def let_console_in(dsn: str, password: str) -> None:
    """Let the console's role log in with its password, unless it can: each start would be a row otherwise."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        if not await can_log_in(connection, Role.CONSOLE):
            await set_passwords(connection, {Role.CONSOLE: password}, datetime.now(UTC))
    finally:
        await connection.close()


async def first_admin_link(dsn: str) -> str | None:
    """The path of a link for the first Admin, unless there is an Admin or the link was made before."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        now = datetime.now(UTC)
        done = await make_first_admin_link(connection, by="trading up", now=now, secret=new_secret())
    finally:
        await connection.close()
    return None if done is None else done.link


async def first_rows(
    dsn: str,
    *,
    token: str | None,
    operator_key: bytes | None,
    console_key: bytes | None = None,
    console_token: str | None = None,
    two_persons: bool = False,
) -> None:
    """Give a fresh installation its limits, and make tokens and public keys of grants known.

    Args:
        dsn: of the owner. A secret.
        token: of strategies named ``demo``.
        operator_key: whose grants release the kill switch; ``console_key`` likewise, in an Admin's name.
        console_token: with which the console proposes what persons close.
        two_persons: whether raises need a second person in every mode.

    Raises:
        LimitsUnsound: the limits in force cannot be used.
    """
    database = await Database.connect(dsn)
    now = datetime.now(UTC)
    try:
        async with database.transaction("start.set_up") as connection:
            for name, secret in ((DEMO_TOKEN, token), (CONSOLE_TOKEN, console_token)):
                if secret is not None:
                    await save_token(connection, name=name, strategy=None, secret=secret, now=now)
            for person, key in ((OPERATOR, operator_key), (CONSOLE, console_key)):
                if key is not None:
                    await save_operator_key(
                        connection, key_id=public_key_id(key), public_key=key, person=person, now=now
                    )
            await set_rule(connection, always=two_persons, now=now)
            try:
                await require_limits(connection, now)
            except LimitsMissing:
                limits = Limits.model_validate_json(json.dumps(FIRST_LIMITS))
                await save_limits(
                    connection, limits, author="trading up", reason="first start of a paper account", now=now
                )
    finally:
        await database.close()
