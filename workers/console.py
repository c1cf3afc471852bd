"""The main of the operator console: a web app with the console's own database role, and no key of the broker's."""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Final

from audit.check.outside import Folder
from console.web.app import build_console
from console.web.deps import ENTRY_POOL_MAX, ConsoleDeps, GatewayDoor, Shown, WebSettings
from gateway.server import serving
from observability.logging import get_logger
from security.grants import GrantKey
from security.passkeys import Passkeys
from security.passwords import Passwords
from security.sealing import Sealer
from workers.clients import connect_temporal, open_database, process_metrics
from workers.settings import ENV_PREFIX, ConsoleSettings, Settings, is_secret

OWNER: Final = "console"
"""Whose the grant key is; each grant names the Admin."""
MASKED: Final = "•••"

_log: Final = get_logger(__name__)


async def run_console(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve it until told to stop. Temporal may be away: rows are shown, and a kill needs none.

    Raises:
        DatabaseUnavailable, MigrationError, SealError, KeyFileError: do not start.
    """
    sealer = Sealer.parse(settings.console_key.get_secret_value())
    async with AsyncExitStack() as stack:
        database = await open_database(stack, settings, "console")
        web = WebSettings(
            origin=settings.origin,
            temporal_ui=settings.temporal_ui_url,
            namespace=settings.temporal_namespace,
            trace_url=settings.trace_url,
            settings=shown(settings),
        )
        metrics = await process_metrics("console", database)
        deps = ConsoleDeps(
            database=database,
            entry=await open_database(stack, settings, "console entry", most=ENTRY_POOL_MAX),
            dsn=settings.dsn,
            client=await connect_temporal(settings, "console", metrics, lazy=True),
            settings=web,
            passwords=Passwords(),
            sealer=sealer,
            passkeys=Passkeys(web.origin, web.rp_id),
            outside=None if settings.audit_checkpoints is None else Folder(settings.audit_checkpoints),
            render_metrics=metrics.render,
            grant_key=_grant_key(settings),
            gateway=_gateway(settings),
        )
        app = build_console(deps)
        async with serving(app, host=settings.console_host, port=settings.console_port) as port:
            _log.info("ready", console_port=port, origin=settings.origin)
            await stop.wait()
            _log.info("stopping")


def _grant_key(settings: ConsoleSettings) -> GrantKey | None:
    secret = settings.console_grant_key
    return None if secret is None else GrantKey.from_hex(secret.get_secret_value(), OWNER)


def _gateway(settings: ConsoleSettings) -> GatewayDoor | None:
    url, token = settings.console_gateway_url, settings.console_gateway_token
    return None if url is None or token is None else GatewayDoor(str(url), token)


def shown(settings: Settings) -> tuple[Shown, ...]:
    """The settings in force with where each comes from. Of a secret nothing is said but that it is there."""
    found = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if is_secret(field.annotation):
            text = MASKED if value is not None else "none"
        else:
            text = "none" if value is None else str(value)
        found.append(Shown(ENV_PREFIX + name.upper(), text, _source(settings, name)))
    return tuple(sorted(found, key=lambda each: each.name))


def _source(settings: Settings, name: str) -> str:
    if name not in settings.model_fields_set:
        return "default"
    variable = ENV_PREFIX + name.upper()
    return "environment" if any(each.upper() == variable for each in os.environ) else "file of secrets"
