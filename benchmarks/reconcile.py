"""What a reconciliation costs as the account grows: ``python -m benchmarks.reconcile``.

For each size a real PostgreSQL and a real paper exchange are loaded (a fixture: `reconcile_load`). Then a process
of its own makes the workflow's steps in their order, without the engine: a first pass, which takes the account
over; one that finds nothing; and one that finds every hundredth position changed and as many orders cancelled, at
most 200. Seconds are of this machine and move with its load; calls and statements do not.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
from pydantic import SecretStr

from activities.adoption import Adopter
from activities.broker_state import BrokerStateReader
from activities.reconciliation import Pace, ReconciliationActivities
from benchmarks.reconcile_load import load
from broker.alpaca.client import AlpacaReader
from broker.alpaca.settings import AlpacaSettings
from broker.told import BrokerCall
from market.clock import MarketClock
from schemas.reconciliation import Graces, Report, SnapshotOrder
from storage.database import Database
from workers import embedded, postgres
from workers.clients import utc_now
from workers.datadir import DataDir, temporary_data_dir
from workers.supervisor import Supervisor

SIZES: Final = (1_000, 10_000, 50_000)
"""Orders at rest."""
ORDERS_A_POSITION: Final = 5
CHANGED_ONE_IN: Final = 100
"""Positions that change, and orders that are cancelled, of all."""
DOORS: Final = 16
READINGS_MAX: Final = 6
MIB: Final = 1024
HTTP_TIMEOUT_SECONDS: Final = 60
CANCELLED_TRIES: Final = 200
CANCELLED_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Row:
    """One pass over an account of one size."""

    orders: int
    positions: int
    what: str
    outcome: str
    findings: int
    seconds: float
    cpu_seconds: float
    """Of this process; unlike the seconds it does not tell of the machine's other load."""
    exchange_cpu_seconds: float
    readings: int
    calls: int
    """Requests to the broker."""
    statements: int
    """Of ours at the database; a batch counts once."""
    peak_mib: float
    """Resident memory of the process at its highest so far, its imports included."""


class NobodyToTell:
    """The orders of the fixture have no workflows."""

    async def notify(self, order: object) -> None:
        """Tell nobody."""


class Measured:
    """The steps of a reconciliation, and what they ask for."""

    def __init__(
        self, database: Database, settings: AlpacaSettings, statements: Counter[str], exchange_pid: int
    ) -> None:
        self._exchange_pid = exchange_pid
        self._calls: Counter[str] = Counter()
        self._statements = statements
        self.broker = AlpacaReader(settings, on_call=self._called)
        self.clock = MarketClock(self.broker)
        self._steps = ReconciliationActivities(
            database,
            BrokerStateReader(database, self.broker, self.clock, lambda _: None),
            Adopter(database, self.broker, NobodyToTell()),  # type: ignore[arg-type]
            Pace(Graces(fill_seconds=10, order_seconds=0), pause_seconds=0),
            now=utc_now,
        )

    def _called(self, call: BrokerCall) -> None:
        self._calls[call.operation] += 1

    async def run(self, what: str, orders: int, positions: int) -> Row:
        """One pass."""
        calls, statements = self._calls.total(), self._statements.total()
        began, cpu, exchange_cpu = time.monotonic(), time.process_time(), _cpu_seconds(self._exchange_pid)
        report, readings = await self._pass()
        seconds = time.monotonic() - began
        return Row(
            orders=orders,
            positions=positions,
            what=what,
            outcome=report.outcome.value,
            findings=max(report.found, len(report.findings)),
            seconds=round(seconds, 2),
            cpu_seconds=round(time.process_time() - cpu, 2),
            exchange_cpu_seconds=round(_cpu_seconds(self._exchange_pid) - exchange_cpu, 2),
            readings=readings,
            calls=self._calls.total() - calls,
            statements=self._statements.total() - statements,
            peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB, 1),
        )

    async def _pass(self) -> tuple[Report, int]:
        run_id = str(uuid.uuid4())
        for number in range(1, READINGS_MAX + 1):
            order = SnapshotOrder(run_id=run_id, number=number, trigger="a benchmark", as_of=utc_now())
            answer = await self._steps.read_broker_state(order)
            if answer.confirmed:
                answer = await self._steps.overwrite_books(order)
            if answer.report is not None:
                return answer.report, number
        raise RuntimeError(f"not settled after {READINGS_MAX} readings")


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads; 0 outside Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime


async def measure(told: dict[str, Any]) -> list[Row]:
    """In a process of its own: three passes."""
    statements: Counter[str] = Counter()

    async def listen(connection: Any) -> None:
        connection.add_query_logger(lambda record: statements.update((record.query,)))

    vars(asyncpg)["create_pool"] = partial(asyncpg.create_pool, init=listen)
    database = await Database.connect(told["dsn"])
    settings = AlpacaSettings(
        SecretStr(told["key"]),
        SecretStr(told["secret"]),
        trading_url=told["url"],
        stream_url=told["stream_url"],
    )
    measured = Measured(database, settings, statements, told["exchange_pid"])
    orders, positions = told["orders"], told["positions"]
    async with measured.clock:
        rows = [await measured.run(what, orders, positions) for what in ("first", "nothing to find")]
        await _change(told)
        rows.append(await measured.run("1 % changed", orders, positions))
    await measured.broker.close()
    await database.close()
    return rows


