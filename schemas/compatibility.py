"""Whether a payload's JSON Schema may follow an earlier one: nobody who wrote or reads by the earlier may break.

What was published must stay readable (no new required field, nothing narrowed), and who reads must find what was
there (no field removed, none that may now be missing). A new optional field is fine, and so is a new enum value: it
ships one release before it is sent.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.base import DECIMAL_PATTERN, NUMBER_PATTERN

Schema = Mapping[str, Any]

_ONLY_SMALLER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_ONLY_LARGER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_WIDER_PATTERNS: Final = {(DECIMAL_PATTERN, NUMBER_PATTERN)}
"""(earlier, later): whatever the earlier one admits, the later one admits too."""
_SAME: Final = ("pattern", "format", "multipleOf", "uniqueItems")


def incompatibilities(topic: str, old: Schema, new: Schema) -> list[str]:
    """What breaks, each naming the topic and the field; empty where ``new`` may replace ``old``."""
    return [f"{topic}: {text}" for text in _Comparison(old, new).differences(old, new, "")]


class _Comparison:
    """Two documents, each with definitions of its own."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new

    def differences(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        """Each old alternative must have a new one that admits all of it."""
        alternatives = list(_alternatives(new, self._new))
        for each in _alternatives(old, self._old):
            told = [list(self._narrowed(each, other, field)) for other in alternatives if _alike(each, other)]
            if not told:
                yield f"{_name(field)} is narrowed: it may no longer be {_kind(each)}"
            elif all(told):
                yield from min(told, key=len)

    def _narrowed(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        yield from self._values(old, new, field)
        for key in (*_SAME, *_ONLY_SMALLER, *_ONLY_LARGER):
            if key in new and _tighter(key, old.get(key), new[key]):
                yield f"{_name(field)} is narrowed: {key} {old.get(key, 'none')} became {new[key]}"
        if "properties" in old or "properties" in new:
            yield from self._fields(old, new, field)
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        yield from self._inner(before, after, f"{field}.*")
        yield from self._inner(old.get("items", True), new.get("items", True), f"{field}[]")

    def _values(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        allowed, before = _enumerated(new), _enumerated(old)
        if allowed is None:
            return
        if before is None:
            yield f"{_name(field)} is narrowed: only {', '.join(map(str, allowed))}"
        elif gone := [str(each) for each in before if each not in allowed]:
            yield f"{_name(field)} is narrowed: no longer {', '.join(gone)}"

    def _fields(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = old.get("required", ()), new.get("required", ())
        for name, schema in before.items():
            path = f"{field}.{name}"
            if name not in after:
                yield f"{_name(path)} was removed: readers count on it"
                continue
            if name in needed_before and name not in needed_after:
                yield f"{_name(path)} may be missing now: readers count on it"
            yield from self.differences(schema, after[name], path)
        for name in needed_after:
            if name not in needed_before:
                yield f"{_name(f'{field}.{name}')} is newly required: what was published before has none"

    def _inner(self, old: Any, new: Any, field: str) -> Iterator[str]:
        if new is True:
            return
        if new is False or old is True:
            if new != old:
                yield f"{_name(field)} is narrowed: not everything is allowed any more"
            return
        if old is not False:
            yield from self.differences(old, new, field)


def _alternatives(schema: Schema, document: Schema) -> Iterator[Schema]:
    """What it may be, references followed."""
    if "$ref" in schema:
        found: Any = document
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[part]
        yield from _alternatives(found, document)
    elif each := schema.get("anyOf") or schema.get("oneOf"):
        for one in each:
            yield from _alternatives(one, document)
    elif isinstance(kinds := schema.get("type"), list):
        for kind in kinds:
            yield {**schema, "type": kind}
    else:
        yield schema


def _alike(old: Schema, new: Schema) -> bool:
    kind = new.get("type")
    return kind is None or kind == old.get("type") or (kind == "number" and old.get("type") == "integer")


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _tighter(key: str, old: Any, new: Any) -> bool:
    if key in _SAME or old is None:
        return bool(old != new) and (old, new) not in _WIDER_PATTERNS
    return bool(new < old) if key in _ONLY_SMALLER else bool(new > old)


def _name(field: str) -> str:
    return field.removeprefix(".") or "the payload"


def _kind(schema: Schema) -> str:
    return str(schema.get("format") or schema.get("type") or "anything")
