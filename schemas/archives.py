"""Retention: what goes to cold storage, what comes back, and what may be dropped for ever."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import UtcTime, Wire


class ArchiveKind(StrEnum):
    """What a file in cold storage holds."""

    AUDIT = "audit"
    """Sealed audit rows with their payloads, by sequence."""
    EVENTS = "events"
    """Events, by position."""


class ArchiveState(StrEnum):
    """How far a move is."""

    WRITING = "writing"
    CHECKED = "checked"
    """The copy was read back and holds what the database holds."""
    REMOVED = "removed"
    """What the copy holds is gone from the database, or has been restored: see `Archive.restored_at`."""


class Archive(Wire):
    """One file: rows [``first``, ``stop``) of their sequence."""

    kind: ArchiveKind
    first: int
    stop: int
    name: str
    """Of the object in the store."""
    state: ArchiveState
    oldest_at: UtcTime
    newest_at: UtcTime
    """When the rows in it occurred."""
    keep_until: UtcTime
    """Where the store locks objects nobody deletes it before."""
    started_at: UtcTime
    rows_hash: str | None = None
    object_hash: str | None = None
    object_bytes: int | None = None
    checked_at: UtcTime | None = None
    removed_at: UtcTime | None = None
    restored_at: UtcTime | None = None
    """Since when its payloads are back; they go again after a while."""

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return self.stop - self.first


class Drop(Wire):
    """A month of the audit log that is gone by right."""

    partition: str
    starts_at: UtcTime
    ends_at: UtcTime
    rows: int
    first: int | None = None
    last: int | None = None
    """The lowest and the highest sequence among them."""
    person: str
    reason: str
    dropped_at: UtcTime


class RetentionInput(Wire):
    """Input of the retention's workflow."""

    moved: int = 0
    """Files that former runs of the same chain have moved."""


class RetentionReport(Wire):
    """What a run came to."""

    files: int = 0
    problems: tuple[str, ...] = ()


class MoveOrder(Wire):
    """Input of ``move-to-cold-storage``: the next file of a kind."""

    kind: ArchiveKind
    as_of: UtcTime


class MoveAnswer(Wire):
    """What became of it."""

    moved: str | None = None
    """Name of the file whose rows are gone now; None: nothing more may go."""
    rows: int = 0
    problem: str | None = None
    """Why something that should go does not. A person was told."""


class RestoreInput(Wire):
    """Input of the restoring workflow: payloads of rows that occurred in [``since``, ``until``)."""

    since: UtcTime
    until: UtcTime
    person: Annotated[str, Field(min_length=1, max_length=100)]
    after: int = -1
    """First row of the last file that former runs of the same chain have seen."""
    so_far: "RestoreReport | None" = None


class RestoreOrder(Wire):
    """Input of ``restore-from-cold-storage``: the next file after ``after``."""

    since: UtcTime
    until: UtcTime
    person: str
    after: int = -1
    as_of: UtcTime


class RestoreAnswer(Wire):
    """One file, or none left."""

    first: int | None = None
    name: str = ""
    rows: int = 0
    """Payloads that came back; 0: they were here."""
    refused: str | None = None
    """Why this file's did not: what the store holds is not what the rows were hashed from, or the rows are gone."""


class RestoreReport(Wire):
    """What came back."""

    files: int = 0
    rows: int = 0
    refused: tuple[str, ...] = ()


class DropGrant(Wire):
    """A person's signed word that a month of the audit log may go. Ed25519 over the canonical JSON without
    ``signature``.
    """

    act: str = "drop-audit-partition"
    """So that no other kind of grant can be read as one of these."""
    account: str
    partition: Annotated[str, Field(pattern=r"^audit_log_\d{4}_\d{2}$")]
    nonce: Annotated[str, Field(min_length=16, max_length=64)]
    expires_at: UtcTime
    person: Annotated[str, Field(min_length=1, max_length=100)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    key_id: str
    signature: str
    """Hex."""


class DropOrder(Wire):
    """Input of ``drop-audit-partition``."""

    grant: DropGrant
    as_of: UtcTime


class DropAnswer(Wire):
    dropped: bool
    message: str
    rows: int = 0
