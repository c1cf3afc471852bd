"""The isolated topology on one machine: each process of docker-compose.temporal.yml, native and alone."""

import asyncio
import os
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from storage.grants import Role
from workers import compose, embedded, keys, postgres, temporal
from workers.native import Native
from workers.supervisor import Supervisor
from workers.up import Installation

GATEWAY: Final = ("gateway", 8080)
EXCHANGE: Final = ("paper-exchange", 8085)
DATABASE: Final = ("database", 5432)
TEMPORAL: Final = ("temporal", 7233)
OWNER_PASSWORD: Final = "trading_owner_password"  # noqa: S105 - its name


class IsolatedInstallation(Installation):
    """One data folder; the command line gets the console's database role."""

    topology = "isolated"
    product = ("gateway", "orders", "risk", "execution", "operations", "migrate")
    exchange = EXCHANGE[0]

    async def _start(self, supervisor: Supervisor) -> dict[str, Any]:
        data_dir = self.data_dir
        file = compose.load(environ={})
        server = await postgres.initialise(data_dir.postgres)
        engine = temporal.Server(db_file=data_dir.temporal_db)
        secrets = keys.make_missing(data_dir.keys, file.secrets - {OWNER_PASSWORD})
        secrets[OWNER_PASSWORD] = server.password
        options = embedded.exchange_options(data_dir, self.exchange_options)
        native = Native(
            file,
            data_dir,
            secrets,
            {DATABASE: server.port, TEMPORAL: engine.port},
            extra={self.exchange: options},
        )

        async def start_database() -> None:
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            await postgres.ensure_database(server)

        # What other images do in the file, their set-up included, two embedded servers do here.
        database = asyncio.create_task(start_database())
        engine_up = asyncio.create_task(
            supervisor.start(temporal.spec(engine, log_path=data_dir.log(temporal.NAME)))
        )
        given = {name: database if "database" in name else engine_up for name in file.others}
        try:
            await native.start(supervisor, given)
        finally:
            for task in (database, engine_up):
                task.cancel()
            await asyncio.gather(database, engine_up, return_exceptions=True)
        embedded.keep_exchange_options(data_dir, options)
        gateway_url = f"http://127.0.0.1:{native.port(*GATEWAY)}"
        password = quote(secrets[f"{Role.CONSOLE}_password"], safe="")
        addresses = {
            "gateway_url": gateway_url,
            "temporal_address": engine.address,
            "temporal_ui": engine.ui,
            "namespace": temporal.NAMESPACE,
            "database_url": f"postgresql://{Role.CONSOLE}:{password}@127.0.0.1:{server.port}/{postgres.DATABASE}",
            "exchange_url": f"http://127.0.0.1:{native.port(*EXCHANGE)}",
            "exchange_key": secrets["trading_broker_key"],
            "exchange_secret": secrets["trading_broker_secret"],
            "metrics_url": f"{gateway_url}/metrics",
            "pid": os.getpid(),
            "pids": supervisor.pids,
            "started_at": datetime.now(UTC).isoformat(),
            "ready_seconds": round(time.monotonic() - self.began, 2),
            "topology": self.topology,
            "mode": "paper",
            "tokens": {embedded.DEMO_TOKEN: secrets["demo_token"]},
            "operator_key_file": str(embedded.operator_key_file(data_dir)),
        }
        data_dir.write_addresses(addresses)
        return addresses
