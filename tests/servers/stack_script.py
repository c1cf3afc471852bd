"""A program for the tests that kill it: PostgreSQL and Temporal in a data folder, then it waits.

    stack_script.py DATA_DIR

Prints one JSON object once both are up, ``{"dsn": ..., "temporal": "host:port", "pids": {...}}``.
"""

import asyncio
import json
import sys
from pathlib import Path

from workers import postgres, temporal
from workers.datadir import DataDir
from workers.supervisor import Supervisor


async def main(data_dir: DataDir) -> None:
    """Start both servers and wait until cancelled."""
    data_dir.prepare()
    with data_dir.locked():
        async with Supervisor() as supervisor:
            database = await postgres.initialise(data_dir.postgres)
            engine = temporal.Server(db_file=data_dir.temporal_db)
            await asyncio.gather(
                supervisor.start(postgres.spec(database, log_path=data_dir.log("postgres"))),
                supervisor.start(temporal.spec(engine, log_path=data_dir.log("temporal"))),
            )
            dsn = await postgres.ensure_database(database)
            print(json.dumps({"dsn": dsn, "temporal": engine.address, "pids": supervisor.pids}), flush=True)
            await supervisor.watch()


if __name__ == "__main__":
    try:
        asyncio.run(main(DataDir(Path(sys.argv[1]))))
    except KeyboardInterrupt:
        sys.exit(130)
