"""The three promised metrics on the gateway's page, after a fill, a rejection and a broker fault; then all."""

import asyncio
import re
from typing import Any

from observability.catalog import SDK, families
from tests.e2e.books import quote, resting
from tests.servers.stack import POLL_SECONDS, Stack, StackFactory, signal

LIMITS = {
    "max_order_notional": "1000000", "max_order_quantity": "100", "price_collar_pct": "2",
    "max_ticker_exposure_pct": "400", "max_strategy_exposure_pct": "400", "max_gross_exposure_pct": "400",
    "max_daily_loss_pct": "100", "max_drawdown_pct": "100",
    "max_open_orders": 100000, "max_orders_per_minute": 100000, "max_strategy_orders_per_minute": 100000,
    "max_repeated_executions": 100000, "repeated_executions_window_seconds": 60, "duplicate_window_seconds": 1,
}  # fmt: skip
POST_DEADLINE_MS = 15_000
SHOWN_WITHIN_SECONDS = 60
LATER = {
    "alerts_open", "alert_delivery_tries_total", "audit_checkpoint_age_seconds", "clock_offset_seconds",
    "redis_events_waiting", "redis_lag_seconds", "retention_oldest_seconds",
}  # fmt: skip
"""Shown once there is something to show: an alert, a channel, a time server, Redis, a row of some age."""
FAILURES = {
    "temporal_activity_execution_failed", "temporal_workflow_task_execution_failed", "temporal_workflow_failed",
    "temporal_request_failure",
}  # fmt: skip
"""Of the SDK's, shown once something has ended so: tests/monitoring makes each happen."""


async def page(stack: Stack) -> dict[str, float]:
    """Every sample of ``/metrics``, as a scraper without a token reads it."""
    answer = await stack.http.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def bare(samples: dict[str, float]) -> set[str]:
    """Names without labels."""
    return {name.partition("{")[0] for name in samples}


async def test_a_fill_a_rejection_and_a_broker_fault(stack_factory: StackFactory, unique: Any) -> None:
    """How: each happens once and the page is read after it; one 503 among a counted number of calls."""
    stack = await stack_factory(limits=LIMITS)
    start = await page(stack)
    assert start["order_submission_latency_ms_count"] == 0
    assert start["signal_rejection_percentage"] == 0
    assert start["broker_api_error_rate"] == 0

    filled, rejected, unlucky = unique("filled"), unique("rejected"), unique("unlucky")
    await stack.submit(signal(filled))
    await stack.settled(filled)
    after = await page(stack)
    assert after["order_submission_latency_ms_count"] == 1
    assert 0 < after["order_submission_latency_ms_sum"] < POST_DEADLINE_MS
    assert after['order_submission_latency_ms_bucket{le="+Inf"}'] == 1
    assert after["signal_rejection_percentage"] == 0
    assert after['signals_total{outcome="approved"}'] == 1
    assert after['order_posts_total{outcome="ok"}'] == 1

    await stack.submit(signal(rejected, quantity="101"))
    await stack.settled(rejected)
    after = await page(stack)
    assert after["signal_rejection_percentage"] == 50
    assert after['signal_rejections_total{reason="ORDER_QUANTITY"}'] == 1
    assert after["order_submission_latency_ms_count"] == 1, "a rejected signal submits nothing"

    fault = {"action": "status_503", "match": {"method": "POST", "path": "/v2/orders"}}
    await stack.control("faults", fault)
    await stack.submit(signal(unlucky, quantity="5"))
    await stack.until(unlucky, lambda order: order["flags"] == ["outcome_unknown"])
    after = await page(stack)
    calls = {name: value for name, value in after.items() if name.startswith("broker_api_calls_total")}
    assert calls['broker_api_calls_total{operation="place_order",outcome="server_error"}'] == 1
    assert 0 < after["broker_api_error_rate"] <= 1
    assert abs(after["broker_api_error_rate"] * sum(calls.values()) - 1) < 0.5, calls
    assert after['order_posts_total{outcome="server_error"}'] == 1
    assert round(after["signal_rejection_percentage"], 1) == 33.3
    await everything_is_shown(stack, unique)


async def everything_is_shown(stack: Stack, unique: Any) -> None:
    """How: an order rests; what is read now and then is waited for, and says of the book what it should."""
    await quote(stack, "MSFT", "100.00", "100.10")
    await resting(stack, unique, "MSFT", "99.50")
    wanted = {name for each in families() if each.name not in LATER for name in each.samples}
    wanted |= {name for each in SDK if each.name not in FAILURES for name in each.samples}
    async with asyncio.timeout(SHOWN_WITHIN_SECONDS):
        while not wanted <= bare(after := await page(stack)) or after["reservations_open"] == 0:
            await asyncio.sleep(POLL_SECONDS)
    assert after['trading_build_info{mode="paper",service="compact",version="0.1.0"}'] == 1
    assert after['workers_present{queue="trading"}'] == after['workers_present{queue="kill-switch"}'] == 1
    assert after['events_numbered_total{topic="trading.execution.fill"}'] >= 1
    assert after["open_orders"] >= 1
    assert after["reservations_usd"] >= 99
    assert 0 < after['exposure_pct{scope="gross"}'] == after['exposure_pct{scope="largest_ticker"}'] < 100
    assert after["insufficient_funds_streak"] == after["reconciliation_schedule_lag_seconds"] == 0
    assert 0 <= after["readings_age_seconds"] < SHOWN_WITHIN_SECONDS
    assert after['quote_age_seconds_count{provider="primary"}'] >= 2, "by risk and before the POST"
