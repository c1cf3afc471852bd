"""``trading builds``, ``promote`` and ``drain``: which build gets new work, and orders that move to it.

Only where orders and operations are processes of their own; on one machine in one process there is one build.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, BadUsage, DependencyDown, Refused
from console.rows import rows
from console.strategies import Person, who_and_why
from console.temporal import SIGNAL_RPC_TIMEOUT, connect
from schemas.builds import BUILD_PATTERN, VERSIONED, BuildState
from schemas.wire import SIGNAL_NEXT_BUILD, Queue

if TYPE_CHECKING:
    from activities.builds import Builds
    from schemas.builds import Build

PROMOTE_WITHIN_SECONDS: Final = 10.0
"""A build that runs has asked for work before somebody promotes it."""
_LOOK: Final = "look with `trading builds`"
BuildId = Annotated[str, Parameter(help="Its name, as `trading builds` shows it.")]


async def builds(*, common: Common = NO_OPTIONS) -> int:
    """List the builds of orders and operations: which gets new work, and what is still open on the others."""
    from activities.builds import Builds
    from activities.starter import TemporalUnavailable

    client = await connect(common.addresses())
    try:
        found = [build for queue in VERSIONED for build in await _seen(Builds(client), queue)]
    except TemporalUnavailable as error:
        raise DependencyDown(str(error)) from error
    emit(common, [each.model_dump(mode="json") for each in found], lambda: _draw(found))
    return EXIT_DONE


async def _seen(known: "Builds", queue: Queue) -> "list[Build]":
    found = await known.read(queue.value)
    asking = await known.attended(queue.value, utc_now()) if found else frozenset()
    return [
        each.model_copy(
            update={
                "attended": each.build_id in asking,
                "open_workflows": await known.count_open(each) if each.state is not BuildState.DRAINED else 0,
            }
        )
        for each in found
    ]


async def promote(
    build: BuildId,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why: the release, or what is rolled back.")],
    percent: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=1, lte=100), help="Give it only a part of new work, to watch it first."
        ),
    ] = None,
    person: Person = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Give new orders to a build whose workers run. What is open stays where it is. Audited with who and why.

    All is all: a part that another build has by an earlier promotion ends with it. Exit 1: no worker of that build
    runs, or it has all new work already and cannot be given a part.
    """
    from activities.builds import Builds, UnknownBuild
    from activities.starter import TemporalUnavailable
    from storage.builds import note_promotion
    from storage.commits import committing

    name = _name(build)
    who, why = who_and_why(person, reason)
    addresses = common.addresses()
    client = await connect(addresses)
    known = Builds(client)
    try:
        deployments = await deployments_of(known, name, percent)
        async with rows(addresses) as connection, committing(connection, "console.build_promoted"):
            await note_promotion(
                connection, deployments, name, percent=percent, person=who, reason=why, now=utc_now()
            )
        for deployment in deployments:
            await known.promote(deployment, name, percent=percent, within_seconds=PROMOTE_WITHIN_SECONDS)
    except UnknownBuild as error:
        raise Refused(clean(error), do=f"start its workers; {_LOOK}") from error
    except TemporalUnavailable as error:
        raise DependencyDown(str(error), do="promote it again: that does no harm") from error
    part = "all new work" if percent is None else f"{percent} % of new work"
    text = f"{name} gets {part} of {' and '.join(deployments)}; what is open moves at the close"
    told = {"promoted": name, "deployments": deployments, "percent": percent, "message": text}
    emit(common, told, lambda: print(text))
    return EXIT_DONE


async def deployments_of(known: "Builds", build: str, percent: int | None) -> list[str]:
    """The deployments that have such a build: a release may be of orders alone.

    Raises:
        Refused: none has, or in one of them it cannot be promoted so. Nothing was changed in any.
    """
    found = []
    for queue in VERSIONED:
        own = next((each for each in await known.read(queue.value) if each.build_id == build), None)
        if own is None:
            continue
        if percent is not None and own.state is BuildState.CURRENT:
            raise Refused(
                f"{clean(build)} is the current build of {queue.value} already: it gets all new work",
                do="promote another build, with --percent if you like",
            )
        if build not in await known.attended(queue.value, utc_now()):
            raise Refused(
                f"no process of {queue.value} {clean(build)} asks for work", do=f"start its workers; {_LOOK}"
            )
        found.append(queue.value)
    if not found:
        raise Refused(f"no process of a build {clean(build)} has ever asked for work", do=_LOOK)
    return found


async def drain(build: BuildId, /, *, common: Common = NO_OPTIONS) -> int:
    """Tell every open order of a former build to move to the current one now, without waiting for the close."""
    from temporalio.service import RPCError

    from activities.builds import Builds
    from activities.starter import TemporalUnavailable

    name, told = _name(build), 0
    client = await connect(common.addresses())
    known = Builds(client)
    try:
        found = next((one for one in await known.read(Queue.ORDERS.value) if one.build_id == name), None)
        if found is None:
            raise Refused(f"there is no build {clean(name)} of orders", do=_LOOK)
        if found.state is not BuildState.DRAINING and found.state is not BuildState.DRAINED:
            raise Refused(f"{clean(name)} is {found.state.value}: nothing moves away from it", do=_LOOK)
        async for workflow_id in known.open_ids(found):
            handle = client.get_workflow_handle(workflow_id)
            await handle.signal(SIGNAL_NEXT_BUILD, "drain", rpc_timeout=SIGNAL_RPC_TIMEOUT)
            told += 1
    except (RPCError, TemporalUnavailable) as error:
        raise DependencyDown(f"after {told} workflows: {error}", do="drain it again") from error
    text = f"{told} workflows of {name} were told to move to the current build"
    emit(common, {"told": told, "message": text}, lambda: print(text))
    return EXIT_DONE


def _name(build: str) -> str:
    if not re.fullmatch(BUILD_PATTERN, build):
        raise BadUsage(f"{clean(build)} is no build's name", do=_LOOK)
    return build


def _draw(found: "list[Build]") -> None:
    if not found:
        print("no builds: orders and operations run in one process, or have not started yet")
        return
    now = utc_now()
    lines: list[tuple[Any, ...]] = [
        (
            each.deployment,
            each.build_id,
            f"{each.state.value} {each.ramp_percent} %" if each.ramp_percent else each.state.value,
            ago(each.since, now),
            each.open_workflows,
            "yes" if each.attended else "NO",
        )
        for each in found
    ]
    columns = ("deployment", "build", "state", "since", "open", "runs")
    console().print(table(columns, lines, right=("open",)))
