"""Nothing trades without every limit."""

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from schemas.limits import faults
from storage.limits import current_limits

if TYPE_CHECKING:
    from storage.database import Connection


class LimitsUnsound(Exception):
    """The limits in force lack one, or hold one that cannot be; the message names it."""


async def require_limits(connection: "Connection", now: datetime) -> None:
    """Return if the account's limits in force at ``now`` are complete and sound.

    Raises:
        LimitsMissing: there are none.
        LimitsUnsound: there are, and they cannot be used.
    """
    try:
        await current_limits(connection, now)
    except ValidationError as error:
        raise LimitsUnsound(
            f"the limits in force are not whole ({faults(error)}): store a version that has every limit with "
            "`trading limits set FIELD=VALUE ... --reason WHY`"
        ) from error
