"""Everything on one machine: ``python -m workers.up [--data-dir DIR]``.

Starts PostgreSQL, Temporal and the paper exchange side by side, then the product, and keeps them running.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from security.payload_files import PAYLOAD_KEYS
from workers import embedded, postgres, temporal, valkey
from workers.children import MORE_TIME, ChildEvent, ChildSpec, ChildState, StartFailedError, SupervisorError
from workers.compose import ComposeError
from workers.datadir import DataDir, DataDirError
from workers.market_options import (
    add_market_options,
    chosen_options,
    market_speed,
    requests_per_minute,
    wrong_options,
)
from workers.supervisor import Supervisor

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3
DATABASE_URL_FILE: Final = "trading_database_url"
EVENT_BUS_VARIABLE: Final = "TRADING_EVENT_BUS"
PAYLOADS_VARIABLE: Final = "TRADING_PAYLOADS"
SEEN_VARIABLES: Final = ("TRADING_LOG_LEVEL", "TRADING_OTLP_ENDPOINT", "TRADING_TRACE_URL")
"""How much is logged, and where traces go and are read: handed on to every process, as Compose does."""


def _bus_settings(bus: valkey.Server | None) -> dict[str, str]:
    """What the product is told of Valkey; the password is a file among its secrets."""
    return {} if bus is None else {EVENT_BUS_VARIABLE: "redis", "TRADING_EVENT_REDIS_URL": bus.address}


class Installation:
    """One data folder with everything it runs."""

    topology = "compact"
    product: tuple[str, ...] = (embedded.PRODUCT, embedded.CONSOLE)
    """The children whose refusal is the product's own, gateway first."""
    exchange = embedded.EXCHANGE

    def __init__(
        self,
        data_dir: DataDir,
        *,
        exchange_options: Sequence[str],
        as_json: bool,
        event_bus: str | None = None,
    ) -> None:
        """``event_bus``: ``redis`` starts Valkey too; by default what ``TRADING_EVENT_BUS`` says."""
        self.data_dir = data_dir
        self.event_bus = event_bus or os.environ.get(EVENT_BUS_VARIABLE) or "postgres"
        self.payloads = os.environ.get(PAYLOADS_VARIABLE) or "plain"
        """``encrypted``: Temporal's Web UI needs the codec server to show more than names."""
        self.seen = {name: os.environ[name] for name in SEEN_VARIABLES if os.environ.get(name)}
        self.exchange_options = tuple(exchange_options)
        self._as_json = as_json
        self.owner_dsn = ""
        """The database with its owner's rights, once it runs: a secret."""
        self.began = time.monotonic()
        self._running: dict[str, Any] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Start, announce, watch until ``stop``, end in the order gateway, workers, exchange, Temporal, database.

        Raises:
            SupervisorError: something did not come up; all is stopped again.
        """
        async with Supervisor(on_event=self._on_event) as supervisor:
            watching: asyncio.Task[None] | None = None
            starting = asyncio.create_task(self.start(supervisor))
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    self._running = starting.result()
                    self._announce(self._running)
                    await self._welcome_first_admin(self._running)
                    watching = asyncio.create_task(supervisor.watch())
                    await stopped
            finally:
                for task in (starting, stopped, watching):
                    if task is not None:
                        task.cancel()
                await asyncio.gather(*(t for t in (starting, watching) if t), return_exceptions=True)
                self.data_dir.addresses_file.unlink(missing_ok=True)
                self._say("stopping: gateway and workers, exchange, Temporal, PostgreSQL")
                gateway, *workers = self.product
                await supervisor.stop_all(
                    (gateway,), workers, (self.exchange,), (temporal.NAME,), (valkey.NAME,), (postgres.NAME,)
                )

    async def start(self, supervisor: Supervisor) -> dict[str, Any]:
        """Bring everything up and return its addresses, which the data folder then holds too.

        Raises:
            SupervisorError: something did not come up.
        """
        data_dir, ports = self.data_dir, embedded.choose_ports(self.data_dir)
        known = embedded.read_secrets(data_dir)
        engine = temporal.Server(
            db_file=data_dir.temporal_db,
            port=data_dir.port("temporal"),
            ui_port=data_dir.port("temporal ui"),
            codec_url=self.codec_url(ports.codec),
        )
        options = embedded.exchange_options(data_dir, self.exchange_options)

        async def start_database() -> tuple[str, str]:
            server = await postgres.initialise(data_dir.postgres)
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            dsn = await postgres.ensure_database(server)
            await embedded.seed(data_dir, dsn, known)
            return dsn, f"127.0.0.1:{server.port}/{postgres.DATABASE}"

        bus = await self.start_event_bus(supervisor)
        (dsn, database), *_ = await asyncio.gather(
            start_database(),
            supervisor.start(self.temporal_spec(engine)),
            supervisor.start(embedded.exchange_spec(data_dir, ports, options)),
        )
        self.owner_dsn = dsn
        embedded.keep_exchange_options(data_dir, options)
        embedded.write_private(data_dir.keys / DATABASE_URL_FILE, dsn)
        product = embedded.product_spec(
            data_dir, ports, temporal_address=engine.address, extra=self._told(engine, bus, options)
        )
        console = embedded.console_spec(
            data_dir, ports, database=database, temporal_address=engine.address, temporal_ui=engine.ui,
            extra={PAYLOADS_VARIABLE: self.payloads, **self.seen},
        )  # fmt: skip
        await asyncio.gather(supervisor.start(product), supervisor.start(console))
        addresses = self._addresses(ports, engine, known) | {
            "database_url": dsn,
            "event_redis_url": None if bus is None else bus.url(),
            "pids": supervisor.pids,
        }
        data_dir.write_addresses(addresses)
        return addresses

    def temporal_spec(self, engine: temporal.Server) -> ChildSpec:
        """Temporal as a child."""
        return temporal.spec(engine, log_path=self.data_dir.log(temporal.NAME))

    def _addresses(
        self, ports: embedded.Ports, engine: temporal.Server, known: embedded.Secrets
    ) -> dict[str, Any]:
        return {
            "gateway_url": ports.gateway_url,
            "console_url": ports.console_url,
            "temporal_address": engine.address,
            "temporal_ui": engine.ui,
            "namespace": temporal.NAMESPACE,
            "exchange_url": ports.exchange_url,
            "metrics_url": f"{ports.gateway_url}/metrics",
            **self.payload_addresses(ports.codec),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(),
            "ready_seconds": round(time.monotonic() - self.began, 2),
            "topology": self.topology,
            "mode": "paper",
            "tokens": {embedded.DEMO_TOKEN: known.token},
            "operator_key_file": str(embedded.operator_key_file(self.data_dir)),
        }

    def _told(
        self, engine: temporal.Server, bus: valkey.Server | None, options: tuple[str, ...]
    ) -> dict[str, str]:
        """What the product is told beside its addresses."""
        return {
            "TRADING_MARKET_SPEED": market_speed(options),
            "TRADING_BROKER_REQUESTS_PER_MINUTE": requests_per_minute(options),
            PAYLOADS_VARIABLE: self.payloads,
            "TRADING_CODEC_ORIGINS": engine.ui,
            **_bus_settings(bus),
            **self.seen,
        }

    def codec_url(self, port: int) -> str | None:
        """Where payloads are decoded for people; None: there is no need to."""
        return f"http://localhost:{port}" if self.payloads == "encrypted" else None

    def payload_addresses(self, codec_port: int) -> dict[str, Any]:
        """What the command line must know of payloads."""
        return {
            "payloads": self.payloads,
            "payload_keys_file": str(self.data_dir.keys / PAYLOAD_KEYS),
            "codec_url": self.codec_url(codec_port),
        }

    async def start_event_bus(self, supervisor: Supervisor) -> valkey.Server | None:
        """Valkey, where events are to go to Redis; None: they do not.

        Raises:
            SupervisorError: it did not come up.
            ValkeyError: there is none.
        """
        if self.event_bus != "redis":
            return None
        data_dir = self.data_dir
        server = valkey.of(data_dir, embedded.secret(data_dir, valkey.PASSWORD_SECRET))
        await supervisor.start(valkey.spec(server, log_path=data_dir.log(valkey.NAME)))
        return server

    async def _welcome_first_admin(self, addresses: dict[str, Any]) -> None:
        """Print the first Admin's link: once, at the first start."""
        from workers.setup import first_admin_link

        link = await first_admin_link(addresses["database_url"])
        if link is None:
            return
        url = f"{addresses['console_url']}{link}"
        if self._as_json:
            print(json.dumps({"first_admin_link": url}), flush=True)
            return
        self._say("The console has no Admin yet. This link makes you one; it is shown this once, works once,")
        self._say("and for an hour (another: trading people first-admin):")
        self._say(f"  {url}")

    def _announce(self, addresses: dict[str, Any]) -> None:
        if self._as_json:
            names = ("gateway_url", "console_url", "temporal_ui", "temporal_address", "ready_seconds", "pid")
            told = {key: addresses[key] for key in names}
            print(json.dumps({"ready": told}), flush=True)
            return
        self._say(f"ready after {addresses['ready_seconds']} s · PAPER · data in {self.data_dir.root}")
        for name, key in (
            ("console", "console_url"),
            ("gateway", "gateway_url"),
            ("Temporal Web UI", "temporal_ui"),
            ("Temporal", "temporal_address"),
            ("paper exchange", "exchange_url"),
            ("metrics", "metrics_url"),
            ("payload codec", "codec_url"),
        ):
            if addresses[key] is not None:
                self._say(f"  {name:<16} {addresses[key]}")
        self._say(f"  {'a token':<16} {self.data_dir.keys / 'demo_token'}")
        self._say("Ctrl-C stops everything in order")

    def _on_event(self, event: ChildEvent) -> None:
        if event.state is ChildState.READY and self._running:  # A restart: its process id is another one.
            self._running["pids"][event.name] = event.pid
            self.data_dir.write_addresses(self._running)
        if self._as_json:
            told = {"child": event.name, "state": event.state, "pid": event.pid, "detail": event.detail}
            print(json.dumps(told), flush=True)
        elif event.state is not ChildState.STARTED:
            self._say(f"{event.name}: {event.state.value} {event.detail}".rstrip())

    def _say(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)


