"""Signals that arrive together can never pass a limit together."""

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from storage.database import Database
from storage.risk import live_reservations
from tests.postgres.books import prepare, propose, refresh

PROCESSES = 4
SIGNALS = 64
ROOM = 10
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_gross_exposure_pct": "10"},
        {"max_ticker_exposure_pct": "10"},
        {"max_strategy_exposure_pct": "10"},
        {"max_orders_per_minute": 10},
    ],
    ids=lambda limits: next(iter(limits)),
)
async def test_64_signals_from_4_processes_fill_exactly_the_room(
    database: str, limits: dict[str, str]
) -> None:
    """$1,000 each against $10,000: exactly ten are approved, whoever asks first."""
    rows = await Database.connect(database)
    await prepare(rows, **limits)
    signal_ids = [f"s{number}" for number in range(SIGNALS)]
    for number, signal_id in enumerate(signal_ids):
        # No two are the same: of those only one would be approved.
        await propose(rows, signal_id, hard_stop_loss=Decimal(50) + Decimal(number) / 100)
    approved = await _assess_in_processes(database, signal_ids, rows)
    async with rows.connection() as connection:
        count, notional = await live_reservations(connection)
    await rows.close()
    assert sum(approved) == ROOM
    assert (count, notional) == (ROOM, 10_000)


async def _assess_in_processes(dsn: str, signal_ids: list[str], rows: Database) -> list[int]:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.postgres.assess_script", dsn, cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    for number, process in enumerate(processes):
        assert process.stdin
        process.stdin.write((" ".join(signal_ids[number::PROCESSES]) + "\n").encode())
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    async with rows.transaction("test") as connection:
        await refresh(connection)  # Starting took its time; a quote is good for 15 s.
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
    return [int((await process.communicate())[0]) for process in processes]
