"""A part of new work: given, taken back by a promotion, and by operations where nobody runs the build that has it.

On a server of its own, and on the deployment of operations: no order is needed for it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities import builds as builds_module
from activities.builds import Builds
from activities.starter import OrderStarter, TemporalUnavailable
from console.build_lines import build_lines
from console.builds import deployments_of
from console.errors import Refused
from schemas.builds import BuildState
from schemas.wire import Queue
from storage.alerts import list_alerts
from storage.database import Database
from tests.servers.session import Servers
from tests.servers.temporal import start_server
from tests.workflow.test_builds import connect, the_session
from workers import build_watch
from workers.build_watch import BuildWatch
from workers.roles import as_build
from workflows.orders import OrderWorkflow

OPERATIONS = Queue.OPERATIONS.value
A, B = "3.0-a", "3.1-b"


@pytest.fixture(scope="module")
async def client(servers: Servers) -> Client:
    """Give a client of a server on which nothing has run."""
    server = await start_server(servers, "temporal-ramps", time_skipping=False)
    return await connect(server.address)


@asynccontextmanager
async def running(client: Client, build: str) -> AsyncIterator[None]:
    async with Worker(
        await connect(client.service_client.config.target_host),
        task_queue=OPERATIONS,
        workflows=[OrderWorkflow],
        deployment_config=as_build(Queue.OPERATIONS, build),
    ):
        yield


async def states(builds: Builds) -> dict[str, tuple[BuildState, int]]:
    return {each.build_id: (each.state, each.ramp_percent) for each in await builds.read(OPERATIONS)}


async def test_a_promotion_takes_back_the_part_that_another_build_had(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a gets all, b a tenth; a is promoted again. Then b's processes end while it has its tenth."""
    builds = Builds(client)
    async with running(client, A):
        async with running(client, B):
            await builds.promote(OPERATIONS, A)
            await builds.promote(OPERATIONS, B, percent=10)
            assert await states(builds) == {A: (BuildState.CURRENT, 0), B: (BuildState.RAMPING, 10)}
            await builds.promote(OPERATIONS, A)
            found = await states(builds)
            assert found[A] == (BuildState.CURRENT, 0)
            assert found[B][0] in (BuildState.DRAINING, BuildState.DRAINED)

            # What a person asks for is looked at in every deployment before anything is changed in one.
            assert await deployments_of(builds, B, 10) == [OPERATIONS]
            with pytest.raises(Refused, match=f"{A} is the current build of operations already"):
                await deployments_of(builds, A, 10)
            assert await deployments_of(builds, A, None) == [OPERATIONS]
            await builds.promote(OPERATIONS, B, percent=10)
        monkeypatch.setattr(build_watch, "UNATTENDED_AFTER_SECONDS", 0.0)
        monkeypatch.setattr(builds_module, "POLLED_WITHIN", timedelta(0))
        rows = await Database.connect(database)
        starter, hours = OrderStarter(client, Queue.ORDERS.value), SimpleNamespace(at=the_session)
        watch = BuildWatch(rows, client, starter, hours)  # type: ignore[arg-type]
        with pytest.raises(Refused, match=f"no process of operations {B} asks for work"):
            await deployments_of(builds, B, 20)
        await watch.watch_builds()
        async with rows.connection() as connection:
            [alert] = await list_alerts(connection, everything=True)
        await rows.close()
    assert f"runs build {B}, which gets 10 % of new work" in alert.text
    assert BuildState.RAMPING not in {state for state, _ in (await states(builds)).values()}


async def test_one_slow_answer_is_waited_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """How: the first look-up and the first word come to nothing, as where Temporal has just been started anew."""
    builds = Builds(client)
    real, failures = builds._describe, iter(range(2))

    async def describe(deployment: str) -> Any:
        if next(failures, None) is not None:
            raise TemporalUnavailable("CANCELLED Timeout expired")
        return await real(deployment)

    monkeypatch.setattr(builds, "_describe", describe)
    async with running(client, A):
        await builds.promote(OPERATIONS, A)
        assert (await states(builds))[A] == (BuildState.CURRENT, 0)
        monkeypatch.setattr(builds, "_describe", down)
        with pytest.raises(TemporalUnavailable):
            await builds.promote(OPERATIONS, A, within_seconds=0.5)


async def down(_: str) -> Any:
    raise TemporalUnavailable("UNAVAILABLE")


def test_status_marks_a_ramping_build_that_nobody_runs() -> None:
    seen = {"deployment": OPERATIONS, "build_id": B, "ramp_percent": 10, "open_workflows": 0}
    for attended in (True, False):
        [(_, text, wrong)] = build_lines([{**seen, "state": "RAMPING", "attended": attended}])
        assert wrong is not attended, text
