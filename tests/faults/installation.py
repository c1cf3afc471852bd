"""A whole installation as its user starts it, ``python -m workers.up``, and the judge of what it did."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.servers.processes import POLL_SECONDS, REPOSITORY, Process, family, wait_until
from tests.servers.session import unavailable
from tests.servers.stack import signal as new_signal
from workers import postgres, temporal
from workers.datadir import DataDir, temporary_data_dir

READY_WITHIN_SECONDS = 100
ENDED_WITHIN_SECONDS = 60
POSTED_WITHIN_SECONDS = 60
ANSWERED_WITHIN_SECONDS = 60
SETTLED_WITHIN_SECONDS = 150
EXCHANGE_OPTIONS = ("--requests-per-minute=100000",)
TICKERS = ("AAPL", "MSFT", "NVDA", "AMZN")


@dataclass(frozen=True)
class Ended:
    """How the process ended and all it said."""

    code: int
    told: tuple[dict[str, Any], ...]
    out: str
    errors: str

    @property
    def stopped(self) -> list[str]:
        """Children in the order in which they stopped."""
        return [line["child"] for line in self.told if line.get("state") == "stopped"]


@dataclass
class Up:
    """One run of ``workers.up``; ``told`` grows with every line it prints."""

    process: asyncio.subprocess.Process
    told: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def times(self, child: str, state: str) -> int:
        """How often it told that of a child."""
        return sum(line.get("child") == child and line.get("state") == state for line in self.told)

    async def read(self) -> None:
        """Keep what it prints, until its end."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode())
            with suppress(ValueError):
                self.told.append(json.loads(line))


