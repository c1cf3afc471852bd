"""The account's requests, shared out: who may ask the broker how often.

The broker counts the requests of an account, not of a process, so all of our processes take from one budget.
Each share of it refills steadily and holds a burst; both together never give out more than the share in any
sixty seconds. What is left over is given to nobody: it is what the kill switch, which asks without a token, finds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final, Protocol

from broker.errors import BrokerError, NothingSent, RateLimited

WINDOW_SECONDS: Final = 60
REQUESTS_PER_MINUTE_MIN: Final = 20
"""Less would leave a share without a single request."""
_MICROSECOND: Final = Decimal("0.000001")


class Share(StrEnum):
    """What a request is for. The names are those of the rows."""

    ORDERS = "orders"
    """Placements and look-ups of orders."""
    READS = "reads"
    """Account, positions, lists, clock."""
    STOPS = "stops"
    """Cancels, and stops that protect what is held: never behind new orders."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One share's numbers: ``burst`` tokens at once, then one every ``interval_seconds``."""

    burst: int
    interval_seconds: Decimal


_PER_CENT: Final[Mapping[Share, int]] = {Share.ORDERS: 60, Share.READS: 15, Share.STOPS: 15}
"""Of the broker's limit; the other 10 % are spare."""
_BURST_PER_CENT: Final[Mapping[Share, int]] = {Share.ORDERS: 50, Share.READS: 33, Share.STOPS: 50}
"""Of the share. Reads come steadily: the catch-up every few seconds while no stream is held."""


def share_size(share: Share, requests_per_minute: int) -> int:
    """How many requests of this share may leave in any sixty seconds."""
    return max(2, requests_per_minute * _PER_CENT[share] // 100)


def allowance(share: Share, requests_per_minute: int) -> Allowance:
    """Burst and refill of a share: burst + 60 s / interval = the share."""
    size = share_size(share, requests_per_minute)
    burst = max(1, size * _BURST_PER_CENT[share] // 100)
    interval = Decimal(WINDOW_SECONDS) / (size - burst)
    return Allowance(burst, interval.quantize(_MICROSECOND, ROUND_CEILING))


class NoToken(RateLimited):
    """Our own budget for this is used up until ``retry_after_seconds``: nothing was sent."""

    def __init__(self, share: Share, retry_after_seconds: float) -> None:
        super().__init__(
            f"nothing was sent: no request left for {share.value} for {retry_after_seconds:.1f} s",
            retry_after_seconds=retry_after_seconds,
            http_status=None,
        )
        self.share = share


class BudgetUnavailable(NothingSent):
    """The budget cannot be read, so nobody knows what was sent already: nothing more is."""


class BrokerBudget(Protocol):
    """One for each process that holds the broker's keys; the counts are shared by all of them."""

    async def take(self, share: Share) -> None:
        """Take one token, or leave at once.

        Raises:
            NoToken: none is left.
            BudgetUnavailable: nobody can say.
        """
        ...

    async def give_back(self, share: Share) -> None:
        """Return a token with which nothing was sent. Never raises: a token lost is a request less."""
        ...

    async def heard(self, share: Share, error: BrokerError | None) -> None:
        """Tell how a request that left ended; None is success. Never raises.

        After a 429 nobody takes of that share until the broker's reset; failures in a row halt trading.
        """
        ...
