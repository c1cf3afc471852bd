"""A log line as a person reads it: time, level, process, what, and the rest by name."""

import json
from typing import Any, Final

from console.common import clean, use_colours
from console.log_lines import Line

COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
SHOWN_BEFORE: Final = frozenset(
    {"timestamp", "level", "service", "event", "mode", "logger", "trace_id", "span_id"}
)
BELOW: Final = frozenset({"failed", "exception", "stack"})
"""Fields that get lines of their own."""


def show(line: Line, *, as_json: bool) -> None:
    """Print it: as it was written, or for people."""
    print(line.raw if as_json else _for_people(line))


def _for_people(line: Line) -> str:
    fields, level = line.fields, str(line.fields.get("level", "info"))
    mode = fields.get("mode")
    head = (
        f"{line.at:%Y-%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03d}",
        _coloured(f"{level:<8}", COLOURS.get(level, "0")),
        f"{clean(line.process):<10}",
        *((_coloured("LIVE", "1;31"),) if mode == "live" else ()),
        _coloured(clean(fields.get("event", "")), "1"),
    )
    named = [
        f"{clean(name)}={_value(each)}" for name, each in fields.items() if name not in SHOWN_BEFORE | BELOW
    ]
    below = [text for name in sorted(BELOW & fields.keys()) for text in _below(name, fields[name])]
    return "\n".join([" ".join((*head, *named)), *(f"    {text}" for text in below)])


def _below(name: str, value: Any) -> list[str]:
    if name == "failed" and isinstance(value, list):
        return [
            f"{clean(each.get('check'))}: {clean(each.get('value'))}, allowed {clean(each.get('limit'))}: "
            f"{clean(each.get('formula'))}"
            for each in value
            if isinstance(each, dict)
        ]
    if name == "exception" and isinstance(value, list):
        return [
            f"{clean(each.get('exc_type'))}: {clean(each.get('exc_value'))}"
            for each in value
            if isinstance(each, dict)
        ]
    return [clean(value)]


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = clean(text)
    return f'"{shown}"' if " " in shown and isinstance(value, str) else shown


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if use_colours() else text
