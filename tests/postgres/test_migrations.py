"""The migration runner: once, in order, one at a time, and never over an edited past."""

import asyncio

import asyncpg
import pytest

from storage import migrate


async def test_five_migrators_at_once_apply_each_file_once(empty_database: str) -> None:
    applied = await asyncio.gather(*(migrate.migrate(empty_database) for _ in range(5)))
    names = [name for each in applied for name in each]
    assert names == [migration.name for migration in migrate.load()]
    await migrate.check(empty_database)


async def test_an_empty_database_is_named(empty_database: str) -> None:
    with pytest.raises(migrate.MigrationError, match="trading migrate"):
        await migrate.check(empty_database)


async def test_an_edited_migration_stops_the_start(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("update schema_migrations set sha256 = 'edited'")
    await connection.close()
    with pytest.raises(migrate.MigrationError, match="changed after it was applied"):
        await migrate.migrate(database)


async def test_a_newer_database_stops_the_start(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("insert into schema_migrations (version, sha256) values ('9999', 'x')")
    await connection.close()
    with pytest.raises(migrate.MigrationError, match="newer than this release"):
        await migrate.check(database)


async def test_down_undoes_up(empty_database: str) -> None:
    """dbmate users can go back: after up, down and up again the schema is whole."""
    from importlib import resources

    await migrate.migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    for migration in reversed(migrate.load()):
        text = (resources.files("storage") / "migrations" / migration.name).read_text()
        await connection.execute(text.split("-- migrate:down", 1)[1])
    await connection.execute("truncate schema_migrations")
    await connection.close()
    assert await migrate.migrate(empty_database)
