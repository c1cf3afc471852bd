"""The main of the operator console: a web app with the console's own database role, and no key of the broker's."""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Final

from audit.check.outside import Folder
from console.web.app import build_console
from console.web.deps import ConsoleDeps, Shown, WebSettings
from gateway.server import serving
from observability.logging import get_logger
from observability.metrics import Metrics
from security.passkeys import Passkeys
from security.passwords import Passwords
from security.sealing import Sealer
from workers.clients import connect_temporal, open_database
from workers.settings import ENV_PREFIX, ConsoleSettings, Settings, is_secret

MASKED: Final = "•••"

_log: Final = get_logger(__name__)


async def run_console(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve it until told to stop. Temporal may be away: rows are shown, and a kill needs none.

    Raises:
        DatabaseUnavailable, MigrationError, SealError: do not start.
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
        deps = ConsoleDeps(
            database=database,
            dsn=settings.dsn,
            client=await connect_temporal(settings, "console", lazy=True),
            settings=web,
            passwords=Passwords(),
            sealer=sealer,
            passkeys=Passkeys(web.origin, web.rp_id),
            outside=None if settings.audit_checkpoints is None else Folder(settings.audit_checkpoints),
            render_metrics=Metrics().render,
        )
        app = build_console(deps)
        async with serving(app, host=settings.console_host, port=settings.console_port) as port:
            _log.info("ready", console_port=port, origin=settings.origin)
            await stop.wait()
            _log.info("stopping")


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
