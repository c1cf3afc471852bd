"""What `trading doctor` says of one part."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    """Not a fault, but worth knowing."""
    WRONG = "wrong"
    DOWN = "down"


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``do`` says what to do where it is not well."""

    name: str
    state: State
    detail: str
    do: str = ""
