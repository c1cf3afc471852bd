"""Whatever a document of ours allows, and what it does not, is sent; what comes back must be documented."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
STREAM: Final = "text/event-stream"
SECONDS_MAX: Final = 60

STATUSES: Final = [not_a_server_error, status_code_conformance]
"""For a document that says what goes in, how it ends, and not how pages look."""


def fuzz(
    url: str,
    document: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    examples: int,
    checks: Sequence[Any] = CHECKS,
    without: tuple[str, ...] = (),
) -> Counter[str]:
    """Send ``examples`` good and as many bad requests to each operation; how many answers each status had.

    Blocks. The same requests each time. ``without``: how paths begin that are left out.

    Raises:
        AssertionError, FailureGroup: an answer of 5xx, or one that the document does not have; with the request.
    """
    schema = schemathesis.openapi.from_dict(dict(document))
    sender = _Sender(url, headers, checks, examples)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith(without):
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            # Of some nothing can be wrong.
            nothing = (schemathesis.errors.SchemathesisError, Unsatisfiable)
            with suppress(*(nothing if mode is schemathesis.GenerationMode.NEGATIVE else ())):
                sender.send(operation, operation.as_strategy(generation_mode=mode))
    return sender.seen


class _Sender:
    """Requests with the same headers, and what came back."""

    def __init__(self, url: str, headers: Mapping[str, str], checks: Sequence[Any], examples: int) -> None:
        self._url = url
        self._headers = headers
        self._checks = list(checks)
        self._examples = examples
        self.seen: Counter[str] = Counter()

    def send(self, operation: Any, cases: Any) -> None:
        @settings(
            max_examples=self._examples, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
        )  # fmt: skip
        @given(case=cases)
        def one(case: Any) -> None:
            case.headers = {**(case.headers or {}), **self._headers}
            status = self._stream(operation, case) if _is_stream(operation) else self._whole(case)
            self.seen[f"{operation.method.upper()} {operation.path} {status}"] += 1

        one()

    def _whole(self, case: Any) -> int:
        answer = case.call(base_url=self._url, timeout=SECONDS_MAX, allow_redirects=False)
        case.validate_response(answer, checks=self._checks)
        return int(answer.status_code)

    def _stream(self, operation: Any, case: Any) -> int:
        """A stream has no end: its head is what is judged."""
        sent = case.as_transport_kwargs(base_url=self._url)
        with requests.request(**sent, stream=True, timeout=SECONDS_MAX) as answer:
            assert answer.status_code < 500, sent
            documented = operation.definition.raw["responses"]
            if status_code_conformance in self._checks:
                assert str(answer.status_code) in documented, (sent, answer.status_code)
            if content_type_conformance in self._checks:
                kind = answer.headers.get("content-type", "").partition(";")[0]
                assert kind in documented[str(answer.status_code)]["content"], (sent, kind)
            return int(answer.status_code)


def _is_stream(operation: Any) -> bool:
    return STREAM in str(operation.definition.raw["responses"].get("200", {}))
