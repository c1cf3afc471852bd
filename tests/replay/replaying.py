"""Replaying a stored history as the queue that it ran on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.worker import (
    Replayer,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import _Definition as Definition


class OnItsQueue(WorkflowRunner):
    """The sandbox of the product's workers, on a named queue.

    The SDK's replayer names a queue of its own, while a workflow of ours decides by its queue where its steps
    run. A worker always polls the queue that its histories name.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._sandbox = SandboxedWorkflowRunner()

    def prepare_workflow(self, defn: Definition) -> None:
        """As the sandbox does."""
        self._sandbox.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """One that knows its recorded queue."""
        info = dataclasses.replace(det.info, task_queue=self._queue)
        return self._sandbox.create_instance(dataclasses.replace(det, info=info))

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        """As the sandbox does."""
        self._sandbox.set_worker_level_failure_exception_types(types)


def load(file: Path) -> WorkflowHistory:
    """Read one stored history."""
    return WorkflowHistory.from_json(file.name.split(".")[0], file.read_text(encoding="utf-8"))


async def failure(
    history: WorkflowHistory, *workflows: type, converter: DataConverter = pydantic_data_converter
) -> Exception | None:
    """What replaying it on these workflows fails of; None where they go the same way."""
    queue = history.events[0].workflow_execution_started_event_attributes.task_queue.name
    replayer = Replayer(workflows=workflows, workflow_runner=OnItsQueue(queue), data_converter=converter)
    return (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure
