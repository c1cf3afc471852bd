"""The parts of a one-machine installation that are ours: the paper exchange, the product, their secrets."""

import asyncio
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from workers.children import ChildSpec, patient
from workers.datadir import DataDir
from workers.postgres import PostgresError

EXCHANGE: Final = "exchange"
PRODUCT: Final = "compact"
CONSOLE: Final = "console"
BROKER_KEY: Final = "trading_broker_key"
BROKER_SECRET: Final = "trading_broker_secret"  # noqa: S105 - its name, not its secret
CODEC_TOKEN: Final = "trading_codec_token"  # noqa: S105 - its name, not its secret
PRODUCT_GRACE_SECONDS: Final = 25.0
"""Above the workers' own grace of 20 s."""
EXCHANGE_GRACE_SECONDS: Final = 5.0
READY_TIMEOUT_SECONDS: Final = 60.0
HTTP_TIMEOUT_SECONDS: Final = 1.0
SECRET_BYTES: Final = 32
PRIVATE_FILE_MODE: Final = 0o600
CONSOLE_GRACE_SECONDS: Final = 12.0
"""Above what requests in flight are given."""
CONSOLE_ROLE: Final = "ti_console"
CONSOLE_PASSWORD: Final = "ti_console_password"  # noqa: S105 - its name
CONSOLE_SECRETS: Final[Mapping[str, str]] = {
    "trading_database_password": CONSOLE_PASSWORD,
    "trading_console_key": "trading_console_key",
    "trading_payload_keys": "trading_payload_keys",
    "trading_console_grant_key": "trading_console_grant_key",
    "trading_console_gateway_token": "console_gateway_token",
}
"""File in the console's own folder → the secret's name."""
DEMO_TOKEN: Final = "demo"  # noqa: S105 - its name, not its secret
OPERATOR: Final = "operator"
ADDING_OPTIONS: Final = ("--symbol", "--market")
PASSING_OPTIONS: Final = ("--fault-plan", "--fault-seed")
"""Of one start only: nobody wants last week's faults in today's account."""

FIRST_LIMITS: Final[Mapping[str, str | int | list[str]]] = {
    "max_order_notional": "25000",
    "max_order_quantity": "1000",
    "price_collar_pct": "2",
    "max_ticker_exposure_pct": "25",
    "max_strategy_exposure_pct": "80",
    "max_gross_exposure_pct": "100",
    "max_daily_loss_pct": "5",
    "max_drawdown_pct": "15",
    "max_open_orders": 200,
    "max_orders_per_minute": 120,
    "max_strategy_orders_per_minute": 60,
    "max_repeated_executions": 20,
    "repeated_executions_window_seconds": 60,
    "duplicate_window_seconds": 10,
    "short_selling_strategies": ["pairs"],
}
"""For a fresh paper account of $100,000; set your own with `trading limits set`. Migration 0016 gives what an older
installation lacks the same values."""