@dataclass
class Doors:
    """The ways into a running installation."""

    addresses: dict[str, Any]
    gateway: httpx2.AsyncClient = field(repr=False)
    exchange: httpx2.AsyncClient = field(repr=False)
    running: Up | None = None

    @property
    def up(self) -> Up:
        """The run of `workers.up`, where the test itself started one."""
        assert self.running is not None
        return self.running

    def pid(self, child: str) -> int:
        """The newest process id of a child."""
        return next(
            int(line["pid"])
            for line in reversed(self.up.told)
            if line.get("child") == child and line.get("state") == "started"
        )

    def family(self) -> set[Process]:
        """Every process of the installation."""
        return family(self.up.process.pid)

    async def submit(self, signal_ids: Iterable[str], **fields: Any) -> list[int]:
        """Send one small order for each id, all at once; 0 stands for no answer.

        Who means to repeat them gives their ``created_at``: it belongs to the content.
        """
        return await asyncio.gather(
            *(self._submit(number, each, fields) for number, each in enumerate(signal_ids))
        )

    async def _submit(self, number: int, signal_id: str, fields: dict[str, Any]) -> int:
        # Each of a strategy of its own: no two are the same, and none is too fast for the first limits.
        body = new_signal(signal_id, ticker=TICKERS[number % len(TICKERS)], strategy=signal_id)
        body["quantity"] = str(1 + number % 9)
        with suppress(httpx2.TransportError):
            return (await self.gateway.post("/v1/signals", json=body | fields)).status_code
        return 0

    async def submit_until_answered(self, signal_ids: Iterable[str], **fields: Any) -> list[int]:
        """Send the same signals again until each has an answer that is final: not 503, not silence."""
        names, codes = list(signal_ids), [0]
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_WITHIN_SECONDS):
                while True:
                    codes = await self.submit(names, **fields)
                    if not {0, 503} & set(codes):
                        return codes
                    await asyncio.sleep(10 * POLL_SECONDS)
        pytest.fail(f"no answer after {ANSWERED_WITHIN_SECONDS} s: {codes}")

    @asynccontextmanager
    async def database(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """A connection of the judge's own."""
        connection = await asyncpg.connect(self.addresses["database_url"], timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def summary(self) -> dict[str, Any]:
        """The exchange's count of what it was asked and did."""
        found: dict[str, Any] = (await self.exchange.get("/_exchange/ledger/summary")).json()
        return found

    async def until_posted(self, count: int) -> None:
        """Return as soon as the exchange was sent that many orders."""
        summary: dict[str, Any] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(POSTED_WITHIN_SECONDS):
                while (summary := await self.summary())["posts_total"] < count:
                    await asyncio.sleep(POLL_SECONDS / 5)
                return
        pytest.fail(f"not {count} orders at the exchange after {POSTED_WITHIN_SECONDS} s: {summary}")

    async def records(self) -> list[dict[str, Any]]:
        """The exchange's whole ledger."""
        return [json.loads(line) for line in (await self.exchange.get("/_exchange/ledger")).text.splitlines()]

    async def until_back(self, child: str, times: int) -> None:
        """Wait until the supervisor has told ``times`` times that the child is ready."""
        await wait_until(
            lambda: self.up.times(child, "ready") >= times,
            seconds_max=READY_WITHIN_SECONDS,
            what=f"{child} ready x{times}; told: {self.up.told[-5:]}",
        )

    async def until_resting(self) -> None:
        """Wait until nothing is on its way: what has not settled rests at the broker, without a fill."""
        moving = [0]
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
                while moving:
                    async with self.database() as connection:
                        moving = await connection.fetch(
                            "select signal_id, status, flags from orders where settled_at is null"
                            " and (status <> 'ACKNOWLEDGED' or updated_at > now() - interval '2 seconds')"
                        )
                    await asyncio.sleep(10 * POLL_SECONDS)
                return
        pytest.fail(f"still on their way after {SETTLED_WITHIN_SECONDS} s: {moving}")

    async def until_settled(self, count: int | None = None) -> list[Any]:
        """Every order's row once each is settled or a stop at rest, and there are ``count`` of them."""
        rows: list[Any] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
                while True:
                    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                        async with self.database() as connection:
                            rows = await connection.fetch("select * from orders")
                        if count in (None, len(rows)) and all(map(_at_its_end, rows)):
                            return rows
                    await asyncio.sleep(10 * POLL_SECONDS)
        open_rows = [dict(row) for row in rows if not row["settled_at"]]
        pytest.fail(f"{len(rows)} of {count} stored; {len(open_rows)} not settled: {open_rows[:3]}")


@asynccontextmanager
async def running(data_dir: DataDir, *options: str) -> AsyncIterator[Doors]:
    """The installation from ready to the end of the block, where it is killed if it still runs."""
    up = await spawn(data_dir, *options)
    reading = asyncio.create_task(up.read())
    try:
        await _until_ready(up, reading)
        async with doors_of(data_dir.read_addresses(), up) as doors:
            yield doors
    finally:
        if up.process.returncode is None:
            up.process.kill()
        await up.process.wait()
        await reading


@asynccontextmanager
async def doors_of(addresses: dict[str, Any], up: Up | None = None) -> AsyncIterator[Doors]:
    """Clients for these addresses."""
    token = {"Authorization": f"Bearer {addresses['tokens']['demo']}"}
    folder = Path(addresses["operator_key_file"]).parent
    keys = {
        "APCA-API-KEY-ID": (folder / "trading_broker_key").read_text().strip(),
        "APCA-API-SECRET-KEY": (folder / "trading_broker_secret").read_text().strip(),
    }
    async with (
        httpx2.AsyncClient(base_url=addresses["gateway_url"], headers=token, timeout=30) as gateway,
        httpx2.AsyncClient(base_url=addresses["exchange_url"], headers=keys, timeout=30) as exchange,
    ):
        yield Doors(addresses, gateway, exchange, up)


async def run(data_dir: DataDir, *options: str) -> Ended:
    """Start it where it is expected to refuse, and wait for its end."""
    up = await spawn(data_dir, *options)
    return await ended(up)


async def ended(up: Up) -> Ended:
    """Wait for the end of a run, which fails the test when it does not come."""
    assert up.process.stderr is not None
    try:
        async with asyncio.timeout(ENDED_WITHIN_SECONDS):
            errors = (await up.process.stderr.read()).decode()
            await up.process.wait()
    except TimeoutError:
        up.process.kill()
        pytest.fail(f"it did not end; it told: {up.told[-5:]}")
    if not up.told and up.process.stdout is not None and not up.process.stdout.at_eof():
        await up.read()
    assert up.process.returncode is not None
    return Ended(up.process.returncode, tuple(up.told), "".join(up.lines), errors)


async def interrupt(up: Up) -> Ended:
    """Ctrl-C, and how it ended."""
    up.process.send_signal(signal.SIGINT)
    return await ended(up)


async def spawn(data_dir: DataDir, *options: str) -> Up:
    """Start it and wait for nothing."""
    exchange = [f"--exchange-option={option}" for option in EXCHANGE_OPTIONS]
    command = (sys.executable, "-m", "workers.up", "--json", "--data-dir", str(data_dir.root))
    return Up(
        await asyncio.create_subprocess_exec(
            *command, *exchange, *options, cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
    )  # fmt: skip


async def _until_ready(up: Up, reading: "asyncio.Task[None]") -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_SECONDS):
            while not any("ready" in line for line in up.told):
                if reading.done():
                    end = await ended(up)
                    pytest.fail(f"ended with {end.code} before it was ready: {end.errors}{end.out}")
                await asyncio.sleep(POLL_SECONDS)
            return
    pytest.fail(f"not ready after {READY_WITHIN_SECONDS} s: {up.told}")


def _at_its_end(row: Any) -> bool:
    return bool(row["settled_at"]) or (row["leg"] == "stop" and row["status"] == "ACKNOWLEDGED")


async def judge(doors: Doors, count: int | None = None) -> Counter[str]:
    """Hold the database against the exchange's ledger; returns the orders counted by final status.

    Every signal (``count`` of them) has ended, nothing was placed twice, what was placed is what we say was
    placed, each execution and position is the exchange's, and every event has its place in the stream.
    """
    orders = await doors.until_settled(count)
    await _until_equal(lambda: _ours(doors), lambda: _theirs(doors))
    summary = await doors.summary()
    assert summary["duplicate_orders"] == 0, summary
    placed = {row["client_order_id"] for row in orders if row["broker_order_id"]}
    assert set(summary["accepted_orders"]) == placed
    await _until_equal(lambda: _positions(doors), lambda: _numbers(doors))
    async with doors.database() as connection:
        versions = await connection.fetch(
            "select key, (payload ->> 'row_version')::int as version from events"
            " where topic = 'trading.execution.status' order by key, position"
        )
    told = [(row["key"], row["version"]) for row in versions]
    assert told == sorted(told), "each order's changes are told in the order in which they were made"
    return Counter(row["status"] for row in orders)


async def _positions(doors: Doors) -> list[int | None]:
    async with doors.database() as connection:
        return [row["position"] for row in await connection.fetch("select position from events order by 1")]


async def _numbers(doors: Doors) -> list[int]:
    return list(range(1, len(await _positions(doors)) + 1))


async def _until_equal(ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Awaitable[Any]]) -> None:
    """The market moves on between two reads, so equal is what must come, soon."""
    left, right = await ours(), await theirs()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDED_WITHIN_SECONDS):
            while left != right:
                await asyncio.sleep(10 * POLL_SECONDS)
                left, right = await ours(), await theirs()
    assert left == right


