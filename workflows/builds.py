"""How a long workflow goes on as a fresh run, and when it moves to another build.

An order stays with the build that it began with. One that outlives the session is told at the close (signal
``next-build``, from `workers.build_watch`) and goes on as new, which the server gives to the build that is current
then. All of an order's state is in its row, so nothing but the start is carried and no old history meets new code.
"""

from typing import Any, NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from schemas import wire


def left_behind() -> bool:
    """Whether another build than this run's gets new work, as of the last workflow task. Never without builds."""
    return workflow.info().is_target_worker_deployment_version_changed()


class Move:
    """Whether this run has been told that it may go on with another build."""

    def __init__(self) -> None:
        self._told = False

    def hear(self, signal: str) -> None:
        """Only ``next-build`` is a word about builds."""
        self._told = self._told or signal == wire.SIGNAL_NEXT_BUILD

    @property
    def is_due(self) -> bool:
        """Told, and it is so: whoever sends the signal for no reason moves nothing."""
        return self._told and left_behind()


def go_on_as_new(start: Any) -> NoReturn:
    """End this run and begin the next one: with the build that gets new work, where that is another.

    The behaviour is named only then: a run without a build keeps going without one.
    """
    to_the_target = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
    workflow.continue_as_new(start, initial_versioning_behavior=to_the_target if left_behind() else None)
