"""Paper or live: what the broker connection said of itself when the database was bound to it."""

from enum import StrEnum


class Mode(StrEnum):
    """Of the installation; anything that is not understood is paper."""

    PAPER = "paper"
    LIVE = "live"

    @classmethod
    def read(cls, text: str | None) -> "Mode":
        """As a row says it."""
        return cls.LIVE if text == cls.LIVE else cls.PAPER
