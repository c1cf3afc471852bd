"""Reaching workflows from the command line, with every wait bounded."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from console.addresses import Addresses
from console.errors import DependencyDown
from schemas import wire

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.runtime import Runtime

CONNECT_SECONDS: Final = 3.0
SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=5)
UPDATE_RPC_TIMEOUT: Final = timedelta(seconds=15)
"""Cancel: one broker call of at most 10 s; release: one transaction."""
QUERY_RPC_TIMEOUT: Final = timedelta(seconds=3)

_runtimes: "Final[list[Runtime]]" = []
"""Kept for the process's life: one that is dropped with a connect that was given up panics in its own thread."""


async def connect(addresses: Addresses) -> "Client":
    """A client of the installation's namespace, logging nothing.

    Raises:
        DependencyDown: Temporal does not answer within ``CONNECT_SECONDS``.
    """
    address = addresses.need("temporal_address")
    from temporalio.client import Client
    from temporalio.contrib.pydantic import pydantic_data_converter
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    runtime = Runtime(telemetry=TelemetryConfig(logging=quiet))
    _runtimes.append(runtime)
    connecting = Client.connect(
        address,
        namespace=addresses.namespace,
        data_converter=pydantic_data_converter,
        runtime=runtime,
    )
    try:
        return await asyncio.wait_for(connecting, CONNECT_SECONDS)
    except (RuntimeError, TimeoutError, ValueError) as error:
        raise DependencyDown(
            f"Temporal does not answer at {address}", do="is `trading up` running?"
        ) from error


async def operations_queue(client: "Client") -> str:
    """Where operations run workflows: only the workers know their topology, and made the Schedule by it.

    Raises:
        DependencyDown: they made none.
    """
    from temporalio.client import ScheduleActionStartWorkflow
    from temporalio.service import RPCError

    handle = client.get_schedule_handle(wire.SCHEDULE_RECONCILIATION)
    try:
        described = await handle.describe(rpc_timeout=SIGNAL_RPC_TIMEOUT)
    except RPCError as error:
        raise DependencyDown(
            f"no Schedule {wire.SCHEDULE_RECONCILIATION!r} was made: {error}", do="is `trading up` running?"
        ) from error
    action = described.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow), "made by workers.singletons"
    return action.task_queue
