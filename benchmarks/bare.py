"""The yardstick's process: HTTP, Temporal client and worker in one, as the product's compact process has them.

It takes the product's own settings from the environment. POST /v1/bare with an `Ask` starts the workflow;
GET /v1/bare/NAME tells whether its POST has been answered.
"""

import asyncio
import os
import signal
import sys
from decimal import Decimal

from fastapi import FastAPI
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.bare_workflow import BARE_QUEUE, PLACE, Ask, BareWorkflow
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.port import BrokerTrader
from gateway.server import serving
from observability.logging import configure_logging
from schemas.orders import Action, OrderRequest, OrderType, TimeInForce
from storage.database import Database
from workers.clients import connect_temporal
from workers.settings import WorkerSettings, read_settings

TICKER = "AAPL"
LIMIT_PRICE = Decimal("400.00")
"""US dollars; above the market, so that every order fills as the product's do."""

_CREATE = "create table if not exists bare (id bigserial primary key, name text not null, body text not null)"
_COMMIT = "insert into bare (name, body) values ($1, $2)"
_BODY = "x" * 1_000
"""About as much as an audit row holds."""


class BareActivities:
    """The commits and the POST."""

    def __init__(self, database: Database, broker: BrokerTrader) -> None:
        self._database = database
        self._broker = broker
        self.done: set[str] = set()

    @activity.defn(name=PLACE)
    async def place(self, ask: Ask) -> None:
        """Commit so often, POST once."""
        for _ in range(ask.commits):
            async with self._database.connection() as connection:
                await connection.execute(_COMMIT, ask.name, _BODY)
        await self._broker.place_order(_request(ask.name), before_send=lambda: None)
        self.done.add(ask.name)


def _request(name: str) -> OrderRequest:
    return OrderRequest(
        internal_order_id=name,
        client_order_id=name,
        ticker=TICKER,
        action=Action.BUY_TO_OPEN,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        quantity=Decimal(1),
        limit_price=LIMIT_PRICE,
    )


def _app(client: Client, activities: BareActivities) -> FastAPI:
    # The same telemetry setting as the product's gateway: none of its own.
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False})

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/bare", status_code=202)
    async def start(ask: Ask) -> dict[str, str]:
        await client.start_workflow(
            BareWorkflow.run, ask, id=f"bare-{ask.name}", task_queue=BARE_QUEUE, request_eager_start=True
        )
        return {"name": ask.name, "status": "ACCEPTED"}

    @app.get("/v1/bare/{name}")
    async def look(name: str) -> dict[str, bool]:
        return {"done": name in activities.done}

    return app


async def _main(settings: WorkerSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = await Database.connect(settings.database_url.get_secret_value())
    async with database.connection() as connection:
        await connection.execute(_CREATE)
    broker = AlpacaTrader(
        AlpacaSettings(
            key_id=settings.broker_key,
            secret_key=settings.broker_secret,
            trading_url=settings.broker_trading_url,
            stream_url=settings.broker_stream_url,
        )
    )
    await broker.authenticate()
    client = await connect_temporal(settings, "bare")
    activities = BareActivities(database, broker)
    worker = Worker(client, task_queue=BARE_QUEUE, workflows=[BareWorkflow], activities=[activities.place])
    async with worker, serving(_app(client, activities), port=settings.gateway_port):
        await stop.wait()
    await broker.close()
    await database.close()


if __name__ == "__main__":
    configure_logging("bare", level="WARNING")
    asyncio.run(_main(read_settings(WorkerSettings)))
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(0)
