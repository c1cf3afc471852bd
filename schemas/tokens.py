"""Strategies' tokens: what one may do, for how long, how often."""

from datetime import timedelta
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import Field, model_validator

from schemas.base import Edge, UtcTime, Wire
from schemas.signals import STRATEGY_PATTERN, TICKER_PATTERN
from schemas.wire import Topic

TOKEN_NAME_PATTERN: Final = STRATEGY_PATTERN
CONSOLE_TOKEN: Final = "console"  # noqa: S105 - its name, not its secret
"""With which the console proposes what persons close: for any strategy, in any mode."""
RESERVED_NAMES: Final = frozenset({CONSOLE_TOKEN, "demo", "owner", "somebody", "system"})
"""The setup's own tokens, and actors in the audit log who are no tokens."""
VALID_FOR: Final = timedelta(days=90)
VALID_FOR_MAX: Final = timedelta(days=366)
RATE_PER_MINUTE: Final = 60
RATE_PER_MINUTE_MIN: Final = 2
RATE_PER_MINUTE_MAX: Final = 6000
SCOPE_NAMES_MAX: Final = 200

_Strategy = Annotated[str, Field(pattern=STRATEGY_PATTERN)]
_Ticker = Annotated[str, Field(pattern=TICKER_PATTERN)]


class TokenOrder(Edge):
    """A token as somebody wants it made."""

    name: Annotated[str, Field(pattern=TOKEN_NAME_PATTERN)]
    strategies: Annotated[tuple[_Strategy, ...], Field(min_length=1, max_length=SCOPE_NAMES_MAX)]
    """For which it may propose."""
    tickers: Annotated[tuple[_Ticker, ...], Field(min_length=1, max_length=SCOPE_NAMES_MAX)] | None = None
    """In which. None: any that risk lets through."""
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)] | None = None
    """Of which events of its own signals, and of the system's, it may be told. None: all of them."""
    valid_for: timedelta = VALID_FOR
    rate_per_minute: Annotated[int, Field(ge=RATE_PER_MINUTE_MIN, le=RATE_PER_MINUTE_MAX)] = RATE_PER_MINUTE
    """Requests in any 60 s, at most half of them at once."""

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"name: {self.name} means something else in the audit log")
        if not timedelta(0) < self.valid_for <= VALID_FOR_MAX:
            raise ValueError(f"valid_for: more than nothing and at most {VALID_FOR_MAX.days} days")
        return self


class TokenRow(Wire):
    """One token, without its secret and its hash."""

    token_id: UUID
    name: str
    prefix: str | None
    """How its secret begins. None: of an earlier release, or made by the setup."""
    strategies: tuple[str, ...] | None
    """None: any. Only the setup of an installation makes such a one, and none of them is taken in live mode."""
    tickers: tuple[str, ...] | None
    topics: tuple[str, ...] | None
    rate_per_minute: int | None
    created_at: UtcTime
    expires_at: UtcTime | None
    revoked_at: UtcTime | None
    made_by: str | None
    revoked_by: str | None
    used_at: UtcTime | None
    """Its last request. None: never, or it has no rate."""

    def state(self, now: UtcTime) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"
