"""Whether the newest grant of live trading lets orders leave, as rows tell: execution checks its signature."""

from datetime import datetime
from typing import TYPE_CHECKING

from schemas.mode import Mode
from storage.live import GrantRow, StoredConfiguration, list_grants, read_configuration

if TYPE_CHECKING:
    from storage.database import Connection


def why_not_live(stored: StoredConfiguration | None, newest: GrantRow | None, now: datetime) -> str | None:
    """Why no order may leave by it; None: nothing that rows tell. An older one never counts beside it."""
    if newest is None:
        return "nobody has granted live trading"
    if newest.revoked_at is not None:
        return f"live trading was taken back by {newest.revoked_by}: {newest.revoke_reason}"
    if newest.grant.expires_at < now:
        return "the grant of live trading has expired"
    if stored is None or newest.grant.configuration_hash != stored.configuration.hash:
        return "the grant of live trading is for another configuration than execution runs with"
    return None


async def read_why_not_live(connection: "Connection", mode: Mode, now: datetime) -> str | None:
    """The same of this installation; None on paper, where no grant is needed."""
    if mode is not Mode.LIVE:
        return None
    newest = next(iter(await list_grants(connection)), None)
    return why_not_live(await read_configuration(connection), newest, now)
