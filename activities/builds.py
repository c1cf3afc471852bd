"""Builds as Temporal routes work to them: read, promoted, and what is open on one.

A deployment has no current build before somebody sets one, and without it nothing runs: so the first process of a
fresh namespace sets its own (`ensure_current`). Later builds are promoted by a person or by the job of a release.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from temporalio.api.enums.v1 import RoutingConfigUpdateState, TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.starter import TemporalUnavailable
from observability.crash_points import calling
from schemas.builds import Build, BuildState

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from temporalio.client import Client

RPC_TIMEOUT: Final = timedelta(seconds=10)
KNOWN_WITHIN_SECONDS: Final = 60.0
"""A build can be promoted once its processes have asked for work; they may be starting just now."""
POLL_SECONDS: Final = 0.25
POLLED_WITHIN: Final = timedelta(seconds=75)
"""A poll waits a minute for work, then comes again."""
LIST_PAGE: Final = 1000

_STATES: Final = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: BuildState.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: BuildState.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: BuildState.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: BuildState.DRAINED,
}
_NOT_YET: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
"""The build, or a queue of it, is not known: nobody of it has asked for work."""


class UnknownBuild(Exception):
    """Temporal gives that build no work; the message names it, and what the server says."""


class Builds:
    """Reads and routes the builds of one namespace. Every method raises TemporalUnavailable without an answer."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def read(self, deployment: str) -> tuple[Build, ...]:
        """Every build of it, newest first; none where nobody has ever run one."""
        found = await self._describe(deployment)
        return () if found is None else tuple(_builds(deployment, found))

    async def ensure_current(self, deployment: str, build_id: str) -> str:
        """Make the build current where none is, and return which one is.

        Idempotent. Of two at once one is first; the other finds it.

        Raises:
            UnknownBuild: it has not asked for work yet.
        """
        found = await self._describe(deployment)
        if found is None:
            raise UnknownBuild(f"{deployment} is not known yet")
        current = found.worker_deployment_info.routing_config.current_deployment_version.build_id
        if current:
            return current
        await self._route(deployment, build_id, token=found.conflict_token)
        return build_id

    async def promote(
        self,
        deployment: str,
        build_id: str,
        *,
        percent: int | None = None,
        within_seconds: float = KNOWN_WITHIN_SECONDS,
    ) -> None:
        """Give the build all new work, or with ``percent`` a part, and wait until its queues know. Idempotent.

        All is all: a part that another build had by an earlier promotion ends with it.

        Raises:
            UnknownBuild, TemporalUnavailable: so it is still after that time. Both are waited out until then.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_seconds
        given = False
        while True:
            try:
                if not given:
                    await self._route(deployment, build_id, percent=percent)
                    if percent is None:
                        await self.end_ramp(deployment)
                    given = True
                if loop.time() >= until or await self._is_known(deployment, build_id, percent):
                    return
            except (UnknownBuild, TemporalUnavailable):
                if loop.time() >= until:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def end_ramp(self, deployment: str) -> None:
        """Give the part of new work that a build has back to the current one; nothing where none has any."""
        found = await self._describe(deployment)
        if found is None or not _ramping(found):
            return
        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=self._client.namespace, deployment_name=deployment, build_id="", percentage=0
        )
        try:
            await self._set(request)
        except RPCError as error:
            raise _unavailable(error) from error

    async def _is_known(self, deployment: str, build_id: str, percent: int | None) -> bool:
        """The server tells its queues in its own time: until then some new work goes to the former build."""
        found = await self._describe(deployment)
        state = None if found is None else found.worker_deployment_info.routing_config_update_state
        if state == RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS:
            return False
        routing = (await self._queue(deployment)).versioning_info
        current = routing.current_deployment_version.build_id
        ramping = routing.ramping_deployment_version.build_id
        return ramping == build_id if percent is not None else (current, ramping) == (build_id, "")

    async def attended(self, queue: str, now: datetime) -> frozenset[str]:
        """Builds of which some process asks that queue for work."""
        return frozenset(
            poller.deployment_options.build_id
            for poller in (await self._queue(queue)).pollers
            if now - _time(poller.last_access_time) <= POLLED_WITHIN
        )

    async def count_open(self, build: Build) -> int:
        """Workflows that stay with it and are open."""
        try:
            found = await self._client.count_workflows(_open_on(build), rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            raise _unavailable(error) from error
        return found.count

    async def open_ids(self, build: Build) -> AsyncIterator[str]:
        """Their ids."""
        listed = self._client.list_workflows(_open_on(build), page_size=LIST_PAGE, rpc_timeout=RPC_TIMEOUT)
        try:
            async for each in listed:
                yield each.id
        except RPCError as error:
            raise _unavailable(error) from error

    async def _queue(self, name: str) -> DescribeTaskQueueResponse:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=name),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            return await self._client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            raise _unavailable(error) from error

    async def _describe(self, deployment: str) -> DescribeWorkerDeploymentResponse | None:
        request = DescribeWorkerDeploymentRequest(
            namespace=self._client.namespace, deployment_name=deployment
        )
        try:
            return await self._client.workflow_service.describe_worker_deployment(
                request, timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise _unavailable(error) from error

    async def _route(
        self, deployment: str, build_id: str, *, percent: int | None = None, token: bytes = b""
    ) -> None:
        """Give it all new work, or a part; with ``token`` only if nothing was changed since it was read."""
        told: dict[str, Any] = {
            "namespace": self._client.namespace,
            "deployment_name": deployment,
            "build_id": build_id,
            "conflict_token": token,
        }
        request = (
            SetWorkerDeploymentCurrentVersionRequest(**told)
            if percent is None
            else SetWorkerDeploymentRampingVersionRequest(**told, percentage=percent)
        )
        try:
            await self._set(request)
        except RPCError as error:
            if error.status in _NOT_YET:
                raise UnknownBuild(
                    f"{deployment} {build_id} is given no work, most likely as no process of it asks for any: "
                    f"{error}"
                ) from error
            raise _unavailable(error) from error

    async def _set(
        self, request: SetWorkerDeploymentCurrentVersionRequest | SetWorkerDeploymentRampingVersionRequest
    ) -> None:
        service = self._client.workflow_service
        with calling("temporal.promote"):
            if isinstance(request, SetWorkerDeploymentCurrentVersionRequest):
                await service.set_worker_deployment_current_version(request, timeout=RPC_TIMEOUT)
            else:
                await service.set_worker_deployment_ramping_version(request, timeout=RPC_TIMEOUT)


def _builds(deployment: str, found: DescribeWorkerDeploymentResponse) -> list[Build]:
    info = found.worker_deployment_info
    ramp = round(info.routing_config.ramping_version_percentage)
    builds = []
    for each in info.version_summaries:
        state = _STATES.get(each.status, BuildState.INACTIVE)
        changed = each.routing_update_time if each.HasField("routing_update_time") else each.create_time
        builds.append(
            Build(
                deployment=deployment,
                build_id=each.deployment_version.build_id,
                state=state,
                since=_time(changed),
                ramp_percent=ramp if state is BuildState.RAMPING else 0,
            )
        )
    return builds


def _ramping(found: DescribeWorkerDeploymentResponse) -> str:
    routing = found.worker_deployment_info.routing_config
    build: str = routing.ramping_deployment_version.build_id
    return build


def _open_on(build: Build) -> str:
    version = f"{build.deployment}:{build.build_id}"
    return f"TemporalWorkerDeploymentVersion = '{version}' AND ExecutionStatus = 'Running'"


def _time(stamp: "Timestamp") -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _unavailable(error: RPCError) -> TemporalUnavailable:
    return TemporalUnavailable(f"Temporal did not answer about builds: {error.status.name} {error}")
