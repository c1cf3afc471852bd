"""Locks of tickers: nothing new is opened in one while any of its locks holds."""

from uuid import UUID

from schemas.base import UtcTime, Wire


class SymbolLock(Wire):
    """One lock, by one person, for one reason."""

    lock_id: UUID
    ticker: str
    locked_at: UtcTime
    until: UtcTime | None = None
    """It holds before this instant; None: until a person lifts it."""
    reason: str
    locked_by: str

    @property
    def text(self) -> str:
        """In one line, for people."""
        end = "until it is lifted" if self.until is None else f"until {self.until.isoformat()}"
        return f"locked {end} by {self.locked_by}: {self.reason}"


class SymbolLockRow(SymbolLock):
    """With who set it, and how it ended if a person ended it."""

    person_id: UUID | None = None
    """The account of who set it; None: from the command line."""
    lifted_at: UtcTime | None = None
    lifted_by: str | None = None
    lift_reason: str | None = None
