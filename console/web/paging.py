"""What lists share: a filter that was typed, and where a page begins."""

from typing import Annotated, Final

from fastapi import Query

from console.web.problems import invalid
from storage.blotter import Mark

TEXT_MAX: Final = 128

Typed = Annotated[str | None, Query(max_length=TEXT_MAX)]
Before = Annotated[str | None, Query(max_length=400)]


def given(text: str | None) -> str | None:
    """None for an empty field of a form; no code zero, which no row can hold."""
    stripped = (text or "").replace("\0", "").strip()
    return stripped or None


def mark(before: str | None) -> Mark | None:
    """Where the page begins.

    Raises:
        WebError: that is no page's beginning.
    """
    if not before:
        return None
    try:
        return Mark.parse(before)
    except ValueError as error:
        raise invalid("`before` does not come from a page of this console") from error
