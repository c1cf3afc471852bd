"""The event bus as its consumers see it. There is one way to publish, the outbox; this is every way to be told.

A group of consumers is told every event at least once. Several consumers of a group share its events; those of one
key (an order's) are told one after the other, in their order, because a key is always in the same partition and a
partition is one consumer's at a time. A consumer that dies keeps what it was given until its lease runs out; then
another is given the same again, with a higher ``attempt``. An event that cannot be taken is put aside after
``TRIES_MAX`` attempts, told of, and kept until a person puts it back: `storage.bus_groups`.
"""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from schemas.events import Event, read_payload
from schemas.wire import GROUP_PATTERN, Topic
from storage.bus import BusEvent

BATCH: Final = 100
"""Events handed out at once."""
LEASE_SECONDS: Final = 30.0
"""How long a consumer may take for what it was given, until it acknowledges or says that it goes on."""
WAIT_SECONDS: Final = 1.0
"""How long is waited for a wake-up, should one have been lost."""


class BusUnavailable(Exception):
    """The bus does not answer. Nothing was lost; what is not acknowledged comes again."""


class BadAddress(Exception):
    """The bus's address is none. No part of it is told: what stands in the wrong place may be the password."""


class LeaseLost(Exception):
    """The partition is another's by now: what was not acknowledged is delivered again, by another or to another."""


class BadGroup(Exception):
    """No group can be called so, or begin there, or it is not there any more; the message says why."""


@dataclass(frozen=True)
class Delivery:
    """One event as it is told.

    ``attempt`` is 1 the first time. Above that the event may have been told before: by ``event_id`` it is the same.
    """

    event: BusEvent
    attempt: int
    letter: bool = False
    """A person had it put back: it comes out of its order."""

    def payload(self) -> Event:
        """The payload as its topic's model."""
        return read_payload(Topic(self.event.topic), self.event.payload)


@dataclass(frozen=True)
class Batch:
    """What a consumer was given of one partition, in order. Without deliveries: nothing has come."""

    partition: int
    fence: int
    """Grows with each lease of the partition: whoever keeps what he was told can refuse a smaller one."""
    deliveries: tuple[Delivery, ...]
    handle: object
    """The adapter's own."""


NOTHING: Final = Batch(partition=-1, fence=-1, deliveries=(), handle=None)


class Consumer(Protocol):
    """One consumer of a group. Not for several tasks at once."""

    async def take(self, *, limit: int = BATCH) -> Batch:
        """The next events of one partition; waits up to ``WAIT_SECONDS`` and gives `NOTHING` when none come.

        Acknowledge, fail or give up one batch before the next: its partition stays ours until its lease runs out.

        Raises:
            BusUnavailable.
            BadGroup: there is no such group (any more).
        """

    async def acknowledge(self, batch: Batch, count: int | None = None) -> None:
        """The first ``count`` are done and the lease is new; all of them (None): the partition is given back too.

        Raises:
            LeaseLost, BusUnavailable.
        """

    async def fail(self, batch: Batch, count: int, error: str) -> None:
        """The first ``count`` are done, the next one could not be taken; the partition is given back.

        It is told again after a pause, and what stands behind it only then; or it is put aside.

        Raises:
            LeaseLost, BusUnavailable.
        """


class EventBus(Protocol):
    """One adapter."""

    async def create_group(self, group: str, *, since: int | datetime | None = None) -> None:
        """Make the group unless it is there: from a position or a time on, or (None) from what comes next.

        Raises:
            BadGroup, BadAddress, BusUnavailable.
        """

    def consumer(self, group: str, name: str) -> AbstractAsyncContextManager[Consumer]:
        """One more consumer of the group, for the length of the block. ``name`` is for people who look."""


def checked_group(group: str) -> str:
    """Return the name if a group may have it.

    Raises:
        BadGroup: it may not.
    """
    if not re.fullmatch(GROUP_PATTERN, group):
        raise BadGroup(f"{group!r} is no group's name: small letters, digits, dots and dashes, at most 64")
    return group


def no_such_group(group: str) -> BadGroup:
    """Return what a consumer of a group that was dropped, or never made, is told."""
    return BadGroup(f"there is no group {group}: it was dropped, or never made")
