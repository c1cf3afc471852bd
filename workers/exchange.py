"""The paper exchange as a process: ``trading exchange``, or ``python -m workers.exchange``.

Prints one JSON line, ``{"ready": ...}``, when it listens; SIGTERM and SIGINT stop it. ``exchange faults ...``
orders faults at a running one instead (``workers/exchange_faults.py``).
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from simulation.fault_plan import WrongPlan
from simulation.ledger import LedgerCorrupt, LedgerInUse
from simulation.mixes import mix_names, named_plan
from simulation.recorded import RecordingUnreadable
from simulation.server import ExchangeFailed, RunningExchange, run_until_stopped
from simulation.sessions import OutsideCalendar
from simulation.settings import DEFAULT_SYMBOLS, ExchangeSettings, SymbolSettings
from workers import exchange_faults
from workers.datadir import temporary_data_dir

REFUSALS = (LedgerInUse, LedgerCorrupt, RecordingUnreadable, OutsideCalendar, ExchangeFailed, OSError)
EXIT_DONE, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2


def options_parser() -> argparse.ArgumentParser:
    """What ``trading exchange`` takes."""
    parser = argparse.ArgumentParser(
        prog="trading exchange",
        description="A paper exchange on this machine that speaks the Alpaca protocol.",
        epilog="exchange faults add|list|clear orders faults at a running one.",
    )
    parser.add_argument(
        "--data-dir", type=Path, help="folder of the ledger; default a temporary one, gone at the end"
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default) picks a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", help="API key; default EXCHANGE_KEY, else a random one is printed")
    parser.add_argument("--secret", help="API secret; default EXCHANGE_SECRET, else a random one is printed")
    parser.add_argument("--key-file", type=Path, help="file that holds the API key")
    parser.add_argument("--secret-file", type=Path, help="file that holds the API secret")
    parser.add_argument("--cash", type=Decimal, help="opening cash in US dollars (100000)")
    parser.add_argument("--multiplier", type=int, choices=(1, 2, 4), help="margin multiplier (4)")
    parser.add_argument("--seed", type=int, help="seed of the quote generator (1)")
    parser.add_argument("--tickers", type=int, help="synthetic names T0001... to add (0)")
    parser.add_argument(
        "--symbol", action="append", default=[], metavar="JSON", help='e.g. {"symbol":"ABC","price":"12.50"}'
    )
    parser.add_argument(
        "--market",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.csv.gz",
        help="recorded quotes SYMBOL-YYYYMMDD-RESOLUTION.csv.gz; may be given again",
    )
    parser.add_argument("--session", choices=("calendar", "always_open"))
    parser.add_argument("--start", help="auto (default), now, or a moment like 2026-11-27T15:57:00-05:00")
    parser.add_argument("--speed", type=float, help="market seconds per real second, at most 20 (1)")
    parser.add_argument("--partial-fills", choices=("displayed_size", "none"))
    parser.add_argument("--venue-latency-ms", type=int)
    parser.add_argument("--cancel-latency-ms", type=int)
    parser.add_argument("--requests-per-minute", type=int, help="trading API request limit (200)")
    parser.add_argument("--data-requests-per-minute", type=int, help="data API request limit (10000)")
    parser.add_argument("--data-stream-connections", type=int, help="data sockets per feed (1)")
    parser.add_argument(
        "--fault-plan",
        metavar="FILE|NAME",
        help=f"faults from the start on; known names: {', '.join(mix_names())}",
    )
    parser.add_argument("--fault-seed", type=int, metavar="N", help="seed of the faults' chances (1)")
    parser.add_argument("--json", action="store_true", help="as always: the ready line is JSON")
    parser.add_argument("--leash", action="store_true", help="end when standard input closes")
    return parser


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, whether on a leash, and whether the ready line must tell keys that nobody gave."""

    settings: ExchangeSettings
    leash: bool
    tells_keys: bool
    is_temporary: bool
    """Nobody named a folder: the settings' own is to be replaced by one that goes with the process."""