async def _change(told: dict[str, Any]) -> None:
    """Shares out of nothing, and cancels that nobody tells."""
    headers = {"APCA-API-KEY-ID": told["key"], "APCA-API-SECRET-KEY": told["secret"]}
    async with httpx2.AsyncClient(
        base_url=told["url"], headers=headers, timeout=HTTP_TIMEOUT_SECONDS
    ) as http:
        held = (await http.get("/v2/positions")).json()[::CHANGED_ONE_IN]
        listed = (await http.get("/v2/orders", params={"limit": 500})).json()
        cancelled = listed[: max(1, min(told["orders"] // CHANGED_ONE_IN, 200))]
        doors = asyncio.Semaphore(DOORS)

        async def ask(method: str, path: str, body: Any = None) -> None:
            async with doors:
                (await http.request(method, path, json=body)).raise_for_status()

        await asyncio.gather(
            *(ask("POST", "/_exchange/adjust", {"symbol": row["symbol"], "qty": "1"}) for row in held),
            *(ask("DELETE", f"/v2/orders/{row['id']}") for row in cancelled),
        )
        for row in cancelled:
            await _cancelled(http, row["id"])


async def _cancelled(http: httpx2.AsyncClient, order_id: str) -> None:
    """A cancel is answered before the venue has carried it out."""
    for _ in range(CANCELLED_TRIES):
        if (await http.get(f"/v2/orders/{order_id}")).json()["status"] == "canceled":
            return
        await asyncio.sleep(CANCELLED_PAUSE_SECONDS)
    raise RuntimeError(f"{order_id} was not cancelled")


async def _size(orders: int) -> list[Row]:
    """Load an account of one size, and let a fresh process reconcile it."""
    positions = max(1, orders // ORDERS_A_POSITION)
    with temporary_data_dir() as data_dir:
        async with Supervisor() as supervisor:
            known, ports = embedded.read_secrets(data_dir), embedded.choose_ports(data_dir)
            server = await postgres.initialise(data_dir.postgres)
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            dsn = await postgres.ensure_database(server)
            await embedded.seed(data_dir, dsn, known)
            options = (
                "--requests-per-minute=1000000", "--cash=1000000000", f"--tickers={positions}",
                "--session=always_open", "--start=now",
            )  # fmt: skip
            exchange = embedded.exchange_spec(data_dir, ports, options)
            await supervisor.start(exchange)
            await _bind(dsn)
            await supervisor.stop(exchange.name)
            await load(
                dsn, data_dir.exchange_ledger, orders=orders, positions=positions, now=datetime.now(UTC)
            )
            await supervisor.start(exchange)
            await _stand_still(ports.exchange_url, known)
            told = {
                "dsn": dsn, "key": known.broker_key, "secret": known.broker_secret, "url": ports.exchange_url,
                "stream_url": f"{ports.exchange_ws}/stream", "orders": orders, "positions": positions,
                "exchange_pid": supervisor.pids[exchange.name],
            }  # fmt: skip
            return await _apart(told, data_dir)


async def _stand_still(url: str, known: embedded.Secrets) -> None:
    """Stop the market: quotes that come while we read would be matched with thousands of orders, at our cost."""
    headers = {"APCA-API-KEY-ID": known.broker_key, "APCA-API-SECRET-KEY": known.broker_secret}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=HTTP_TIMEOUT_SECONDS) as http:
        (await http.post("/_exchange/freeze", json={"symbol": "*"})).raise_for_status()


async def _bind(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "update installation set account = 'benchmark', mode = 'paper', bound_at = $1 where account is null",
        datetime.now(UTC),
    )
    await connection.close()


async def _apart(told: dict[str, Any], data_dir: DataDir) -> list[Row]:
    """Memory is told by the process that did it: the loader's is not its."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.reconcile", "--measure", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, _ = await process.communicate(json.dumps(told).encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the measured process ended with {process.returncode}; logs in {data_dir.logs}")
    return [Row(**row) for row in json.loads(out.splitlines()[-1])]


def growth(rows: list[Row]) -> list[str]:
    """For each pass from one size to the next: how much more there is, and how much more it takes."""
    told = []
    for what in dict.fromkeys(row.what for row in rows):
        same = [row for row in rows if row.what == what]
        for before, after in pairwise(same):
            told.append(
                f"{what}: ×{after.orders / before.orders:.0f} orders, ×{_times(before, after, 'cpu_seconds')} cpu, "
                f"×{_times(before, after, 'exchange_cpu_seconds')} cpu of the exchange, calls {before.calls} → "
                f"{after.calls}, statements {before.statements} → {after.statements}"
            )
    return told


def _times(before: Row, after: Row, name: str) -> str:
    return f"{getattr(after, name) / max(getattr(before, name), 0.01):.1f}"


def _show(rows: list[Row]) -> None:
    print(f"{'orders':>8}{'positions':>11}  {'pass':16}{'outcome':9}{'found':>6}{'seconds':>9}{'cpu':>8}"
          f"{'exchange':>10}{'readings':>10}{'calls':>7}{'statements':>12}{'peak MiB':>10}")  # fmt: skip
    for row in rows:
        print(
            f"{row.orders:8}{row.positions:11}  {row.what:16}{row.outcome:9}{row.findings:6}{row.seconds:9.2f}"
            f"{row.cpu_seconds:8.2f}{row.exchange_cpu_seconds:10.2f}{row.readings:10}{row.calls:7}"
            f"{row.statements:12}{row.peak_mib:10.1f}"
        )
    for line in growth(rows):
        print(line)


def main(arguments: list[str]) -> int:
    """Measure and print; exit code 0 whatever was measured, since the machine may be busy with other things."""
    parser = argparse.ArgumentParser(prog="benchmarks.reconcile", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="orders at rest")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps([asdict(row) for row in asyncio.run(measure(json.load(sys.stdin)))]))
        return 0
    rows = []
    for size in options.sizes:
        rows += asyncio.run(_size(size))
        sys.stderr.write(f"{size} orders measured\n")
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "growth": growth(rows)}, indent=2))
    else:
        _show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