def options_parser() -> argparse.ArgumentParser:
    """What ``trading up`` takes."""
    parser = argparse.ArgumentParser(
        prog="trading up",
        description="Run everything on this machine.",
        epilog=f"On a slow or busy machine {MORE_TIME}.",
    )
    parser.add_argument(
        "--data-dir", help="folder that stays (default: $TRADING_DATA_DIR or the usual place)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument(
        "--topology",
        choices=("compact", "isolated"),
        default="compact",
        help="isolated: each worker as its own process, as docker-compose.temporal.yml says (default: compact)",
    )
    parser.add_argument(
        "--exchange-option", action="append", default=[], metavar="OPTION",
        help="for the paper exchange, now and at later starts, e.g. --exchange-option=--requests-per-minute=6000",
    )  # fmt: skip
    add_market_options(parser)
    return parser


async def _run(installation: Installation) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await installation.run(stop)


def main(arguments: Sequence[str]) -> int:
    """Run until stopped; 0 stopped, 1 the folder is in use or refused, 2 usage, 3 something did not come up."""
    options = options_parser().parse_args(arguments)
    chosen = (*options.exchange_option, *chosen_options(options))
    if wrong := wrong_options(chosen):
        sys.stderr.write("".join(f"trading up: {each}\n" for each in wrong))
        return EXIT_USAGE
    data_dir = DataDir(Path(options.data_dir).absolute()) if options.data_dir else DataDir.default()
    kind = _kind(options.topology)
    installation = kind(data_dir, exchange_options=chosen, as_json=options.json)
    try:
        data_dir.prepare()
        with data_dir.locked():
            data_dir.keep_topology(kind.topology)
            asyncio.run(_run(installation))
    except (DataDirError, embedded.DatabaseRefused, ComposeError) as error:
        sys.stderr.write(f"trading up: {error}\n")
        return EXIT_REFUSED
    except (SupervisorError, postgres.PostgresError, temporal.TemporalError, valkey.ValkeyError) as error:
        sys.stderr.write(f"trading up: {error}\n")
        return EXIT_REFUSED if _refused(error, installation) else EXIT_DEPENDENCY
    return EXIT_DONE


def _kind(topology: str) -> type[Installation]:
    if topology == "compact":
        return Installation
    from workers.isolated import IsolatedInstallation

    return IsolatedInstallation


def _refused(error: Exception, installation: Installation) -> bool:
    """Whether the product itself said no, rather than missing something."""
    if not isinstance(error, StartFailedError):
        return False
    return error.name in installation.product and error.exit_code == EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
