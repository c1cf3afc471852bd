"""The audit log alone tells what the books say: held at the end of tests that go through storage's own ways."""

from audit.compare import fills_off, orders_off, positions_off
from audit.rebuild import rebuild
from audit.rows import read_lines, read_orders, read_positions
from storage.database import Database


async def audit_differences(database: Database, *, orders: bool) -> list[str]:
    """Where executions and positions that are rebuilt from audit rows are not what our own rows say.

    ``orders``: these too, where no test has written their rows by hand.
    """
    async with database.connection() as connection, connection.transaction(readonly=True):
        told = rebuild([line async for line in read_lines(connection)])
        kept, positions = await read_orders(connection), await read_positions(connection)
    found = [*fills_off(told, kept), *positions_off(told, positions), *told.doubts]
    return [*found, *orders_off(told, kept)] if orders else found
