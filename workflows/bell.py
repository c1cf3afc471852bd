"""The bell, beside whatever a partly filled order waits for.

Each step that asks the broker is tried until the broker answers, which may be long after the session. So the bell
has a timer of its own: whatever the order waits for then, a person hears of a rest whose end is not confirmed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.market import MarketActivities
    from activities.order_end import OrderEndActivities
    from schemas.orders import OrderStatus, OrderView
    from schemas.runs import CancelStep, OrderQuestion, SessionAnswer
    from workflows.steps import run_step

PATCH_WATCHED: Final = "end-of-day-watched"
"""A person hears at the bell of a rest that stands, also while a step waits for the broker."""
END_OF_DAY, REST_OF_FILL = "end of day", "rest of a partial fill"
"""Who cancels at the bell, and what."""
NOT_CONFIRMED: Final = "not confirmed at the bell"


class Bell:
    """Of the session in which the rest of one order stands; ``order`` tells how it is known to stand."""

    def __init__(self, signal_id: str, order: Callable[[], OrderView | None]) -> None:
        self._signal_id = signal_id
        self._order = order
        self._at: datetime | None = None
        self._watch: asyncio.Task[None] | None = None
        self._look: asyncio.Task[None] | None = None
        self._told = False

    @property
    def _rest_stands(self) -> bool:
        order = self._order()
        return order is not None and order.status is OrderStatus.PARTIALLY_FILLED

    @property
    def _is_watched(self) -> bool:
        return self._watch is not None and not self._watch.done()

    def is_told(self) -> None:
        """The order itself tells a person now, once a session."""
        self._told = True

    async def read_session(self) -> SessionAnswer:
        """How far the bell is; from now on it is watched."""
        question = OrderQuestion(signal_id=self._signal_id, as_of=workflow.now())
        session = await run_step(
            policies.READ_SESSION, MarketActivities.read_session, question, summary="when is the bell"
        )
        self._keep_watch(session.closes_in_seconds)
        return session

    async def beside(self, step: Awaitable[None]) -> None:
        """Await a step that may wait for the broker. A fill that comes meanwhile has its bell watched as well."""
        over = asyncio.Event()
        self._look = asyncio.create_task(self._look_meanwhile(over))
        try:
            await step
        finally:
            over.set()

    async def _look_meanwhile(self, over: asyncio.Event) -> None:
        await workflow.wait_condition(lambda: over.is_set() or (self._rest_stands and not self._is_watched))
        if not over.is_set() and workflow.patched(PATCH_WATCHED):
            await self.read_session()

    def _keep_watch(self, closes_in_seconds: float | None) -> None:
        """Until the bell, or for a while where it has rung. One that is watched already is only moved."""
        if closes_in_seconds is None:
            if self._is_watched or self._told:
                return
            left = policies.CANCEL_REPEAT
        else:
            left = timedelta(seconds=closes_in_seconds) + policies.BELL_GRACE
        at = workflow.now() + left
        if self._is_watched and self._at is not None and abs(at - self._at) < policies.BELL_MOVED:
            return
        if not workflow.patched(PATCH_WATCHED):
            return
        if self._watch is not None:
            self._watch.cancel()
        self._at, self._told = at, False
        self._watch = asyncio.create_task(self._tell_after(left))

    async def _tell_after(self, left: timedelta) -> None:
        try:
            await workflow.wait_condition(
                lambda: not self._rest_stands, timeout=left, timeout_summary="the bell: does the rest stand"
            )
        except TimeoutError:
            if not self._told:
                self._told = True
                await self._tell()

    async def _tell(self) -> None:
        order = self._order()
        asked = None if order is None else order.cancel_requested_by
        step = CancelStep(
            signal_id=self._signal_id,
            as_of=workflow.now(),
            actor=asked or END_OF_DAY,
            reason=NOT_CONFIRMED,
            unconfirmed_at_bell=True,
        )
        await run_step(
            policies.TELL_UNCONFIRMED,
            OrderEndActivities.tell_unconfirmed,
            step,
            summary="tell a person: the rest stands after the bell",
        )
