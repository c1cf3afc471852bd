"""Which store a process's secrets come from, and who is asked what time it is."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from security.secrets.settings import Given, StoreSettings
from workers.settings_base import Settings

NTP_SERVERS_MIN: Final = 3
"""Fewer, and one that lies would be believed."""
NTP_PORT: Final = 123
PUBLIC_NTP_SERVERS: Final = (
    "0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "time.cloudflare.com", "time.nist.gov",
)  # fmt: skip
"""Asked where the broker is not on this machine and no others are named."""
_SERVER: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?")


def _servers(value: str | None) -> str | None:
    if value is not None:
        named = [each.strip() for each in value.split(",") if each.strip()]
        if len(set(named)) < NTP_SERVERS_MIN:
            raise ValueError(
                f"name {NTP_SERVERS_MIN} different servers, with commas: one alone is not believed"
            )
        wrong = next((each for each in named if not _SERVER.fullmatch(each)), None)
        if wrong is not None:
            raise ValueError("a server is HOST or HOST:PORT")
    return value


class SecretStoreSettings(StoreSettings, Settings):
    """For who holds a secret: each may stand in a store instead of a file. See docs/SECRETS.md."""


class ClockSettings(Settings):
    """For who must know what time it is."""

    ntp_servers: Annotated[Given, AfterValidator(_servers)] = None
    """Three time servers or more, `HOST` or `HOST:PORT`, with commas. By default public ones where the broker is
    elsewhere, and none where it is on this machine. Gateway and risk ask only those named: name them where
    these have a machine of their own."""

    def time_servers(self, *, is_local: bool) -> tuple[str, ...]:
        """Who is asked; nobody where the broker shares our clock and no servers are named."""
        if self.ntp_servers is not None:
            return tuple(dict.fromkeys(each.strip() for each in self.ntp_servers.split(",") if each.strip()))
        return () if is_local else PUBLIC_NTP_SERVERS
