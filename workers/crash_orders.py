"""Crash points are ordered on this machine alone, and only points that there are."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from observability.crash_points import VARIABLE
from observability.logging import get_logger
from workers.settings import Settings

ADDRESSES: Final = ("broker_trading_url", "database_url", "temporal_address", "vault_address", "aws_endpoint")
"""Settings that tell where a process reaches: each must be on this machine."""
_USED_UP: Final = re.compile(r"\.\d+$")
_log: Final = get_logger(__name__)


class CrashPointsRefused(Exception):
    """This process would die on purpose where that may not be; the message says why."""


def refuse_crash_points(settings: Settings) -> None:
    """Return if no crash points are ordered, or they may be.

    Raises:
        CrashPointsRefused: broker, database or Temporal are not on this machine, the folder is not there, or a
            file in it names no point.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    for name in ADDRESSES:
        address = getattr(settings, name, None)
        if address is not None and not _is_here(address):
            raise CrashPointsRefused(
                f"{VARIABLE} is set, and TRADING_{name.upper()} is not an address of this machine: unset it"
            )
    if not Path(folder).is_dir():
        raise CrashPointsRefused(f"{VARIABLE} names no folder: {folder}")
    ordered = {_USED_UP.sub("", file.name) for file in Path(folder).iterdir()}
    if not ordered:
        return
    from workers.chaos.points import points  # Reads the source, which costs a second.

    if unknown := ordered - set(points()):
        raise CrashPointsRefused(f"{VARIABLE}: there is no such point: {', '.join(sorted(unknown))}")


def tell_of_crash_points() -> None:
    """Say in the log, loudly, that this process may die on purpose."""
    if folder := os.environ.get(VARIABLE):
        _log.critical("THIS PROCESS DIES ON PURPOSE at the crash points ordered in a folder", folder=folder)


def _is_here(address: str | SecretStr) -> bool:
    text = address.get_secret_value() if isinstance(address, SecretStr) else address
    parts = urlsplit(text if "://" in text else f"//{text}")
    hosts = [host for name, host in parse_qsl(parts.query) if name in ("host", "hostaddr")]
    if parts.hostname is not None:
        hosts.append(parts.hostname)
    return bool(hosts) and all(host.startswith("/") or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
