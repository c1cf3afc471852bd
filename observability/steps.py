"""A line for each step of a workflow: how long it waited and worked, what came of it, with the ids of its order.

Whatever is logged within a step bears the same ids, in its threads too.
"""

import time
from typing import Any, Final

from temporalio import activity
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from temporalio.worker import Interceptor as WorkerInterceptor

from observability.logging import get_logger, log_context
from schemas.wire import signal_of_workflow

MS_PER_SECOND: Final = 1000.0

_log = get_logger(__name__)


class StepLog(ClientInterceptor, WorkerInterceptor):
    """Given to ``Client.connect``, behind tracing: workers of that client inherit it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """As the SDK asks."""
        return _Step(super().intercept_activity(next))


class _Step(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        info = activity.info()
        told: dict[str, Any] = {"step": info.activity_type, "attempt": info.attempt}
        if info.workflow_id is not None:
            told["workflow_id"] = info.workflow_id
            signal_id = signal_of_workflow(info.workflow_id)
            if signal_id is not None:
                told["signal_id"] = signal_id
        waited = info.started_time - info.current_attempt_scheduled_time
        with log_context(**told):
            began = time.perf_counter()
            try:
                result = await super().execute_activity(input)
            except Exception as error:
                _failed(error, _since(began))
                raise
            _log.info(
                "step done",
                outcome=_outcome(result),
                duration_ms=_since(began),
                waited_ms=round(MS_PER_SECOND * waited.total_seconds(), 1),
            )
        return result


def _failed(error: Exception, duration_ms: float) -> None:
    if isinstance(error, ApplicationError):
        pause = error.next_retry_delay
        _log.info(
            "step failed",
            outcome=error.type,
            reason=error.message,
            duration_ms=duration_ms,
            again_in_ms=None if pause is None else round(MS_PER_SECOND * pause.total_seconds()),
        )
    else:
        # With its text and stack: the SDK logs it, through the same redaction.
        _log.warning("step failed", outcome=type(error).__name__, duration_ms=duration_ms)


def _outcome(result: Any) -> str:
    """One word: the answer's kind where it has one."""
    kind = getattr(result, "kind", None)
    if kind is not None:
        return str(getattr(kind, "value", kind))
    passed = getattr(result, "passed", None)
    return "OK" if passed is None else ("PASSED" if passed else "REFUSED")


def _since(began: float) -> float:
    return round(MS_PER_SECOND * (time.perf_counter() - began), 1)
