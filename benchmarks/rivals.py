"""The rivals' process: HTTP, Temporal client and worker in one, as the product's compact process has them.

POST /v1/bare, /v1/bones and /v1/plain with an `Ask` start a workflow, the first two eagerly; GET
/v1/done?prefix=… tells how many have ended their last step whose name, with a slash at its end, begins so. The
worker is as the SDK makes one.
"""

import asyncio
import os
import signal
import sys
from decimal import Decimal

from fastapi import FastAPI
from pydantic import SecretStr
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks import rival_workflows as names
from benchmarks.rival_workflows import QUEUE, Ask, BareWorkflow, BonesWorkflow, PlainWorkflow, StepAsk
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.port import BrokerTrader
from gateway.server import listening
from observability.logging import configure_logging
from schemas.orders import Action, OrderRequest, OrderType, TimeInForce
from storage.database import Database
from workers.clients import connect_temporal
from workers.settings import DatabaseSettings, TemporalSettings, read_settings
from workers.settings_base import Port

TICKER = "AAPL"
LIMIT_PRICE = Decimal("400.00")
"""US dollars; above the market, so that every order fills as the product's do."""
ASK_AGAIN_SECONDS = 0.05
"""Between two looks at whether an order is filled, in the step that waits for it."""

FILLED = "filled"
"""The broker's own word."""

_CREATE = (
    "create table if not exists rival (id bigserial primary key, name text not null, body text not null)"
)
_COMMIT = "insert into rival (name, body) values ($1, $2)"
_BODY = "x" * 1_000
"""About as much as an audit row holds."""


class RivalSettings(DatabaseSettings, TemporalSettings):
    """What the process is told."""

    gateway_port: Port
    broker_trading_url: str
    broker_stream_url: str
    broker_key: SecretStr
    broker_secret: SecretStr


class RivalActivities:
    """The commits and the POST. Nothing of the product is done here but what its adapter does to send an order."""

    def __init__(self, database: Database, broker: BrokerTrader) -> None:
        self._database = database
        self._broker = broker
        self.done: set[str] = set()

    @activity.defn(name=names.PLACE_ALONE)
    async def place_alone(self, ask: Ask) -> None:
        """The whole of the bare workflow, and the last step of the bones: commits, POST, commits."""
        await self.commit(ask.name, ask.before)
        await self._broker.place_order(_request(ask.name), before_send=lambda: None)
        await self.commit(ask.name, ask.acknowledging)
        self.done.add(ask.name)

    @activity.defn(name=names.STORE)
    async def store(self, ask: StepAsk) -> str:
        """A step that commits."""
        return await self.commit(ask.name, ask.commits)

    @activity.defn(name=names.ASSESS)
    async def assess(self, ask: StepAsk) -> str:
        """A step that commits."""
        return await self.commit(ask.name, ask.commits)

    @activity.defn(name=names.CHECK)
    async def check(self, ask: StepAsk) -> str:
        """A step that commits."""
        return await self.commit(ask.name, ask.commits)

    @activity.defn(name=names.PLACE)
    async def place(self, ask: StepAsk) -> str:
        """Commit the intent, POST, and answer the broker's id."""
        await self.commit(ask.name, ask.commits)
        placed = await self._broker.place_order(_request(ask.name), before_send=lambda: None)
        return placed.broker_order_id

    @activity.defn(name=names.ACKNOWLEDGE)
    async def acknowledge(self, ask: StepAsk) -> str:
        """A step that commits."""
        return await self.commit(ask.name, ask.commits)

    @activity.defn(name=names.AWAIT_FILL)
    async def await_fill(self, ask: StepAsk) -> str:
        """Ask the broker until it is filled."""
        while (await self._broker.get_order_status(ask.broker_order_id)).raw_status != FILLED:  # noqa: ASYNC110
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        return ""

    @activity.defn(name=names.SETTLE)
    async def settle(self, ask: StepAsk) -> str:
        """The last step."""
        await self.commit(ask.name, ask.commits)
        self.done.add(ask.name)
        return ""

    async def commit(self, name: str, commits: int) -> str:
        """So many transactions of one row."""
        for _ in range(commits):
            async with self._database.connection() as connection:
                await connection.execute(_COMMIT, name, _BODY)
        return ""


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


def _app(client: Client, activities: RivalActivities) -> FastAPI:
    # The same telemetry setting as the product's gateway: none of its own.
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False})

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/bare", status_code=202)
    async def bare(ask: Ask) -> dict[str, str]:
        await client.start_workflow(
            BareWorkflow.run, ask, id=f"bare-{ask.name}", task_queue=QUEUE, request_eager_start=True
        )
        return {"name": ask.name, "status": "ACCEPTED"}

    @app.post("/v1/bones", status_code=202)
    async def bones(ask: Ask) -> dict[str, str]:
        await activities.commit(ask.name, 1)
        await client.start_workflow(
            BonesWorkflow.run, ask, id=f"bones-{ask.name}", task_queue=QUEUE, request_eager_start=True
        )
        return {"name": ask.name, "status": "ACCEPTED"}

    @app.post("/v1/plain", status_code=202)
    async def plain(ask: Ask) -> dict[str, str]:
        await client.start_workflow(PlainWorkflow.run, ask, id=f"plain-{ask.name}", task_queue=QUEUE)
        return {"name": ask.name, "status": "ACCEPTED"}

    @app.get("/v1/done")
    async def done(prefix: str) -> dict[str, int]:
        return {"done": sum(f"{name}/".startswith(prefix) for name in activities.done)}

    return app


async def _main(settings: RivalSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = await Database.connect(settings.dsn)
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
    client = await connect_temporal(settings, "rivals")
    rivals = RivalActivities(database, broker)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[BareWorkflow, BonesWorkflow, PlainWorkflow],
        activities=[
            rivals.place_alone, rivals.store, rivals.assess, rivals.check, rivals.place, rivals.acknowledge,
            rivals.await_fill, rivals.settle,
        ],
    )  # fmt: skip
    async with worker, listening(_app(client, rivals), port=settings.gateway_port):
        await stop.wait()
    await broker.close()
    await database.close()


if __name__ == "__main__":
    configure_logging("rivals", level="WARNING")
    asyncio.run(_main(read_settings(RivalSettings)))
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(0)
