"""A batch of rows as the verifier holds it: what each gives when it is hashed anew, and what is kept with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from audit.check.findings import Wrong

NO_LEAF = b""
"""The row is not there, or cannot be read: it gives no leaf."""


class Named(NamedTuple):
    """What a person looks a row up by."""

    audit_id: int | None
    correlation_id: str | None


@dataclass(slots=True)
class Digest:
    """Rows in the order in which they came; all lists are of one length."""

    sequences: Sequence[int | None]
    """None: it could not be read."""
    leaves: list[bytes]
    """Computed anew from the row."""
    stored: list[bytes]
    """Kept with the row."""
    previous: list[str | None]
    """The checkpoint that the row names as the newest before it."""
    name: Callable[[int], Named]
    """The ids of the row at a place in this batch; asked for what is told only."""
    wrong: dict[int, tuple[Wrong, str]] = field(default_factory=dict)
    """Place in this batch → what the row shows by itself."""
    payloads: int = 0
    elsewhere: int = 0
    """Rows without a payload here."""
    dropped: int = 0
    """Rows gone by right: their leaf stands for them."""

    def __len__(self) -> int:
        return len(self.leaves)

    def tail(self, start: int) -> "Digest":
        """The rows from one on."""
        return Digest(
            sequences=self.sequences[start:],
            leaves=self.leaves[start:],
            stored=self.stored[start:],
            previous=self.previous[start:],
            name=lambda place: self.name(start + place),
            wrong={place - start: what for place, what in self.wrong.items() if place >= start},
        )

    def followed_by(self, other: "Digest") -> "Digest":
        """Both, as one batch."""
        count = len(self)
        return Digest(
            sequences=[*self.sequences, *other.sequences],
            leaves=self.leaves + other.leaves,
            stored=self.stored + other.stored,
            previous=self.previous + other.previous,
            name=lambda place: self.name(place) if place < count else other.name(place - count),
            wrong=self.wrong | {place + count: what for place, what in other.wrong.items()},
            payloads=self.payloads + other.payloads,
            elsewhere=self.elsewhere + other.elsewhere,
            dropped=self.dropped + other.dropped,
        )
