"""What is read for /metrics alone: the book, reservations, refusals in a row, and a Schedule that is late."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from broker.errors import InsufficientFunds
from observability.metrics import Metrics
from schemas.wire import Queue
from tests.postgres.desk import Desk
from workers.gauges import PollerGauges, RowGauges, exposure


def samples(metrics: Metrics) -> dict[str, float]:
    """Samples without labels, by name."""
    lines = [line.split(" ") for line in metrics.render().decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines if "{" not in name}


async def test_refusals_for_want_of_funds_count_until_an_order_is_accepted(desk: Desk) -> None:
    """How: one approved order, refused; then another one is said to have been accepted, before it and after it."""
    metrics = Metrics()
    gauges = RowGauges(desk.database, metrics)
    await gauges.read_gauges()
    before = samples(metrics)
    assert (before["insufficient_funds_streak"], before["reservations_open"]) == (0, 1)
    assert before["reservations_usd"] > 0
    assert 0 <= before["readings_age_seconds"] < 60
    desk.broker.answer = InsufficientFunds("insufficient buying power", http_status=403)
    await desk.place()
    await gauges.read_gauges()
    after = samples(metrics)
    assert (after["insufficient_funds_streak"], after["reservations_open"]) == (1, 0)
    assert after["reservations_usd"] == 0
    for accepted, streak in ((-60, 1), (60, 0)):
        at = datetime.now(UTC) + timedelta(seconds=accepted)
        async with desk.database.transaction("test") as connection:
            await connection.execute("update orders set acknowledged_at = $1", at)
        await gauges.read_gauges()
        assert samples(metrics)["insufficient_funds_streak"] == streak
    async with desk.database.transaction("test") as connection:
        await connection.execute("update orders set acknowledged_at = null")


async def test_the_schedule_is_late_from_its_sixth_minute_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a process that began a while ago; runs that something else has started do not count."""
    metrics = Metrics()
    gauges = RowGauges(desk.database, metrics)
    await gauges.read_gauges()
    assert samples(metrics)["reconciliation_schedule_lag_seconds"] == 0
    monkeypatch.setattr(gauges, "_began_at", datetime.now(UTC) - timedelta(seconds=400))
    await gauges.read_gauges()
    assert 100 <= samples(metrics)["reconciliation_schedule_lag_seconds"] < 200
    for trigger, late in (("due: never", True), ("schedule", False)):
        async with desk.database.transaction("test") as connection:
            await connection.execute(
                "insert into reconciliations (run_id, trigger, started_at) values ($1, $1, $2)",
                trigger,
                datetime.now(UTC),
            )
        await gauges.read_gauges()
        assert (samples(metrics)["reconciliation_schedule_lag_seconds"] > 0) == late


async def test_drift_is_what_the_last_good_run_found_whichever_process_it_was(desk: Desk) -> None:
    """How: a run that drifted, one that came to nothing, one that is clean; each read by a process of its own."""
    at = datetime.now(UTC) + timedelta(hours=1)
    told = []
    async with desk.database.transaction("test") as connection:
        await connection.execute("delete from reconciliations")
    for number, (outcome, drift) in enumerate((("DRIFT", 1500), ("FAILED", 0), ("CLEAN", 0))):
        async with desk.database.transaction("test") as connection:
            await connection.execute(
                "insert into reconciliations (run_id, trigger, outcome, started_at, read_at, market_at,"
                " finished_at, drift, equity) values ($1, 'test', $2, $3, $3, $3, $3, $4, 100000)",
                f"run-{number}",
                outcome,
                at + timedelta(minutes=number),
                drift,
            )
        metrics = Metrics()
        await RowGauges(desk.database, metrics).read_gauges()
        told.append(samples(metrics)["state_drift_pct"])
    assert told == [1.5, 1.5, 0]


async def test_nobody_is_seen_to_poll_a_temporal_that_does_not_answer() -> None:
    metrics = Metrics()
    metrics.set_workers({"execution": 1, "risk": 2})
    silent: Any = SimpleNamespace(namespace="trading", workflow_service=Silent())
    with pytest.raises(RPCError):
        await PollerGauges(silent, metrics, (Queue.EXECUTION, Queue.RISK)).count_pollers()
    text = metrics.render().decode()
    assert 'workers_present{queue="execution"} 0.0' in text
    assert 'workers_present{queue="risk"} 0.0' in text


class Silent:
    """A Temporal that is down."""

    async def describe_task_queue(self, *_: object, **__: object) -> None:
        raise RPCError("connect error", RPCStatusCode.UNAVAILABLE, b"")


def test_exposure_is_of_tickers_and_strategies_together() -> None:
    held = [("AAPL", "a", Decimal(300)), ("AAPL", "b", Decimal(-100)), ("MSFT", "b", Decimal(-500))]
    assert exposure(held, Decimal(10_000)) == {
        "gross": 7, "net": -3, "largest_ticker": 5, "largest_strategy": 6,
    }  # fmt: skip
    assert set(exposure([], Decimal(1)).values()) == {0}
