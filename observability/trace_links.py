"""From a stored ``traceparent`` to the page where a person reads the trace. Loads nothing of OpenTelemetry."""

import re
from typing import Final

_SHAPE: Final = re.compile(r"00-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace of a stored ``traceparent``, 32 lower-case hexadecimal digits; None where it is none."""
    match = _SHAPE.fullmatch(traceparent or "")
    return None if match is None or not match["trace"].strip("0") else match["trace"]


def trace_link(template: str | None, traceparent: str | None) -> str | None:
    """Where a person reads this trace: ``TRADING_TRACE_URL`` with its ``{trace_id}`` filled in; None: nowhere."""
    trace_id = trace_id_of(traceparent)
    return None if not template or trace_id is None else template.replace("{trace_id}", trace_id)
