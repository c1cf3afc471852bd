"""What the answers to cancel requests mean."""

import re
from typing import Any

from broker.alpaca import parse
from broker.alpaca.errors import Answer, Kind, UnreadableError, classify
from broker.errors import BrokerError, NotCancelable, NotFound
from schemas.orders import CancelAnswer

_ALREADY = re.compile(r'already in "?(\w+)"? state')
_ENDED = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
_ASKED_BEFORE = frozenset({"pending_cancel"})


def answer_of(error: BrokerError) -> CancelAnswer:
    """The answer that an error means.

    Raises:
        NotCancelable: the order lives and cannot be cancelled now.
    """
    if isinstance(error, NotFound):
        return CancelAnswer.UNKNOWN_ORDER
    if not isinstance(error, NotCancelable):
        return CancelAnswer.UNKNOWN_OUTCOME
    match = _ALREADY.search(error.message.lower())
    state = match[1] if match else ""
    if state in _ENDED:
        return CancelAnswer.TOO_LATE
    if state in _ASKED_BEFORE:
        return CancelAnswer.REQUESTED
    raise error


def answers_of_all(raw: Any) -> dict[str, CancelAnswer]:
    """The 207 body of DELETE /v2/orders: one status for each order."""
    return {parse.text(row, "id"): _one(row) for row in map(parse.as_object, parse.as_list(raw))}


def _one(row: parse.Json) -> CancelAnswer:
    status = row.get("status")
    if not isinstance(status, int):
        raise UnreadableError("status is not a number")
    if 200 <= status < 300:
        return CancelAnswer.REQUESTED
    try:
        return answer_of(classify(Kind.CANCEL, Answer.of_json(status, row.get("body"))))
    except NotCancelable:
        return CancelAnswer.UNKNOWN_OUTCOME
