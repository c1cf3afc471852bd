"""Real servers under the supervisor: what was written stays, whoever is killed."""

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from tests.servers.processes import (
    APPEARS_WITHIN_SECONDS,
    REPOSITORY,
    family,
    needs_proc,
    wait_gone,
    wait_until,
)
from tests.servers.session import unavailable
from workers import postgres, temporal, unprivileged
from workers.datadir import DataDir, temporary_data_dir
from workers.supervisor import ChildEvent, ChildState, Supervisor

SCRIPT = REPOSITORY / "tests" / "servers" / "stack_script.py"


@pytest.fixture
def data_dir() -> Iterator[DataDir]:
    try:
        postgres.find_installation()
        temporal.find_program()
    except (postgres.PostgresError, temporal.TemporalError) as error:
        unavailable(error)
    with temporary_data_dir() as folder:
        yield folder


async def write_note(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE note (text text)")
    await connection.execute("INSERT INTO note VALUES ('kept')")
    await connection.close()


async def read_note(dsn: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT text FROM note")
    finally:
        await connection.close()


async def start_stack(data_dir: DataDir) -> tuple[asyncio.subprocess.Process, dict[str, str]]:
    command = (sys.executable, str(SCRIPT), str(data_dir.root))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout
    line = await asyncio.wait_for(process.stdout.readline(), APPEARS_WITHIN_SECONDS)
    return process, json.loads(line)


async def start_workflow(address: str) -> None:
    from temporalio.client import Client

    client = await Client.connect(address, namespace=temporal.NAMESPACE)
    await client.start_workflow("order", id="order-kept", task_queue="nobody-polls")


async def workflow_status(address: str) -> str:
    from temporalio.client import Client

    client = await Client.connect(address, namespace=temporal.NAMESPACE)
    description = await client.get_workflow_handle("order-kept").describe()
    assert description.status
    return description.status.name


@needs_proc
async def test_data_survives_the_kill_of_everything(data_dir: DataDir) -> None:
    """How: kill -9 of the top, start again at once while the old servers may still be closing."""
    process, addresses = await start_stack(data_dir)
    await write_note(addresses["dsn"])
    await start_workflow(addresses["temporal"])
    members = family(process.pid)
    process.kill()
    await process.wait()
    again, addresses = await start_stack(data_dir)
    assert await read_note(addresses["dsn"]) == "kept"
    assert await workflow_status(addresses["temporal"]) == "RUNNING"
    await wait_gone(members)
    again.terminate()
    await again.wait()


async def test_killed_postmaster_is_restarted_with_its_data(data_dir: DataDir) -> None:
    events: list[ChildEvent] = []
    async with Supervisor(on_event=events.append) as supervisor:
        server = await postgres.initialise(data_dir.postgres)
        pid = await supervisor.start(postgres.spec(server, log_path=data_dir.log("postgres")))
        dsn = await postgres.ensure_database(server)
        await write_note(dsn)
        watching = asyncio.create_task(supervisor.watch())
        os.kill(pid, signal.SIGKILL)
        await wait_until(
            lambda: [event.state for event in events].count(ChildState.READY) == 2,
            seconds_max=APPEARS_WITHIN_SECONDS,
            what=f"PostgreSQL is back; seen: {events}",
        )
        assert await read_note(dsn) == "kept"
        watching.cancel()


async def test_second_initialise_keeps_the_cluster_and_its_password(data_dir: DataDir) -> None:
    first = await postgres.initialise(data_dir.postgres, durable=False)
    made = first.cluster.stat().st_ino
    again = await postgres.initialise(data_dir.postgres, durable=False)
    assert again.cluster.stat().st_ino == made
    assert again.password == first.password
    assert stat.S_IMODE((data_dir.postgres / "password").stat().st_mode) == 0o600
    assert first.password not in repr(first)


async def test_half_made_cluster_is_made_anew(data_dir: DataDir) -> None:
    """How: what initdb leaves when it is killed lies there; the server then starts on the new cluster."""
    partial = data_dir.postgres / "cluster.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    server = await postgres.initialise(data_dir.postgres, durable=False)
    async with Supervisor() as supervisor:
        await supervisor.start(postgres.spec(server, log_path=data_dir.log("postgres")))
        assert await postgres.ensure_database(server) == await postgres.ensure_database(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
async def test_server_installed_where_nobody_cannot_reach_it_starts_all_the_same(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """How: the programs lie in a folder closed to others, as of a checkout in root's home."""
    found = postgres.find_installation()
    base = tmp_path / "closed"
    trees = tuple(base / tree.relative_to(found.base) for tree in found.trees)
    for tree, copy in zip(found.trees, trees, strict=True):
        shutil.copytree(tree, copy, symlinks=True)
    base.chmod(0o700)
    closed = postgres.Installation(base / found.bin.relative_to(found.base), base, trees)
    monkeypatch.setattr(unprivileged, "CACHE", data_dir.root / "cache")
    server = await postgres.initialise(data_dir.postgres, durable=False, installation=closed)
    assert server.installation.server.is_relative_to(data_dir.root / "cache")
    async with Supervisor() as supervisor:
        await supervisor.start(postgres.spec(server, log_path=data_dir.log("postgres")))
        await postgres.ensure_database(server)


async def test_lost_password_is_an_error_and_not_a_new_password(data_dir: DataDir) -> None:
    await postgres.initialise(data_dir.postgres, durable=False)
    (data_dir.postgres / "password").unlink()
    with pytest.raises(postgres.PostgresError, match="is missing"):
        await postgres.initialise(data_dir.postgres, durable=False)


@needs_proc
async def test_pid_file_whose_number_belongs_to_another_program_does_not_stop_the_start(
    data_dir: DataDir,
) -> None:
    """How: the file names a sleeping process of the server's own user, as after a restart of the machine."""
    server = await postgres.initialise(data_dir.postgres, durable=False)
    spec = postgres.spec(server, log_path=data_dir.log("postgres"))
    async with Supervisor() as supervisor:
        stranger = replace(spec, name="stranger", argv=("sleep", "300"), ready=None, before_start=None)
        pid = await supervisor.start(stranger)
        pid_file = server.cluster / "postmaster.pid"
        pid_file.write_text(f"{pid}\n{server.cluster}\n0\n{server.port}\n\n\n0 0\n")
        await supervisor.start(spec)
        assert pid_file.read_text().splitlines()[0] == str(supervisor.pids["postgres"])


def test_missing_programs_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        postgres.PostgresError, match=r"no PostgreSQL server found in .*trading-interface\[emb"
    ):
        postgres.find_installation(tmp_path)
    with pytest.raises(
        temporal.TemporalError, match=r"no temporal program found at .*trading-interface\[emb"
    ):
        temporal.find_program(tmp_path / "temporal")


async def test_namespace_has_its_retention_and_search_attributes(
    temporal_addresses: temporal.Server, temporal_server: object
) -> None:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
    from temporalio.client import Client

    client = await Client.connect(temporal_addresses.address, namespace=temporal.NAMESPACE)
    namespace = DescribeNamespaceRequest(namespace=temporal.NAMESPACE)
    described = await client.workflow_service.describe_namespace(namespace)
    assert described.config.workflow_execution_retention_ttl.ToSeconds() == 30 * 24 * 3600
    attributes = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=temporal.NAMESPACE)
    )
    assert attributes.custom_attributes.keys() == {"Ticker", "Strategy", "Side", "OrderStatus", "Flags"}