async def _ours(doors: Doors) -> tuple[dict[str, Any], dict[str, Decimal]]:
    """Executions by the exchange's id, and shares by ticker, as the product has them."""
    async with doors.database() as connection:
        executions = await connection.fetch(
            "select e.execution_id, o.client_order_id, e.quantity, e.price from executions e"
            " join orders o using (internal_order_id) where not e.busted"
        )
        positions = await connection.fetch(
            "select ticker, sum(quantity) as quantity from positions group by 1 having sum(quantity) <> 0"
        )
    return _executions(executions), {row["ticker"]: row["quantity"] for row in positions}


async def _theirs(doors: Doors) -> tuple[dict[str, Any], dict[str, Decimal]]:
    records = await doors.records()
    names = {
        record["order"]["id"]: record["order"]["client_order_id"]
        for record in records
        if record["kind"] == "order_created"
    }
    executions = [
        {
            "execution_id": record["execution_id"],
            "client_order_id": names[record["order_id"]],
            "quantity": record["qty"],
            "price": record["price"],
        }
        for record in records
        if record["kind"] == "order_executed"
    ]
    positions = (await doors.exchange.get("/v2/positions")).json()
    return _executions(executions), {row["symbol"]: Decimal(row["qty"]) for row in positions}


def _executions(rows: Iterable[Any]) -> dict[str, Any]:
    """By order: how many executions, shares and dollars. An activity row has no execution id of the stream."""
    found: dict[str, Any] = {}
    for row in rows:
        count, shares, dollars = found.get(row["client_order_id"], (0, Decimal(0), Decimal(0)))
        quantity, price = Decimal(row["quantity"]), Decimal(row["price"])
        found[row["client_order_id"]] = (count + 1, shares + quantity, dollars + quantity * price)
    return found


@pytest.fixture
def data_dir() -> Iterator[DataDir]:
    """A folder for one installation, deleted after the test."""
    try:
        postgres.find_installation()
        temporal.find_program()
    except (postgres.PostgresError, temporal.TemporalError) as error:
        unavailable(error)
    with temporary_data_dir() as folder:
        yield folder
