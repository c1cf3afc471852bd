"""Whatever a document of ours allows, and what it does not, is sent; what comes back must be documented."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
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


def fuzz(
    url: str, document: Mapping[str, Any], headers: Mapping[str, str], *, examples: int, seed: int = 1
) -> Counter[str]:
    """Send ``examples`` good and as many bad requests to each operation; how many answers each status had.

    Blocks; the same seed sends the same.

    Raises:
        AssertionError: an answer of 5xx, or one that the document does not have: the request is in it.
    """
    schema = schemathesis.openapi.from_dict(dict(document))
    seen: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                cases = operation.as_strategy(generation_mode=mode)
            except schemathesis.errors.SchemathesisError:  # nothing can be wrong about it
                continue
            _send(cases, operation, url, headers, seen, examples, seed)
    return seen


def _send(
    cases: Any,
    operation: Any,
    url: str,
    headers: Mapping[str, str],
    seen: Counter[str],
    examples: int,
    number: int,
) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=number == 1,
        suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    @given(case=cases)
    def one(case: Any) -> None:
        case.headers = {**(case.headers or {}), **headers}
        if STREAM in str(operation.definition.raw.get("responses", {}).get("200", {})):
            status = _first_of_a_stream(case, operation, url)
        else:
            answer = case.call(base_url=url, timeout=SECONDS_MAX)
            case.validate_response(answer, checks=CHECKS)
            status = answer.status_code
        seen[f"{operation.method.upper()} {operation.path} {status}"] += 1

    one()


def _first_of_a_stream(case: Any, operation: Any, url: str) -> int:
    """A stream has no end: its head is what is judged."""
    sent = case.as_transport_kwargs(base_url=url)
    with requests.request(**sent, stream=True, timeout=SECONDS_MAX) as answer:
        documented = operation.definition.raw["responses"]
        assert str(answer.status_code) in documented, (sent, answer.status_code)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        assert kind in documented[str(answer.status_code)].get("content", {kind: None}), (sent, kind)
        return int(answer.status_code)
