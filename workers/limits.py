"""Nothing trades without every limit."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from storage.risk import current_limits

if TYPE_CHECKING:
    from storage.database import Connection


class LimitsUnsound(Exception):
    """The limits in force lack one, or hold one that cannot be; the message names it."""


async def require_limits(connection: "Connection") -> None:
    """Return if the limits in force are complete and sound.

    Raises:
        LimitsMissing: there are none.
        LimitsUnsound: there are, and they cannot be used.
    """
    try:
        await current_limits(connection)
    except ValidationError as error:
        wrong = "; ".join(
            f"{each['loc'][0] if each['loc'] else 'document'}: {each['msg']}" for each in error.errors()
        )
        raise LimitsUnsound(
            f"the limits in force are not whole ({wrong}): store a new version that has every limit"
        ) from error
