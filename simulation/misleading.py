"""Answers that are well formed and wrong, on order: a read from before the last write, a clock that is off."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

ANSWERS_KEPT_MAX = 32

Question = tuple[str, tuple[tuple[str, str], ...]]


class EarlierAnswers:
    """What a read was answered the last time it was asked, for the few questions asked last."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[Question, Any] = OrderedDict()

    def remember(self, path: str, query: Mapping[str, str], body: Any) -> None:
        question = _question(path, query)
        self._bodies[question] = body
        self._bodies.move_to_end(question)
        if len(self._bodies) > ANSWERS_KEPT_MAX:
            self._bodies.popitem(last=False)

    def of(self, path: str, query: Mapping[str, str]) -> Any:
        """The earlier body, None if the question is new."""
        return self._bodies.get(_question(path, query))


def _question(path: str, query: Mapping[str, str]) -> Question:
    return path, tuple(sorted(query.items()))


def skewed(body: Any, skew_ms: int) -> Any:
    """The body with its ``timestamp`` so many milliseconds later; a body without one as it is."""
    if not isinstance(body, dict) or "timestamp" not in body:
        return body
    moment = datetime.fromisoformat(body["timestamp"]) + timedelta(milliseconds=skew_ms)
    return body | {"timestamp": moment.isoformat(timespec="microseconds")}
