"""The isolated topology on one machine: each process of docker-compose.temporal.yml, native and alone."""

import asyncio
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from security.approvals import ApprovalKeyError
from security.grants import KeyFileError
from storage.grants import Role
from workers import compose, embedded, keys, postgres, temporal, valkey
from workers.build_id import own_build
from workers.datadir import DataDirError
from workers.market_options import market_speed, requests_per_minute
from workers.native import Native
from workers.supervisor import Supervisor
from workers.up import EVENT_BUS_VARIABLE, PAYLOADS_VARIABLE, Installation

GATEWAY: Final = ("gateway", 8080)
EXCHANGE: Final = ("paper-exchange", 8085)
DATABASE: Final = ("database", 5432)
TEMPORAL: Final = ("temporal", 7233)
VALKEY: Final = ("valkey", 6379)
HEALTH_PORT: Final = 9464
CONSOLE: Final = (embedded.CONSOLE, 8081)
CODEC: Final = ("codec", 8088)
WORKERS: Final = ("orders", "risk", "execution", "operations")
BUILD_VARIABLE: Final = "TRADING_BUILD_ID"
OWNER_PASSWORD: Final = "trading_owner_password"  # noqa: S105 - its name


class IsolatedInstallation(Installation):
    """One data folder; the command line gets the console's database role."""

    topology = "isolated"
    product = (GATEWAY[0], *WORKERS, CONSOLE[0], CODEC[0], "migrate", "promote")
    exchange = EXCHANGE[0]

    async def start(self, supervisor: Supervisor) -> dict[str, Any]:
        """As in the compact topology."""
        data_dir = self.data_dir
        options = embedded.exchange_options(data_dir, self.exchange_options)
        engine = temporal.Server(
            db_file=data_dir.temporal_db,
            port=data_dir.port("temporal"),
            ui_port=data_dir.port("temporal ui"),
            codec_url=self.codec_url(data_dir.port(f"{CODEC[0]}:{CODEC[1]}")),
        )
        as_there = {
            "TRADING_TEMPORAL_UI_URL": engine.ui,
            "TRADING_MARKET_SPEED": market_speed(options),
            "TRADING_BROKER_REQUESTS_PER_MINUTE": requests_per_minute(options),
            EVENT_BUS_VARIABLE: self.event_bus,
            PAYLOADS_VARIABLE: self.payloads,
            # One for all of them, and after a restart too: somebody may edit these files meanwhile.
            BUILD_VARIABLE: own_build(),
            "TRADING_CODEC_ORIGINS": engine.ui,
        }
        file = compose.load(environ=as_there)
        if self.payloads != "encrypted":
            file = replace(file, services={n: each for n, each in file.services.items() if n != CODEC[0]})
        server = await postgres.initialise(data_dir.postgres)
        secrets = self._secrets(file, server)
        places = {DATABASE: server.port, TEMPORAL: engine.port, VALKEY: data_dir.port(valkey.NAME)}
        native = Native(file, data_dir, secrets, places, extra={self.exchange: options}, seen=self.seen)

        async def start_database() -> None:
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            self.owner_dsn = await postgres.ensure_database(server)

        # What other images do in the file, their set-up included, the embedded servers do here.
        database = asyncio.create_task(start_database())
        temporal_up = asyncio.create_task(supervisor.start(self.temporal_spec(engine)))
        bus_up = asyncio.create_task(self.start_event_bus(supervisor))
        given = {name: database if "database" in name else temporal_up for name in file.others}
        try:
            await native.start(supervisor, given | {VALKEY[0]: bus_up})
            bus = await bus_up
        finally:
            for task in (database, temporal_up, bus_up):
                task.cancel()
            await asyncio.gather(database, temporal_up, bus_up, return_exceptions=True)
        embedded.keep_exchange_options(data_dir, options)
        addresses = self._all_addresses(native, server, engine, secrets) | {
            "event_redis_url": None if bus is None else bus.url(),
            "pids": supervisor.pids,
        }
        data_dir.write_addresses(addresses)
        return addresses

    def _secrets(self, file: compose.Compose, server: postgres.Server) -> dict[str, str]:
        """Those of our services. The owner's password is the embedded server's own."""
        wanted = {source for service in file.services.values() for source in service.secrets.values()}
        try:
            made = keys.make_missing(self.data_dir.keys, wanted - {OWNER_PASSWORD})
        except (KeyFileError, ApprovalKeyError) as error:
            raise DataDirError(str(error)) from error
        return made | {OWNER_PASSWORD: server.password}

    def _all_addresses(
        self, native: Native, server: postgres.Server, engine: temporal.Server, secrets: dict[str, str]
    ) -> dict[str, Any]:
        def url(service: str, port: int, path: str = "") -> str:
            return f"http://127.0.0.1:{native.port(service, port)}{path}"

        password = quote(secrets[f"{Role.CONSOLE}_password"], safe="")
        # Without encrypted payloads there is no codec server.
        counting = WORKERS if self.payloads != "encrypted" else (*WORKERS, CODEC[0])
        return {
            "gateway_url": url(*GATEWAY),
            "console_url": f"http://localhost:{native.port(*CONSOLE)}",
            "temporal_address": engine.address,
            "temporal_ui": engine.ui,
            "namespace": temporal.NAMESPACE,
            "database_url": f"postgresql://{Role.CONSOLE}:{password}@127.0.0.1:{server.port}/{postgres.DATABASE}",
            "exchange_url": url(*EXCHANGE),
            "metrics_url": url(*GATEWAY, "/metrics"),
            **self.payload_addresses(native.port(*CODEC)),
            "metrics_urls": {
                **{name: url(name, HEALTH_PORT, "/metrics") for name in counting},
                CONSOLE[0]: url(*CONSOLE, "/metrics"),
            },
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(),
            "ready_seconds": round(time.monotonic() - self.began, 2),
            "topology": self.topology,
            "mode": "paper",
            "tokens": {embedded.DEMO_TOKEN: secrets["demo_token"]},
            "operator_key_file": str(embedded.operator_key_file(self.data_dir)),
        }
