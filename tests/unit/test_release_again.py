"""A release that comes between two runs of the kill switch is given again, a bounded number of times."""

from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from console.acts.kill import RELEASE_TRIES_MAX, release_switch
from console.errors import Refused
from schemas.kill import KillState, ReleaseAnswer, ReleaseGrant
from schemas.wire import ASK_AGAIN
from tests.unit.risk_builders import NOW

GRANT = ReleaseGrant(
    account="A1",
    epoch=1,
    nonce="n" * 32,
    expires_at=NOW,
    person="ana",
    reason="checked",
    key_id="k",
    signature="s",
)
RELEASED = ReleaseAnswer(released=True, message="released", state=KillState(engaged=False, epoch=2))


class Switch:
    """A workflow that says so many times that it is between two runs."""

    def __init__(
        self, between: int, last: Any = RELEASED, why: str = f"an update between two runs {ASK_AGAIN}"
    ) -> None:
        self.between, self.last, self.why = between, last, why
        self.asked: list[str] = []

    def get_workflow_handle(self, _: str) -> "Switch":
        return self

    async def execute_update(self, _: str, grant: ReleaseGrant, *, id: str, **__: Any) -> ReleaseAnswer:  # noqa: A002
        self.asked.append(id)
        if len(self.asked) <= self.between:
            raise WorkflowUpdateFailedError(ApplicationError(f"{self.why}: use `trading release`"))
        answer: ReleaseAnswer = self.last
        return answer


async def release(switch: Any) -> ReleaseAnswer:
    return await release_switch(switch, GRANT, pause_seconds=0)


async def test_it_is_given_again_with_the_same_grant_until_the_next_run_takes_it() -> None:
    switch = Switch(between=RELEASE_TRIES_MAX - 1)
    assert (await release(switch)).released
    assert switch.asked == [GRANT.nonce] * RELEASE_TRIES_MAX


async def test_it_gives_up_in_the_end_and_says_that_it_stays_engaged() -> None:
    switch = Switch(between=10**6)
    with pytest.raises(Refused, match=r"still ENGAGED.*ask again"):
        await release(switch)
    assert len(switch.asked) == RELEASE_TRIES_MAX


async def test_any_other_refusal_is_told_at_once() -> None:
    switch = Switch(between=10**6, why="an update without a readable grant")
    with pytest.raises(Refused, match="still ENGAGED"):
        await release(switch)
    refused = Switch(
        between=0, last=RELEASED.model_copy(update={"released": False, "message": "used before"})
    )
    with pytest.raises(Refused, match="used before"):
        await release(refused)
    assert (len(switch.asked), len(refused.asked)) == (1, 1)
