"""Reaching workflows from the command line, with every wait bounded."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.addresses import Addresses
from console.errors import BadUsage, DependencyDown
from schemas import wire

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.runtime import Runtime

    from security.payloads import KeyRing

CONNECT_SECONDS: Final = 3.0
SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=5)
UPDATE_RPC_TIMEOUT: Final = timedelta(seconds=15)
"""Cancel: one broker call of at most 10 s; release: one transaction."""
QUERY_RPC_TIMEOUT: Final = timedelta(seconds=3)

NOT_READ: Final = (KeyError, RuntimeError)
"""What the SDK raises of a payload in an encoding that it does not know, as one is that no key of ours opens."""

_runtimes: "Final[list[Runtime]]" = []
"""Kept for the process's life: one that is dropped with a connect that was given up panics in its own thread."""


async def connect(addresses: Addresses) -> "Client":
    """A client of the installation's namespace, logging nothing.

    Raises:
        DependencyDown: Temporal does not answer within ``CONNECT_SECONDS``.
    """
    address = addresses.need("temporal_address")
    from temporalio.client import Client
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    from security.payloads import data_converter, header_behavior

    quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    ring = payload_ring(addresses)
    runtime = Runtime(telemetry=TelemetryConfig(logging=quiet))
    _runtimes.append(runtime)
    connecting = Client.connect(
        address,
        namespace=addresses.namespace,
        data_converter=data_converter(ring, writes=addresses.get("payloads") == "encrypted"),
        header_codec_behavior=header_behavior(ring),
        runtime=runtime,
    )
    try:
        return await asyncio.wait_for(connecting, CONNECT_SECONDS)
    except (RuntimeError, TimeoutError, ValueError) as error:
        raise DependencyDown(
            f"Temporal does not answer at {address}", do="is `trading up` running?"
        ) from error


@contextmanager
def reading_answer(look: str) -> Iterator[None]:
    """A workflow's answer is read in here, by keys that this process may not have.

    Raises:
        DependencyDown: it cannot be read, so what was asked for is done or not: ``look`` says where that is seen.
    """
    try:
        yield
    except NOT_READ as error:
        raise DependencyDown(
            f"the workflow's answer cannot be read here, so it is not known whether it was done: {error}",
            do=f"{look}; TRADING_PAYLOAD_KEYS_FILE must name the installation's keys (docs/SECURITY.md)",
        ) from error


def payload_ring(addresses: Addresses) -> "KeyRing | None":
    """The installation's keys of payloads; None where it has none.

    Raises:
        BadUsage: the file cannot be read or used.
    """
    file = addresses.get("payload_keys_file")
    if file is None:
        return None
    from security.payloads import KeyRing, PayloadKeyError, PayloadKeys

    try:
        return KeyRing(PayloadKeys.parse(Path(file).read_text()))
    except FileNotFoundError:
        return None  # An installation of an earlier release, not started since.
    except (OSError, PayloadKeyError) as error:
        raise BadUsage(
            f"{file} cannot be used: {error}",
            do="use the account that holds the secrets, or `trading payloads`",
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
