"""How a person's words become a row of limits: fields edited on what lasts, stored under the account's lock."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from console.acts.limits import SHOW, Wanted
from console.common import clean
from console.errors import BadUsage
from schemas.limits import LISTS, MODELS, NewDocument, faults
from schemas.risk import Limits, LimitScope

if TYPE_CHECKING:
    pass

NONE: Final = "none"
"""What takes a field out of a strategy's or ticker's row, so that the account's counts alone."""
FILE_BYTES_MAX: Final = 64 * 1024

_EDIT: Final = re.compile(r"([A-Za-z_]+)(\+=|-=|=)(.*)", re.DOTALL)
_SPAN: Final = re.compile(r"(\d{1,5})([smh])")
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}


def wanted(strategy: str | None, ticker: str | None) -> Wanted:
    """Whose limits the two options name.

    Raises:
        BadUsage: both.
    """
    if strategy is not None and ticker is not None:
        raise BadUsage("limits are of a strategy or of a ticker, not of both", do="name one of them")
    if strategy is not None:
        return Wanted(LimitScope.STRATEGY, strategy)
    return Wanted(LimitScope.ACCOUNT) if ticker is None else Wanted(LimitScope.TICKER, ticker)


def edited(scope: LimitScope, stored: Mapping[str, Any], edits: Sequence[str]) -> NewDocument:
    """``stored`` with each ``FIELD=VALUE``, ``LIST+=A,B`` or ``LIST-=A`` done to it.

    Raises:
        BadUsage: an edit that cannot be read, or a document that is not whole with them.
    """
    document = dict(stored)
    for edit in edits:
        found = _EDIT.fullmatch(edit)
        if found is None:
            raise BadUsage(f"{clean(edit)} is no change", do="FIELD=VALUE, LIST+=A,B or LIST-=A")
        field, sign, value = found.groups()
        _known(scope, field)
        if sign == "=" and value.strip().lower() == NONE and scope is not LimitScope.ACCOUNT:
            document.pop(field, None)
        elif field in LISTS:
            document[field] = _list(sign, document.get(field) or (), value)
            if field == "allowed_tickers" and sign == "-=" and document[field] == []:
                raise BadUsage(
                    "no allowed ticker would be left, and an empty list allows every ticker",
                    do="to allow none: restricted_tickers+=...; to allow every one: allowed_tickers=",
                )
        elif sign != "=":
            raise BadUsage(f"{field} is no list: {sign} does not apply", do=f"{field}=VALUE")
        else:
            document[field] = value.strip()
    return made(scope, document)


def from_file(scope: LimitScope, path: Path) -> NewDocument:
    """The document in a file: for the account every limit, for a strategy or ticker those that it is to have.

    Raises:
        BadUsage: no JSON object, or not whole.
    """
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(FILE_BYTES_MAX), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise BadUsage(
            f"{path} cannot be read: {error}", do="write one JSON object: field to value"
        ) from error
    if not isinstance(found, dict):
        raise BadUsage(f"{path} holds no JSON object", do="write one: field to value")
    for field in found:
        _known(scope, field)
    return made(scope, found)


def made(scope: LimitScope, document: Mapping[str, Any]) -> NewDocument:
    """A sound document of the scope with at least one field.

    Raises:
        BadUsage: it is not.
    """
    try:
        found = MODELS[scope].model_validate(dict(document))
    except ValidationError as error:
        raise BadUsage(faults(error), do=f"nothing was changed; {SHOW}") from error
    if not found.model_dump(exclude_none=True):
        raise BadUsage("no limit would be left", do="`trading limits clear` takes a row away")
    return found


def until(text: str, now: datetime, *, option: str = "--until") -> datetime:
    """When something ends: ``30m``, ``2h``, ``90s`` from now, or a time with its zone. ``option`` is what asked.

    Raises:
        BadUsage: neither.
    """
    if (span := _SPAN.fullmatch(text.strip())) is not None:
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadUsage(
        f"{clean(text)} is no end", do=f"{option} 30m, {option} 2h or {option} 2026-11-26T15:00:00Z"
    )


def _known(scope: LimitScope, field: str) -> None:
    if field in MODELS[scope].model_fields:
        return
    if field not in Limits.model_fields:
        raise BadUsage(f"no limit is called {clean(field)}", do=SHOW)
    others = [each.value for each in LimitScope if field in MODELS[each].model_fields]
    raise BadUsage(
        f"{field} is not measured for a {scope.value} by itself",
        do=f"it can be set for: {', '.join(others)}",
    )


def _list(sign: str, before: Sequence[str], value: str) -> list[str]:
    named = [each.strip() for each in value.split(",") if each.strip()]
    if sign == "-=":
        return [each for each in before if each not in named]
    return list(dict.fromkeys([*(before if sign == "+=" else ()), *named]))