def launch_from(arguments: Sequence[str], environment: Mapping[str, str]) -> Launch:
    """Read options and environment (EXCHANGE_KEY, EXCHANGE_SECRET).

    Raises ValidationError for a setting that cannot be, WrongPlan for a fault plan; SystemExit 2 for an unknown
    option.
    """
    given = vars(options_parser().parse_args(arguments))
    leash, overrides, market = given.pop("leash"), given.pop("symbol"), tuple(given.pop("market"))
    del given["json"]
    for file in market:
        if not file.is_file():
            raise FileNotFoundError(f"--market: there is no file {file}")
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    key = chosen.pop("key", None) or _read(chosen.pop("key_file", None)) or environment.get("EXCHANGE_KEY")
    secret = (
        chosen.pop("secret", None)
        or _read(chosen.pop("secret_file", None))
        or environment.get("EXCHANGE_SECRET")
    )
    if overrides:
        added = tuple(SymbolSettings.model_validate_json(text) for text in overrides)
        chosen["symbols"] = added if market else (*DEFAULT_SYMBOLS, *added)
    if "fault_plan" in chosen:
        chosen["fault_plan"] = named_plan(chosen["fault_plan"], chosen.get("fault_seed"))
    is_temporary = "data_dir" not in chosen
    settings = ExchangeSettings(
        data_dir=chosen.pop("data_dir", Path()),
        key=SecretStr(key or "PK" + secrets.token_hex(9).upper()),
        secret=SecretStr(secret or secrets.token_hex(20)),
        market=market,
        **chosen,
    )
    return Launch(settings, leash, tells_keys=not (key and secret), is_temporary=is_temporary)


def _read(file: Path | None) -> str | None:
    return None if file is None else file.read_text().strip()


def _hold_leash() -> None:
    """End at once when the other end of standard input is gone, however it went."""

    def wait() -> None:
        while os.read(0, 4_096):
            pass
        os._exit(EXIT_DONE)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def _announce(running: RunningExchange, *, tells_keys: bool) -> None:
    line = {
        "ready": True,
        "port": running.port,
        "url": running.url,
        "ws_url": running.ws_url,
        "ledger": str(running.ledger_path),
    }
    if tells_keys:
        line |= {"key": running.key, "secret": running.secret}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@contextmanager
def _folder(launch: Launch) -> Iterator[ExchangeSettings]:
    if not launch.is_temporary:
        yield launch.settings
        return
    with temporary_data_dir() as folder:
        sys.stderr.write("exchange: no --data-dir, so the account ends with this process\n")
        yield launch.settings.model_copy(update={"data_dir": folder.exchange_ledger.parent})


async def _run(settings: ExchangeSettings, *, tells_keys: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await run_until_stopped(settings, stop, lambda running: _announce(running, tells_keys=tells_keys))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal. Exit codes: 0 stopped, 1 refused or failed, 2 bad usage."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["faults"]:
        return exchange_faults.main(given[1:], os.environ)
    try:
        launch = launch_from(given, os.environ)
    except ValidationError as error:
        told: dict[str, str] = {}
        for problem in error.errors():  # One line a field: alternatives of one field fail one by one.
            told.setdefault(str((*problem["loc"], "settings")[0]), str(problem["msg"]))
        sys.stderr.write("".join(f"exchange: {field}: {text}\n" for field, text in told.items()))
        return EXIT_USAGE
    except (OSError, WrongPlan) as error:
        sys.stderr.write(f"exchange: {error}\n")
        return EXIT_USAGE
    if launch.leash:
        _hold_leash()
    try:
        with _folder(launch) as settings:
            asyncio.run(_run(settings, tells_keys=launch.tells_keys))
    except REFUSALS as error:
        sys.stderr.write(f"exchange: {error}\n")
        return EXIT_REFUSED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
