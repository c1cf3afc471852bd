"""Dropping a payload key while Temporal is silent, or while nobody runs the two endless workflows."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from console import payload_use
from console.errors import DependencyDown, Refused
from schemas import wire

ADDRESSES: Any = None
"""Where to connect is not asked here."""


class Temporal:
    """A client whose one open run holds the key."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self.asked: list[str] = []

    async def list_workflows(self, _: str) -> AsyncIterator[SimpleNamespace]:
        if self._silent:
            raise RPCError("nobody there", RPCStatusCode.UNAVAILABLE, b"")
        yield SimpleNamespace(id=wire.ID_KILL_SWITCH, run_id="a-run")

    def get_workflow_handle(self, *_: object, **__: object) -> "Temporal":
        return self

    async def fetch_history(self) -> SimpleNamespace:
        event = HistoryEvent()
        sealed = event.workflow_execution_started_event_attributes.input.payloads.add()
        sealed.metadata["encryption-key-id"] = b"old"
        return SimpleNamespace(events=[event])

    async def start_update(self, name: str, **_: object) -> None:
        self.asked.append(name)
        raise WorkflowUpdateRPCTimeoutOrCancelledError


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_use, "RENEW_SECONDS", 0.0)


def connected(monkeypatch: pytest.MonkeyPatch, client: Temporal) -> None:
    async def connect(_: object) -> Temporal:
        return client

    monkeypatch.setattr(payload_use, "connect", connect)


async def test_a_silent_temporal_is_a_dependency_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    connected(monkeypatch, Temporal(silent=True))
    with pytest.raises(DependencyDown, match="nobody there"):
        await payload_use.refuse_while_needed(ADDRESSES, "old")


async def test_a_workflow_that_no_process_runs_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Temporal(silent=False)
    connected(monkeypatch, client)
    with pytest.raises(Refused, match=wire.ID_KILL_SWITCH) as refused:
        await payload_use.refuse_while_needed(ADDRESSES, "old")
    assert "start every process anew" in refused.value.do
    assert client.asked == [wire.UPDATE_RENEW]


async def test_a_key_that_no_open_run_names_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Temporal(silent=False)
    connected(monkeypatch, client)
    await payload_use.refuse_while_needed(ADDRESSES, "older")
    assert client.asked == []
