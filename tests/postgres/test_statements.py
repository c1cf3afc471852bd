"""Every named statement is understood by the real server, on the schema that the migrations make."""

import asyncpg

from storage import statements


async def test_every_statement_can_be_prepared(database: str) -> None:
    connection = await asyncpg.connect(database)
    wrong = {}
    prepared = 0
    for group in statements.groups():
        for name, sql in statements.load(group).items():
            try:
                await connection.prepare(sql)
                prepared += 1
            except asyncpg.PostgresError as error:
                wrong[f"{group}.{name}"] = str(error)
    await connection.close()
    assert wrong == {}
    assert prepared > 60
