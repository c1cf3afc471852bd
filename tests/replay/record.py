"""Records golden histories: ``python -m tests.replay.record [PATH ...]``, every path without names.

When: a workflow has a new way to go (add it to ``paths.py`` first), or a released version changed its commands
on purpose (behind ``workflow.patched``), so that runs of both versions are kept. Each file is one run, named
``PATH.TOPOLOGY.NUMBER.json``; the number is the next free one, and nothing is ever overwritten: old files stand
for the runs that are still open when a new version comes.

A history that no longer replays means that this version would stop every open run of its kind: put the change
behind ``workflow.patched``. A file is deleted only when no run of its time can be open any more.

Nothing of the machine gets into a file: a fixed client identity, and no stack traces.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import Message
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from market.calendar import TradingCalendar, load_calendar
from tests.replay.paths import PATHS
from tests.replay.walk import Walk
from workers import temporal
from workers.datadir import temporary_data_dir
from workers.supervisor import Supervisor

HISTORIES: Final = Path(__file__).with_name("histories")
IDENTITY: Final = "recorder"
"""Otherwise every event names the process and its host."""


async def connect(address: str) -> Client:
    """Connect as the recorder."""
    return await Client.connect(
        address, namespace=temporal.NAMESPACE, data_converter=pydantic_data_converter, identity=IDENTITY
    )


async def record(
    client: Client, calendar: TradingCalendar, path: str, folder: Path = HISTORIES
) -> list[Path]:
    """Walk one path in each of its topologies and write the histories."""
    walk, topologies = PATHS[path]
    written = []
    for topology in topologies:
        handle = await walk(Walk(client, calendar, path, topology))
        history = await handle.fetch_history()
        for event in history.events:
            forget_stack_traces(event)
        written.append(write(history, f"{path}.{topology}", folder))
    return written


def write(history: WorkflowHistory, name: str, folder: Path) -> Path:
    """Write under the next free number."""
    number = 1
    while (file := folder / f"{name}.{number:03}.json").exists():
        number += 1
    with file.open("x", encoding="utf-8") as stream:
        json.dump(json.loads(history.to_json()), stream, indent=1, sort_keys=True)
        stream.write("\n")
    return file


def forget_stack_traces(message: Message) -> None:
    """Clear every failure's stack trace: it names files of this machine."""
    if isinstance(message, Failure):
        message.ClearField("stack_trace")
    for _, value in message.ListFields():
        # A message, a list of them, a map to them, or plain data.
        parts = value.values() if isinstance(value, Mapping) else value
        for part in [parts] if isinstance(parts, Message) else parts if isinstance(parts, Iterable) else ():
            if isinstance(part, Message):
                forget_stack_traces(part)


async def main(names: Sequence[str]) -> int:
    """Record the named paths on a server of their own."""
    unknown = sorted(set(names) - PATHS.keys())
    if unknown:
        print(f"no such path: {', '.join(unknown)}; there are {', '.join(PATHS)}")
        return 2
    calendar = await load_calendar()
    with temporary_data_dir() as data_dir:
        async with Supervisor() as supervisor:
            server = temporal.Server()
            await supervisor.start(temporal.spec(server, log_path=data_dir.log(temporal.NAME)))
            client = await connect(server.address)
            for name in names or PATHS:
                for file in await record(client, calendar, name):
                    print(file.name)
    return 0


if __name__ == "__main__":
    code = asyncio.run(main(sys.argv[1:]))
    sys.stdout.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
