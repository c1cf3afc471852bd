"""What rules and dashboards take from the Temporal SDK and server exists there, under these names and labels."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

import httpx2
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from observability.catalog import SDK, SERVER, Foreign, families
from observability.metrics import Metrics
from observability.temporal import counted_runtime
from workers import temporal

STEP_TIMEOUT = timedelta(seconds=10)
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="')
failed_once: set[str] = set()


@activity.defn(name="test-counted")
async def counted() -> None:
    """Idempotent: does nothing, and fails at the first try."""
    if activity.info().attempt == 1:
        raise ApplicationError("the first try", next_retry_delay=timedelta(milliseconds=10))


@activity.defn(name="test-counted-here")
async def counted_here() -> None:
    """Idempotent: does nothing."""


@workflow.defn(name="test-counted", sandboxed=False)
class Counted:
    """What the SDK counts: a task that fails once, both kinds of activity, an end that is good or bad."""

    @workflow.run
    async def run(self, good: bool) -> None:
        await workflow.execute_local_activity(counted_here, start_to_close_timeout=STEP_TIMEOUT)
        await workflow.execute_activity(
            counted, start_to_close_timeout=STEP_TIMEOUT, retry_policy=RetryPolicy(maximum_attempts=2)
        )
        if workflow.info().workflow_id not in failed_once:
            failed_once.add(workflow.info().workflow_id)
            raise RuntimeError("the task is tried again")
        if not good:
            raise ApplicationError("as it should")


def labels_of(page: str) -> dict[str, set[frozenset[str]]]:
    """The label sets of every sample, by name as Prometheus reads it: the Python parser would add ``_total``."""
    found: dict[str, set[frozenset[str]]] = {}
    for name, labels in SAMPLE.findall(page):
        found.setdefault(name, set()).add(frozenset(LABEL.findall(labels)))
    return found


def missing(wanted: Iterable[Foreign], page: Mapping[str, set[frozenset[str]]]) -> list[str]:
    """Samples that are not there, or never with all of their labels."""
    return [
        f"{name} {labels}: {[sorted(each) for each in page.get(name, ())]}"
        for foreign in wanted
        for name, labels in foreign.samples.items()
        if not any(set(labels) <= each for each in page.get(name, ()))
    ]


async def test_the_sdk_counts_what_we_look_at_on_our_own_page(
    temporal_addresses: temporal.Server, unique: Callable[[str], str]
) -> None:
    """How: one run that ends well and one that does not, each after a failed try of everything."""
    runtime = counted_runtime("orders")
    metrics = Metrics()
    metrics.add_page(runtime.page)
    client = await Client.connect(
        temporal_addresses.address, namespace=temporal.NAMESPACE, runtime=runtime.runtime
    )
    queue = unique("counted")
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Counted],
        activities=[counted, counted_here],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for good in (True, False):
            with suppress(WorkflowFailureError):
                await client.execute_workflow(Counted.run, good, id=unique("counted"), task_queue=queue)
        with suppress(RPCError):
            await client.get_workflow_handle(unique("nobody")).describe()
        found = labels_of(metrics.render().decode())
    assert missing(SDK, found) == []
    assert not {each.name for each in families()} & {each.name for each in SDK}


async def test_the_server_counts_what_we_look_at(
    temporal_addresses: temporal.Server, temporal_server: Client, unique: Callable[[str], str]
) -> None:
    with suppress(RPCError):
        await temporal_server.get_workflow_handle(unique("nobody")).describe()
    async with httpx2.AsyncClient(trust_env=False) as http:
        page = (await http.get(f"http://127.0.0.1:{temporal_addresses.metrics_port}/metrics")).text
    assert missing(SERVER, labels_of(page)) == []
