"""The audit log takes rows and gives none back, whoever asks."""

import asyncpg
import pytest

ATTEMPTS = (
    "update audit_log set decision = 'APPROVED'",
    "update audit_log set checks = '[1]' where id = 1",
    "delete from audit_log",
    "delete from audit_log where id = 1",
    "truncate audit_log",
    "truncate audit_log cascade",
)


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_a_change_is_refused(database: str, attempt: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks,"
            " refs) values (now(), 's', 'c', 'a', 'h', 'REJECTED', '[]', '[]')"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(attempt)
        assert await connection.fetchval("select decision from audit_log") == "REJECTED"
    finally:
        await connection.close()
