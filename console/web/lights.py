"""How the things that we rest on stand: one light each, with its age and a reason in words."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from risk.live_grant import GrantState, grant_line, grant_state
from schemas.clock import ClockCheck, ClockVerdict
from schemas.market import Provider
from storage.live import NewestGrant
from storage.market import QuoteAge

if TYPE_CHECKING:
    from temporalio.client import Client

TEMPORAL_SECONDS: Final = 2.0
ASKED_FOR: Final = timedelta(seconds=5)
"""How long an answer of Temporal's counts: pages ask more often."""
STREAM_SEEN_MAX: Final = timedelta(seconds=15)
QUOTE_AGE_MAX: Final = timedelta(seconds=15)
"""As before an order leaves."""
CLOCK_READ_MAX: Final = timedelta(seconds=60)
"""Older than that, placement trusts no trading hours."""
WAITING_MAX: Final = timedelta(seconds=5)
"""An event is numbered within a second where a relay runs."""
SEALED_WITHIN: Final = timedelta(seconds=60)


class Kind(StrEnum):
    """How a light shines."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Light:
    """One thing that we rest on."""

    name: str
    kind: Kind
    text: str
    at: datetime | None = None
    """Since when it is known, or when it was last heard of."""


@dataclass
class TemporalHealth:
    """Asks Temporal at most once in ``ASKED_FOR``, whoever looks."""

    asked_at: datetime | None = None
    error: str | None = None

    async def light(self, client: "Client | None", now: datetime) -> Light:
        if client is None:
            return Light("Temporal", Kind.BAD, "not connected: new orders wait", self.asked_at)
        if self.asked_at is None or now - self.asked_at >= ASKED_FOR:
            self.asked_at = now
            self.error = await _fault(client)
        if self.error is None:
            return Light("Temporal", Kind.GOOD, "answers", self.asked_at)
        return Light("Temporal", Kind.BAD, f"does not answer: {self.error}", self.asked_at)


async def _fault(client: "Client") -> str | None:
    from temporalio.service import RPCError

    try:
        async with asyncio.timeout(TEMPORAL_SECONDS):
            serving = await client.service_client.check_health(timeout=timedelta(seconds=TEMPORAL_SECONDS))
    except (RPCError, RuntimeError, TimeoutError) as error:
        return str(error) or type(error).__name__
    return None if serving else "it says that it is not serving"


def lights(
    row: dict[str, Any],
    quotes: list[QuoteAge],
    clocks: Sequence[ClockCheck],
    now: datetime,
    *,
    database_ms: int,
) -> list[Light]:
    """From what rows tell; ``database_ms``: how long they took."""
    return [
        _broker(row, now),
        *_data(quotes, now, is_open=bool(row["is_open"])),
        Light(
            "database", Kind.GOOD if database_ms < 1000 else Kind.WARN, f"answered in {database_ms} ms", now
        ),
        _bus(row, now),
        _market(row, now),
        _clock(clocks, now),
        _audit(row, now),
    ]


def live_light(newest: NewestGrant | None, now: datetime) -> Light:
    """Of a live installation: whether orders may leave by the newest grant."""
    expires_at = None if newest is None else newest.expires_at
    state = grant_state(expires_at, None if newest is None else newest.revoked_at, now)
    kinds = {GrantState.IN_FORCE: Kind.GOOD, GrantState.ENDING: Kind.WARN}
    return Light("live grant", kinds.get(state, Kind.BAD), grant_line(state, expires_at, now))


def _broker(row: dict[str, Any], now: datetime) -> Light:
    if row["halted"]:
        cause = row["halt_cause"] or "no cause was noted"
        return Light("broker", Kind.BAD, f"given up on, orders wait: {cause}", row["halt_changed_at"])
    seen: datetime | None = row["stream_seen_at"]
    if row["stream_connected_at"] is None or seen is None or now - seen > STREAM_SEEN_MAX:
        return Light("broker", Kind.BAD, "its update stream is not connected", seen)
    if row["failures"]:
        return Light("broker", Kind.WARN, f"{row['failures']} calls in a row have failed", seen)
    return Light("broker", Kind.GOOD, "answers, update stream connected", seen)


def _data(quotes: list[QuoteAge], now: datetime, *, is_open: bool) -> list[Light]:
    found = {each.provider: each for each in quotes}
    primary = found.get(Provider.PRIMARY)
    if primary is None:
        return [Light("data", Kind.BAD if is_open else Kind.WARN, "no quote yet")]
    made = []
    for each in quotes:
        name = "data" if each.provider is Provider.PRIMARY else f"data, {each.provider.value}"
        fresh = now - each.received_at <= QUOTE_AGE_MAX
        text = f"{each.tickers} tickers" if fresh else f"{each.tickers} tickers, none fresh"
        kind = Kind.GOOD if fresh else Kind.BAD if is_open and each is primary else Kind.WARN
        made.append(
            Light(name, kind, text if is_open or fresh else f"{text}: the market is closed", each.received_at)
        )
    return sorted(made, key=lambda light: light.name)


def _bus(row: dict[str, Any], now: datetime) -> Light:
    waiting: datetime | None = row["oldest_waiting_at"]
    position = f"{row['newest_position']:,} events told"
    if waiting is None or now - waiting <= WAITING_MAX:
        return Light("bus", Kind.GOOD, position, now)
    return Light("bus", Kind.BAD, f"{position}, others wait: no relay numbers them", waiting)


def _market(row: dict[str, Any], now: datetime) -> Light:
    read: datetime | None = row["read_at"]
    if read is None:
        return Light("hours", Kind.BAD, "the broker's clock was never read")
    if now - read > CLOCK_READ_MAX:
        return Light("hours", Kind.BAD, "the broker's clock is read too seldom: orders are refused", read)
    speed = "" if row["speed"] == 1 else f", {row['speed']:g} × real time"
    return Light("hours", Kind.GOOD, f"market {'open' if row['is_open'] else 'closed'}{speed}", read)


def _clock(clocks: Sequence[ClockCheck], now: datetime) -> Light:
    """The worst of what the processes found when they last asked what time it is."""
    if not clocks:
        return Light("clock", Kind.WARN, "no process has asked what time it is lately")
    halting = next((each for each in clocks if each.halted_since is not None), None)
    if halting is not None:
        return Light(
            "clock", Kind.BAD, f"orders wait: {halting.holder}: {halting.halt_cause}", halting.halted_since
        )
    oldest = max(clocks, key=lambda each: each.age)
    wrong = next(
        (each for each in clocks if each.verdict in (ClockVerdict.SKEWED, ClockVerdict.NO_SOURCE)), None
    )
    if wrong is not None:
        return Light("clock", Kind.WARN, f"{wrong.holder}: {wrong.detail}", now - wrong.age)
    asked = sum(each.verdict is ClockVerdict.IN_SYNC for each in clocks)
    text = f"in sync in {asked} processes" if asked else "the exchange shares this machine's clock"
    return Light("clock", Kind.GOOD, text, now - oldest.age)


def _audit(row: dict[str, Any], now: datetime) -> Light:
    oldest: datetime | None = row["oldest_unsealed_at"]
    text = f"{row['sealed'] or 0:,} rows sealed"
    if oldest is None or now - oldest <= SEALED_WITHIN:
        return Light("audit log", Kind.GOOD, text, now)
    return Light("audit log", Kind.BAD, f"{text}, others wait", oldest)