class DatabaseRefused(Exception):
    """This release cannot work with what the data folder holds; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is generated at the first start and kept in files of mode 0600."""

    broker_key: str
    broker_secret: str
    token: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Where our own processes listen on 127.0.0.1."""

    exchange: int
    gateway: int
    codec: int = 0
    console: int = 0

    @property
    def exchange_url(self) -> str:
        return f"http://127.0.0.1:{self.exchange}"

    @property
    def exchange_ws(self) -> str:
        return f"ws://127.0.0.1:{self.exchange}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway}"

    @property
    def console_url(self) -> str:
        """By name: browsers let a passkey be bound to no number."""
        return f"http://localhost:{self.console}"


def choose_ports(data_dir: DataDir) -> Ports:
    """Those of the last start where they are free."""
    return Ports(
        exchange=data_dir.port(EXCHANGE),
        gateway=data_dir.port("gateway"),
        codec=data_dir.port("codec"),
        console=data_dir.port(CONSOLE),
    )


def read_secrets(data_dir: DataDir) -> Secrets:
    """The installation's secrets, made at the first call; those of approvals first: see `ensure_files`.

    Raises:
        DatabaseRefused: keys of approvals or payloads that cannot be used.
    """
    from security.approval_files import ensure_files
    from security.approvals import ApprovalKeyError
    from security.notes import AUDIT_KEY
    from security.payload_files import ensure_file
    from security.payloads import PayloadKeyError

    try:
        ensure_files(data_dir.keys, now=datetime.now(UTC))
        ensure_file(data_dir.keys, now=datetime.now(UTC))
    except (ApprovalKeyError, PayloadKeyError) as error:
        raise DatabaseRefused(str(error)) from error
    secret(data_dir, AUDIT_KEY)
    secret(data_dir, CODEC_TOKEN)
    return Secrets(
        broker_key=secret(data_dir, BROKER_KEY),
        broker_secret=secret(data_dir, BROKER_SECRET),
        token=secret(data_dir, "demo_token"),
    )


def secret(data_dir: DataDir, name: str) -> str:
    """A generated secret of that name, made at the first call."""
    path = data_dir.keys / name
    if path.exists():
        return path.read_text().strip()
    value = secrets.token_hex(SECRET_BYTES)
    write_private(path, value)
    return value


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def exchange_options(data_dir: DataDir, given: Sequence[str]) -> tuple[str, ...]:
    """The options of this folder's exchange: those of earlier starts and ``given``.

    The account in the ledger was traded on that market: without a name it holds, the exchange could not go on.
    A setting given anew replaces the old one; ``--symbol`` and ``--market`` add to it.
    """
    file = data_dir.exchange_options
    kept: list[str] = json.loads(file.read_text()) if file.exists() else []
    chosen = _settings(given)
    names = {each[0].partition("=")[0] for each in chosen} - set(ADDING_OPTIONS)
    old = [each for each in _settings(kept) if each[0].partition("=")[0] not in names and each not in chosen]
    return tuple(part for setting in (*old, *chosen) for part in setting)


def keep_exchange_options(data_dir: DataDir, options: Sequence[str]) -> None:
    """Remember options for later starts, once the exchange has come up with them."""
    kept = [each for each in _settings(options) if each[0].partition("=")[0] not in PASSING_OPTIONS]
    write_private(data_dir.exchange_options, json.dumps([part for setting in kept for part in setting]))


def _settings(options: Sequence[str]) -> list[list[str]]:
    """Each option with its values: ``--seed=7`` and ``--seed 7`` alike."""
    found: list[list[str]] = []
    for option in options:
        if option.startswith("--") or not found:
            found.append([option])
        else:
            found[-1].append(option)
    return found


def _python() -> tuple[str, ...]:
    """Our interpreter; where we were told not to look into the current folder, neither do children."""
    return (sys.executable, *(("-P",) if sys.flags.safe_path else ()))


def exchange_spec(
    data_dir: DataDir, ports: Ports, options: tuple[str, ...] = (), *, keys: Path | None = None
) -> ChildSpec:
    """The paper exchange as a child; ``keys``: the folder of its keys, the installation's by default."""
    folder = keys or data_dir.keys
    return ChildSpec(
        name=EXCHANGE,
        argv=(
            *_python(), "-m", "workers.exchange", "--data-dir", str(data_dir.exchange_ledger.parent),
            "--port", str(ports.exchange),
            # By file: an environment can be listed.
            "--key-file", str(folder / BROKER_KEY), "--secret-file", str(folder / BROKER_SECRET),
            *options,
        ),
        log_path=data_dir.log(EXCHANGE),
        grace_seconds=EXCHANGE_GRACE_SECONDS,
        ready=_probe(f"{ports.exchange_url}/_exchange/health"),
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        advice="the log says why; a ledger that cannot be read is named there",
    )  # fmt: skip


def product_spec(
    data_dir: DataDir, ports: Ports, *, temporal_address: str, extra: Mapping[str, str] | None = None
) -> ChildSpec:
    """Gateway and every worker role in one process, as a child."""
    environment = {
        "TRADING_SECRETS_DIR": str(data_dir.keys),
        "TRADING_TEMPORAL_ADDRESS": temporal_address,
        "TRADING_BROKER_TRADING_URL": ports.exchange_url,
        "TRADING_BROKER_STREAM_URL": f"{ports.exchange_ws}/stream",
        "TRADING_DATA_URL": ports.exchange_url,
        "TRADING_DATA_STREAM_URL": f"{ports.exchange_ws}/v2/iex",
        "TRADING_SECONDARY_DATA_URL": ports.exchange_url,
        "TRADING_SECONDARY_DATA_STREAM_URL": f"{ports.exchange_ws}/v2/sip",
        "TRADING_GATEWAY_PORT": str(ports.gateway),
        "TRADING_AUDIT_TARGET": str(data_dir.audit),
        "TRADING_CODEC_PORT": str(ports.codec),
        "TRADING_LOG_FILE": str(data_dir.log(PRODUCT)),
        **(extra or {}),
    }
    return ChildSpec(
        name=PRODUCT,
        argv=(*_python(), "-m", "workers.run", PRODUCT),
        log_path=data_dir.log(PRODUCT),
        env=environment,
        grace_seconds=PRODUCT_GRACE_SECONDS,
        ready=_probe(f"{ports.gateway_url}/readyz"),
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        advice="the log says why",
    )


