"""What a person sees of an order in the Temporal Web UI: search attributes, current details, timeline."""

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

with workflow.unsafe.imports_passed_through():
    from schemas.base import decimal_text
    from schemas.orders import OrderView, price_line
    from schemas.runs import OrderOutcome
    from schemas.signals import TimelineEntry
    from workflows.policies import TIMELINE_MAX

ORDER_STATUS = SearchAttributeKey.for_keyword("OrderStatus")
FLAGS = SearchAttributeKey.for_keyword_list("Flags")


class Blotter:
    """One order's line and story, upserted only where they change."""

    def __init__(self, display: str) -> None:
        self._display = display
        self._status: str | None = None
        self._flags: tuple[str, ...] = ()
        self._waiting = ""
        self.timeline: list[TimelineEntry] = []

    @property
    def waiting_for(self) -> str:
        return self._waiting

    def note(self, component: str, decision: str, detail: str = "") -> None:
        """Add a line to the story; the oldest go beyond ``TIMELINE_MAX``."""
        self.timeline.append(
            TimelineEntry(
                at=workflow.now(), component=component, actor="workflow", decision=decision, detail=detail
            )
        )
        del self.timeline[:-TIMELINE_MAX]

    def show(self, order: OrderView | None, waiting_for: str) -> None:
        """Bring the Web UI up to date."""
        self._waiting = waiting_for
        if order is not None:
            self._upsert(order)
        workflow.set_current_details(self._markdown(order))

    def _upsert(self, order: OrderView) -> None:
        updates: list[SearchAttributeUpdate[Any]] = []
        flags = tuple(flag.value for flag in order.flags)
        if order.status.value != self._status:
            updates.append(ORDER_STATUS.value_set(order.status.value))
        if flags != self._flags:
            updates.append(FLAGS.value_set(flags))
        if updates:
            workflow.upsert_search_attributes(updates)
        self._status, self._flags = order.status.value, flags

    def _prices(self, order: OrderView) -> str:
        if order.limit_price is None and order.stop_price is None:
            return "at the collar"
        return price_line(order.action.side, order.limit_price, order.stop_price)

    def _markdown(self, order: OrderView | None) -> str:
        lines = [f"### {self._display}" if self._display else "### order"]
        if order is None:
            return "\n\n".join([*lines, self._waiting])
        filled = f"{decimal_text(order.filled_quantity)} of {decimal_text(order.quantity)}"
        if order.average_price is not None:
            filled += f" at {order.average_price:.4f}"
        rows = [
            ("state", f"**{order.status.value}**" + "".join(f" · {flag.value}" for flag in order.flags)),
            ("filled", filled),
            ("price", self._prices(order)),
            ("client order id", f"`{order.client_order_id}`" if order.client_order_id else "not sent"),
            ("broker order id", f"`{order.broker_order_id}`" if order.broker_order_id else "unknown"),
            ("reason", order.reason or ""),
            ("message", order.user_message or ""),
            ("waiting for", self._waiting),
        ]
        table = ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows if value]
        return "\n".join([*lines, "", *table])


def outcome_of(order: OrderView) -> OrderOutcome:
    """What the workflow of a settled order answers."""
    return OrderOutcome(
        signal_id=order.signal_id,
        status=order.status,
        filled_quantity=str(order.filled_quantity),
        average_price=None if order.average_price is None else str(order.average_price),
        reason=order.reason,
    )
