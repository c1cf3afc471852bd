"""Sees to it that a build drains: orders that outlive the session move to the current build at the close.

So a build has none of its own left after one session. What is pinned to a build that no process runs any more is
started anew on the current one: an order's row is its state, so nothing is lost by that. A part of new work that
such a build gets goes back to the current one. A loop of operations.
"""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.builds import Builds
from activities.starter import OrderStarter, TemporalUnavailable
from market.hours import MarketHours
from observability.logging import get_logger
from schemas import wire
from schemas.builds import VERSIONED, Build, BuildState
from schemas.wire import Queue
from storage.builds import save_builds
from storage.database import Database
from storage.orders import OrderNotFound, read_order
from storage.signals import SignalNotFound, read_signal
from workers.clients import utc_now

BUILDS_SECONDS: Final = 10.0
UNATTENDED_AFTER_SECONDS: Final = 60.0
"""So long must nobody be seen asking for a build's work: a server that starts again has seen nobody yet."""
MOVES_AT_ONCE: Final = 200
"""In one look, each a fresh run that reads its row: 10,000 orders at rest move in some ten minutes."""
RESTARTS_AT_ONCE: Final = 50
ASK_AGAIN_SECONDS: Final = 600.0
"""One that did not move when it was told: a cancel was on its way, for example."""
SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=3)
_ORDER: Final = wire.order_workflow_id("")
_PROTECTION: Final = wire.protect_workflow_id("")

_log = get_logger(__name__)


class BuildWatch:
    """Any number of operations processes may run it: what two do twice is a signal heard twice."""

    def __init__(self, database: Database, client: Client, starter: OrderStarter, hours: MarketHours) -> None:
        self._database = database
        self._client = client
        self._starter = starter
        self._hours = hours
        self._builds = Builds(client)
        self._stored: dict[Queue, tuple[Build, ...]] = {}
        self._missed_since: dict[tuple[str, str], float] = {}
        """Build → monotonic seconds since when nobody has asked for its work."""
        self._told_at: dict[str, float] = {}
        """Workflow → monotonic seconds when it was told to move."""

    async def watch_builds(self) -> None:
        """Look at every build, keep what is seen, and see to the orders of those that drain.

        Raises:
            TemporalUnavailable, ClockUnavailableError: look again.
        """
        now = utc_now()
        for queue in VERSIONED:
            builds = await self._look(queue, now)
            if builds != self._stored.get(queue):
                await self._database.run(
                    "builds.seen", partial(save_builds, deployment=queue.value, builds=builds, now=now)
                )
                self._stored[queue] = builds
            await self._end_ramps(builds)
        left = [each for each in self._stored[Queue.ORDERS] if each.open_workflows]
        for build in left:
            if not build.attended:
                await self._restart(build)
        if any(build.attended for build in left) and not (await self._hours.at(now)).is_open:
            for build in left:
                await self._move(build)

    async def _look(self, queue: Queue, now: datetime) -> tuple[Build, ...]:
        found = await self._builds.read(queue.value)
        asking = await self._builds.attended(queue.value, now) if found else frozenset()
        self._note_missed(found, asking)
        return tuple([await self._with_numbers(each) for each in found])

    def _note_missed(self, found: Iterable[Build], asking: frozenset[str]) -> None:
        for build in found:
            key = (build.deployment, build.build_id)
            if build.build_id in asking:
                self._missed_since.pop(key, None)
            else:
                self._missed_since.setdefault(key, time.monotonic())

    async def _with_numbers(self, build: Build) -> Build:
        since = self._missed_since.get((build.deployment, build.build_id))
        attended = since is None or time.monotonic() - since < UNATTENDED_AFTER_SECONDS
        drains = build.state is BuildState.DRAINING
        return build.model_copy(
            update={
                "attended": attended,
                "open_workflows": await self._builds.count_open(build) if drains else 0,
            }
        )

    async def _end_ramps(self, builds: Iterable[Build]) -> None:
        """A workflow's id decides whether it is of the part: what waits there could be begun anew nowhere else."""
        for build in builds:
            if build.state is BuildState.RAMPING and not build.attended:
                await self._builds.end_ramp(build.deployment)
                _log.warning(
                    "no process runs this build: its part of new work goes to the current one",
                    deployment=build.deployment,
                    build=build.build_id,
                )

    async def _move(self, build: Build) -> None:
        """Tell each of its orders and protections once; those that could not move yet, again later."""
        now = time.monotonic()
        self._told_at = {name: at for name, at in self._told_at.items() if now - at < ASK_AGAIN_SECONDS}
        told = 0
        async for workflow_id in self._builds.open_ids(build):
            if workflow_id not in self._told_at and await self._tell(workflow_id):
                self._told_at[workflow_id] = now
                told += 1
            if told == MOVES_AT_ONCE:
                break
        if told:
            _log.info("told to move to the current build", build=build.build_id, workflows=told)

    async def _tell(self, workflow_id: str) -> bool:
        """Whether it is still there to be told."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(wire.SIGNAL_NEXT_BUILD, "the session is over", rpc_timeout=SIGNAL_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise TemporalUnavailable(f"Temporal did not take a signal: {error}") from error
        return True

    async def _restart(self, build: Build) -> None:
        """Nobody can run them any more: terminated, and begun anew on the current build."""
        done = 0
        async for workflow_id in self._builds.open_ids(build):
            if await self._begin_anew(workflow_id):
                done += 1
            if done == RESTARTS_AT_ONCE:
                break
        if done:
            _log.warning("no process runs this build: begun anew", build=build.build_id, workflows=done)

    async def _begin_anew(self, workflow_id: str) -> bool:
        """False for a workflow without a row: nobody has stored such a signal."""
        try:
            async with self._database.connection() as connection:
                if workflow_id.startswith(_PROTECTION):
                    entry = await read_order(connection, workflow_id.removeprefix(_PROTECTION))
                    await self._starter.restart_protection(entry.view, replace=True)
                else:
                    row = await read_signal(connection, workflow_id.removeprefix(_ORDER))
                    await self._starter.restart(row.proposal, replace=True)
        except (OrderNotFound, SignalNotFound):
            return False
        return True
