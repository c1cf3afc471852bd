"""Run what must not be cut in the middle."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def uncancelled(work: Coroutine[Any, Any, _T]) -> _T:
    """Await ``work`` to its end even when the caller is cancelled, then let the cancellation through.

    A cancelled activity or a stopping worker must not free the fence while a request may still be leaving.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:  # noqa: BLE001 - told below, by the task itself
            break
    if cancelled is not None:
        task.exception()  # Retrieved: the cancellation outranks it.
        raise cancelled
    return task.result()
