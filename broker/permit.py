"""Leave to send one order to the live brokerage. Only `security.live` makes one, for one try, from what it has just
read; a test of our own rules holds that."""

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from broker.errors import ValidationRefused

PERMIT_SECONDS_MAX: Final = 2.0
"""Monotonic, as long as the kill switch may have been read ago: what has changed since might not have been seen."""


class LiveNotPermitted(ValidationRefused):
    """An order for the live brokerage without a permit for it: nothing was sent."""


@dataclass(frozen=True, slots=True)
class LivePermit:
    """Good for one try, at one address, for a moment."""

    trading_url: str
    account: str
    grant_id: UUID
    made_at: float
    """Monotonic seconds."""


def check_permit(permit: LivePermit | None, trading_url: str) -> LivePermit:
    """Return the permit if it is one for orders to this live address, whenever it was made.

    Raises:
        LiveNotPermitted: there is no permit, or one of another place.
    """
    if type(permit) is not LivePermit:
        raise LiveNotPermitted("nothing was sent: live trading is not permitted")
    if permit.trading_url != trading_url:
        raise LiveNotPermitted("nothing was sent: the permit is for another address")
    return permit


def check_permit_now(permit: LivePermit | None, trading_url: str) -> None:
    """Return if an order may go to this live address at this moment.

    Raises:
        LiveNotPermitted: as `check_permit`, or it is of another time.
    """
    if not 0 <= time.monotonic() - check_permit(permit, trading_url).made_at < PERMIT_SECONDS_MAX:
        raise LiveNotPermitted("nothing was sent: the permit is too old")
