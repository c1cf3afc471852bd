"""Stored histories replay on today's workflows: no run that is open would stop with this version.

Where one fails: put the change behind ``workflow.patched`` (see ``record.py``). No file is changed.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.workflow import NondeterminismError

from market.calendar import load_calendar
from schemas import wire
from security.payloads import KeyRing, PayloadKeys, data_converter
from tests.replay.changed import OneStepLess, OneStepMore, OtherAlarm, SameSteps
from tests.replay.paths import PATHS
from tests.replay.record import HISTORIES, IDENTITY, connect, record
from tests.replay.replaying import failure, load
from workers import temporal
from workflows.kill_switch import KillSwitchWorkflow
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.retention import AuditDropWorkflow, AuditRestoreWorkflow, RetentionWorkflow
from workflows.trade_updates import TradeUpdatesWorkflow

FILES = sorted(HISTORIES.glob("*.json"))
OTHERS = (
    "protection.",
    "kill-switch",
    "trade-updates",
    "reconciled-",
    "not-reconciled",
    "retention",
    "restored",
    "month-",
    "moved-",  # It settles nothing: the next run does.
)
ORDERS = [file for file in FILES if not file.name.startswith(OTHERS)]
WORKFLOWS = (
    OrderWorkflow,
    ProtectionWorkflow,
    KillSwitchWorkflow,
    TradeUpdatesWorkflow,
    ReconciliationWorkflow,
    RetentionWorkflow,
    AuditRestoreWorkflow,
    AuditDropWorkflow,
)
NO_STEPS_OF_WORKFLOWS = {wire.ACTIVITY_REFUSE_ORDER, wire.ACTIVITY_READ_ORDER}
MACHINE = re.compile(r"/(home|work|root|tmp|usr|opt|var|Users)/|\.py\b|Traceback|[0-9]{2,}@[a-z]")


def ids(files: list[Path]) -> Iterator[str]:
    """Short test names."""
    return (file.stem for file in files)


@pytest.mark.parametrize("file", FILES, ids=ids(FILES))
async def test_todays_workflows_replay(file: Path) -> None:
    assert await failure(load(file), *WORKFLOWS) is None


@pytest.mark.parametrize("name", ["filled.compact.001", "filled.isolated.001", "kill-switch.isolated.004"])
async def test_a_plain_history_replays_where_payloads_are_encrypted(name: str) -> None:
    """An installation that is switched over goes on with what it began before."""
    sealing = data_converter(KeyRing(PayloadKeys.parse(f"new:{'a1' * 32}")))
    assert await failure(load(HISTORIES / f"{name}.json"), *WORKFLOWS, converter=sealing) is None


class TestTheGuardIsAwake:
    @pytest.mark.parametrize("file", ORDERS, ids=ids(ORDERS))
    async def test_one_step_less_is_noticed_on_every_path(self, file: Path) -> None:
        assert isinstance(await failure(load(file), OneStepLess), NondeterminismError)

    @pytest.mark.parametrize("changed", [OneStepMore, OtherAlarm])
    @pytest.mark.parametrize("topology", ["compact", "isolated"])
    async def test_another_step_or_timer_is_noticed(self, changed: type, topology: str) -> None:
        history = load(HISTORIES / f"filled.{topology}.001.json")
        assert await failure(history, changed) is not None

    @pytest.mark.parametrize("topology", ["compact", "isolated"])
    async def test_the_same_steps_are_not(self, topology: str) -> None:
        assert await failure(load(HISTORIES / f"filled.{topology}.001.json"), SameSteps) is None


class TestTheStore:
    def test_every_path_is_there_in_each_topology(self) -> None:
        stored = {file.name.rsplit(".", 2)[0] for file in FILES}
        walked = {f"{path}.{topology}" for path, (_, topologies) in PATHS.items() for topology in topologies}
        assert walked <= stored, "record it: python -m tests.replay.record PATH"

    def test_every_step_of_every_workflow_is_in_one(self) -> None:
        """Names are looked for in the decoded events: local steps stand in markers."""
        told = b"".join(file_bytes(file) for file in FILES).decode("utf-8", "replace")
        steps = {value for name, value in vars(wire).items() if name.startswith("ACTIVITY_")}
        assert {step for step in steps - NO_STEPS_OF_WORKFLOWS if step not in told} == set()

    @pytest.mark.parametrize("file", FILES, ids=ids(FILES))
    def test_nothing_of_a_machine_is_in_one(self, file: Path) -> None:
        found = MACHINE.search(file_bytes(file).decode("utf-8", "replace"))
        assert found is None, found
        identities = set(re.findall(r'"identity": "([^"]*)"', file.read_text()))
        assert identities <= {IDENTITY, "history-service"}, "the recorder, and the server that ends a task"

    async def test_the_recorder_writes_beside_and_never_over(
        self, temporal_addresses: temporal.Server, tmp_path: Path
    ) -> None:
        client: Client = await connect(temporal_addresses.address)
        calendar = await load_calendar()
        first = await record(client, calendar, "refused-by-broker", tmp_path)
        before = [file.read_bytes() for file in first]
        second = await record(client, calendar, "refused-by-broker", tmp_path)
        assert [file.name for file in first + second] == [
            "refused-by-broker.compact.001.json",
            "refused-by-broker.isolated.001.json",
            "refused-by-broker.compact.002.json",
            "refused-by-broker.isolated.002.json",
        ]
        assert [file.read_bytes() for file in first] == before
        for file in second:
            assert json.loads(file.read_text())["events"]
            assert await failure(load(file), OrderWorkflow) is None


def file_bytes(file: Path) -> bytes:
    """The events as bytes, payloads decoded."""
    return b"".join(event.SerializeToString() for event in load(file).events)
