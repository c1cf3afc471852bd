"""The steps of many orders at once, each on a scripted broker of its own."""

import inspect
from collections.abc import Callable
from typing import Any

from temporalio import activity

from schemas.wire import Queue
from tests.workflow.protected import ProtectedBroker


class Desk:
    """Hands each step to the broker of its signal."""

    def __init__(self) -> None:
        self._brokers: dict[str, ProtectedBroker] = {}
        self._sample: ProtectedBroker | None = None

    def add(self, broker: ProtectedBroker) -> ProtectedBroker:
        """One more order."""
        broker.activities(Queue.EXECUTION)
        self._brokers[broker.proposal.signal_id] = broker
        return broker

    def activities(self, role: Queue) -> list[Callable[..., Any]]:
        """The steps of one role; at least one order is there."""
        sample = next(iter(self._brokers.values()))
        return [self._routed(method) for method in sample.activities(role)]

    def _routed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def step(question: Any) -> Any:
            return await getattr(self._brokers[question.signal_id], method.__name__)(question)

        told = inspect.signature(method)
        [asked] = told.parameters.values()
        step.__annotations__ = {"question": asked.annotation, "return": told.return_annotation}
        name = activity._Definition.must_from_callable(method).name
        return activity.defn(name=name)(step)
