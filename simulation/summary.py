"""What a judge wants to know at a glance: counted from ledger records, live or restored."""

from collections import Counter
from typing import Any


class LedgerSummary:
    """Counts over every record since the ledger began."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._posts: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._plans: dict[str, Counter[str]] = {}
        self._duplicate_posts = 0
        self._executions = 0
        self._records = 0

    def add(self, record: dict[str, Any]) -> None:
        """Count one ledger record."""
        self._records += 1
        match record["kind"]:
            case "request":
                self._add_request(record)
            case "order_created":
                order = record["order"]
                if not order.get("parent_id"):
                    self._accepted[order["client_order_id"]] += 1
            case "order_executed":
                self._executions += 1
            case "fault":
                self._add_fault(record["action"], record)

    def _add_request(self, record: dict[str, Any]) -> None:
        route = f"{record['method']} {record['route']}"
        self._requests[route] += 1
        self._statuses[str(record["status"])] += 1
        if record.get("fault"):
            self._add_fault(record["fault"], record)
        if route != "POST /v2/orders":
            return
        client_order_id = record.get("client_order_id") or ""
        self._posts[client_order_id] += 1
        if record.get("duplicate"):
            self._duplicate_posts += 1

    def _add_fault(self, action: str, record: dict[str, Any]) -> None:
        self._faults[action] += 1
        plan = record.get("fault_plan")
        if plan is not None:
            self._plans.setdefault(plan, Counter())[action] += 1

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON.

        ``posts``: POST /v2/orders by client_order_id, ``""`` where none was sent; ``accepted_orders``: orders
        taken, by client_order_id; ``duplicate_posts``: POSTs refused because the id was used before;
        ``duplicate_orders``: orders beyond the first of one client_order_id; ``faults``: injected ones by
        action, ``fault_plans`` those of each plan (``header``: asked for by a request itself).
        """
        return {
            "records": self._records,
            "requests": dict(self._requests),
            "statuses": dict(self._statuses),
            "faults": dict(self._faults),
            "fault_plans": {plan: dict(counts) for plan, counts in self._plans.items()},
            "posts": dict(self._posts),
            "posts_total": self._posts.total(),
            "accepted_orders": dict(self._accepted),
            "accepted_total": self._accepted.total(),
            "duplicate_posts": self._duplicate_posts,
            "duplicate_orders": sum(count - 1 for count in self._accepted.values()),
            "executions": self._executions,
        }