def console_spec(
    data_dir: DataDir,
    ports: Ports,
    *,
    database: str,
    temporal_address: str,
    temporal_ui: str,
    extra: Mapping[str, str],
) -> ChildSpec:
    """The operator console as a child: its own process, role and secrets, in this topology too.

    ``database``: ``HOST:PORT/NAME``.
    """
    folder = data_dir.service_secrets(CONSOLE)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, source in CONSOLE_SECRETS.items():
        write_private(folder / name, secret(data_dir, source))
    return ChildSpec(
        name=CONSOLE,
        argv=(*_python(), "-m", "workers.run", CONSOLE),
        log_path=data_dir.log(CONSOLE),
        env={
            "TRADING_SECRETS_DIR": str(folder),
            "TRADING_DATABASE_URL": f"postgresql://{CONSOLE_ROLE}@{database}",
            "TRADING_TEMPORAL_ADDRESS": temporal_address,
            "TRADING_TEMPORAL_UI_URL": temporal_ui,
            "TRADING_AUDIT_CHECKPOINTS": str(data_dir.audit),
            "TRADING_CONSOLE_PORT": str(ports.console),
            **extra,
            "TRADING_CONSOLE_GATEWAY_URL": ports.gateway_url,
        },
        grace_seconds=CONSOLE_GRACE_SECONDS,
        ready=_probe(f"http://127.0.0.1:{ports.console}/readyz"),
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        advice="the log says why",
    )


def _probe(url: str) -> "Any":
    async def answers() -> str | None:
        return await asyncio.to_thread(_get, url)

    return answers


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=patient(HTTP_TIMEOUT_SECONDS)) as answer:  # noqa: S310 - ours, loopback
            answer.read()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"
    return None


async def seed(data_dir: DataDir, dsn: str, known: Secrets) -> None:
    """Migrate, and give a fresh installation its limits, its demo token and its operator key.

    Raises:
        DatabaseRefused: an edited or newer migration, unsound limits, or an unusable operator key file.
        PostgresError: the server does not answer any more.
    """
    import asyncpg

    from security.grants import KeyFileError
    from storage.database import DatabaseUnavailable
    from storage.migrate import MigrationError
    from workers.limits import LimitsUnsound

    try:
        await _seed(data_dir, dsn, known)
    except (MigrationError, LimitsUnsound, KeyFileError) as error:
        raise DatabaseRefused(str(error)) from error
    except (OSError, asyncpg.PostgresError, DatabaseUnavailable) as error:
        raise PostgresError(f"PostgreSQL does not answer: {error}") from error


async def _seed(data_dir: DataDir, dsn: str, known: Secrets) -> None:
    from security.grants import GrantKey, make_key_file
    from storage.migrate import migrate
    from workers.settings import TwoPersonsSettings, read_settings
    from workers.setup import first_rows, let_console_in

    await migrate(dsn)
    _, public_key = make_key_file(operator_key_file(data_dir), OPERATOR)
    grant_key = GrantKey.from_hex(secret(data_dir, "trading_console_grant_key"), CONSOLE)
    await first_rows(
        dsn,
        token=known.token,
        operator_key=public_key,
        console_key=grant_key.public_key,
        console_token=secret(data_dir, "console_gateway_token"),
        two_persons=read_settings(TwoPersonsSettings).two_persons == "always",
    )
    await let_console_in(dsn, secret(data_dir, CONSOLE_PASSWORD))


def operator_key_file(data_dir: DataDir) -> Path:
    """The file whose holder may release the kill switch."""
    return data_dir.keys / "operator.json"
