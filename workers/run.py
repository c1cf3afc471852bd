"""One process of the product: ``python -m workers.run NAME``.

Ends on SIGTERM and SIGINT: the gateway takes no more signals, activities get their grace, pools close.
"""

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg
from temporalio.service import RPCError

from activities.builds import UnknownBuild
from activities.starter import TemporalUnavailable
from broker.alpaca.hosts import HostRefused
from broker.alpaca.scope import KeyScopeRefused
from broker.errors import BrokerError
from observability.logging import configure_logging, get_logger
from observability.tracing import configure_tracing
from schemas.mode import Mode
from security.approvals import ApprovalKeyError
from security.grants import KeyFileError
from security.live import LiveKeyError
from security.notes import AuditKeyError
from security.payloads import PayloadKeyError
from security.sealing import SealError
from security.secrets.errors import SecretError, SecretsUnreachable
from storage.database import BadDatabaseAddress, DatabaseUnavailable
from storage.limits import LimitsMissing
from storage.migrate import MigrationError
from storage.switches import WrongInstallation
from workers.clock_watch import ClockRefused
from workers.crash_orders import CrashPointsRefused, refuse_crash_points, tell_of_crash_points
from workers.held import SecretNotAllowed, refuse_another_role, refuse_what_is_not_ours
from workers.limits import LimitsUnsound
from workers.live import PlainPayloads, refuse_plain_payloads
from workers.secret_store import read_process_settings
from workers.settings import Settings, SettingsError
from workers.waiting import StoppedWaiting

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3

_log = get_logger(__name__)


RUNNERS: Final[dict[str, str]] = {
    "gateway": "workers.doors:run_gateway",
    "orders": "workers.processes:run_orders",
    "risk": "workers.processes:run_risk",
    "execution": "workers.processes:run_execution",
    "operations": "workers.processes:run_operations",
    "console": "workers.console:run_console",
    "codec": "workers.doors:run_codec",
    "migrate": "workers.setup:run_migrate",
    "promote": "workers.processes:run_promote",
    "compact": "workers.compact:run_compact",
}
"""Where each process' own main stands. A process imports its own only: what it needs not costs it a third of its
start, and a killed one's orders wait for that.
"""

Runner = Callable[[Any, asyncio.Event], Awaitable[None]]


def runner(name: str) -> Runner:
    """The main of a process, imported now."""
    module, _, function = RUNNERS[name].partition(":")
    found: Runner = getattr(importlib.import_module(module), function)
    return found


async def _main(name: str, settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await runner(name)(settings, stop)
    except StoppedWaiting:
        return EXIT_DONE
    except BadDatabaseAddress as error:
        _log.error("refusing to start", reason=str(error))
        return EXIT_USAGE
    except (
        DatabaseUnavailable,
        BrokerError,
        RPCError,
        TemporalUnavailable,
        asyncpg.PostgresError,
        RuntimeError,
        OSError,
    ) as error:
        _log.error("cannot run: a dependency is down", reason=f"{type(error).__name__}: {error}")
        return EXIT_DEPENDENCY
    except (
        ClockRefused,
        HostRefused,
        KeyScopeRefused,
        MigrationError,
        LimitsMissing,
        LimitsUnsound,
        WrongInstallation,
        ApprovalKeyError,
        AuditKeyError,
        LiveKeyError,
        PlainPayloads,
        UnknownBuild,
        SealError,
        PayloadKeyError,
        KeyFileError,
    ) as error:
        _log.error("refusing to start", reason=str(error))
        return EXIT_REFUSED
    return EXIT_DONE


def options_parser() -> argparse.ArgumentParser:
    """What ``trading worker`` takes."""
    parser = argparse.ArgumentParser(
        prog="trading worker",
        description="Run one process of the product until SIGTERM or Ctrl-C. Its log is JSON, on standard error.",
        epilog="Settings are variables TRADING_…, secrets files in TRADING_SECRETS_DIR: docs/CONFIGURATION.md "
        "lists them for each process. Exit codes: 0 done, 1 refused, 2 bad usage, 3 a dependency is down.",
    )
    parser.add_argument("name", choices=tuple(RUNNERS))
    parser.add_argument("--json", action="store_true", help="tell a refused start as JSON too")
    return parser


def _tell(error: Exception, exit_code: int, code: str, *, as_json: bool) -> int:
    told = json.dumps({"error": {"code": code, "message": str(error)}}) if as_json else str(error)
    sys.stderr.write(f"{told}\n")
    return exit_code


def main(arguments: Sequence[str]) -> int:
    """Run the process named in ``arguments``.

    Returns:
        0 done, 1 refused to start, 2 wrong usage, 3 a dependency is down.
    """
    options = options_parser().parse_args(arguments)
    name: str = options.name
    try:
        refuse_what_is_not_ours(name)
        settings = read_process_settings(name)
        refuse_another_role(name, settings)
        refuse_crash_points(settings)
        refuse_plain_payloads(settings)
    except SecretsUnreachable as error:
        return _tell(error, EXIT_DEPENDENCY, "DEPENDENCY_DOWN", as_json=options.json)
    except (SecretNotAllowed, SecretError, CrashPointsRefused, PlainPayloads) as error:
        return _tell(error, EXIT_REFUSED, "REFUSED", as_json=options.json)
    except SettingsError as error:
        return _tell(error, EXIT_USAGE, "BAD_USAGE", as_json=options.json)
    # Until the database says what it is bound to, and for who has none: nobody who was not asked for live is live.
    mode = (Mode.LIVE if settings.live_mode else Mode.PAPER).value
    configure_logging(name, level=settings.log_level, file=settings.log_file, mode=mode)
    tell_of_crash_points()
    tracing = configure_tracing(name, endpoint=settings.otlp_endpoint, file=settings.trace_file, mode=mode)
    try:
        return asyncio.run(_main(name, settings))
    finally:
        tracing.close()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
