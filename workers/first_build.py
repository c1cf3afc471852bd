"""The first build of a fresh namespace makes itself current: without a current build nothing would ever run."""

import asyncio
from typing import Final

from temporalio.client import Client

from activities.builds import Builds, UnknownBuild
from activities.starter import TemporalUnavailable
from observability.logging import get_logger
from schemas.wire import Queue

ASK_AGAIN_SECONDS: Final = 0.25
"""Until the server knows the build, which is soon after its worker has asked for work."""

_log = get_logger(__name__)


async def first_build(client: Client, queue: Queue, build_id: str) -> None:
    """Once the worker polls: set its build where none is current. A later build waits to be promoted."""
    builds = Builds(client)
    current: str | None = None
    while current is None:
        try:
            current = await builds.ensure_current(queue.value, build_id)
        except (UnknownBuild, TemporalUnavailable):
            await asyncio.sleep(ASK_AGAIN_SECONDS)
    if current == build_id:
        _log.info("this build gets new work", deployment=queue.value, build=build_id)
    else:
        _log.warning(
            "another build gets new work: `trading promote` gives it to this one",
            deployment=queue.value,
            build=build_id,
            current=current,
        )
