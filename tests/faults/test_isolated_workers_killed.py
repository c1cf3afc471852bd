"""The isolated topology with each of its workers killed in turn, while signals flow."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import httpx2
import pytest

from tests.console.commands import Trading, environment
from tests.faults.installation import Doors, data_dir, interrupt, judge, running
from tests.servers.collector import Collector, Sent, collecting
from tests.servers.processes import POLL_SECONDS, needs_proc, wait_gone
from tests.servers.stack import signal as new_signal
from workers.datadir import DataDir

__all__ = ["data_dir"]

WORKERS = ("execution", "risk", "orders", "operations", "gateway")
SIGNALS_EACH = 10
ON_THEIR_WAY = 4
TAKEN_WITHIN_SECONDS = 30
PAUSE_SECONDS = 1.5
"""Between two kills: less than a restart takes, so that two are away at a time."""

PLACED_BY = ["execution", "execution", "orders", "gateway", "gateway"]
"""The POST, the activity, its scheduling, the workflow's start, the HTTP request."""

pytestmark = [needs_proc, pytest.mark.timeout(400), pytest.mark.slow]


async def test_killing_any_worker_delays_and_loses_nothing(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: signals without a break; kill -9 one worker after the other; the supervisor starts each again."""
    sent_at = datetime.now(UTC).isoformat()
    batches = [[f"{worker}-killed-{number}" for number in range(SIGNALS_EACH)] for worker in WORKERS]
    with collecting() as collector:
        monkeypatch.setenv("TRADING_OTLP_ENDPOINT", collector.url)
        states = await killed_in_turn(data_dir, batches, sent_at, collector)
    assert states["FILLED"] > 0, states


async def killed_in_turn(
    data_dir: DataDir, batches: list[list[str]], sent_at: str, collector: Collector
) -> Mapping[str, int]:
    """Each worker once; the states of all orders, as judged by the exchange's ledger."""
    async with running(data_dir, "--topology=isolated") as doors:
        members = doors.family()
        sending = []
        for worker, batch in zip(WORKERS, batches, strict=True):
            sending.append(asyncio.create_task(doors.submit(batch, created_at=sent_at)))
            await until_on_their_way(doors, worker)
            os.kill(doors.pid(worker), signal.SIGKILL)
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.gather(*sending)
        for batch in batches:
            assert set(await doors.submit_until_answered(batch, created_at=sent_at)) == {202}
        for worker in WORKERS:
            await doors.until_back(worker, 2)
        states = await judge(doors, SIGNALS_EACH * len(WORKERS))
        await lines_of_one_order_are_found_over_all_processes(data_dir)
        await asyncio.to_thread(one_trace_goes_through_all_processes, collector)
        await kill_switch_works_without_operations(doors, data_dir)
        await every_process_counts(doors)
        end = await interrupt(doors.up)
    assert end.code == 0, end
    await wait_gone(members)
    return states


async def lines_of_one_order_are_found_over_all_processes(data_dir: DataDir) -> None:
    """How: an order that filled though its worker was killed, by its signal's id and by the broker's."""
    trading = Trading(environment(TRADING_DATA_DIR=str(data_dir.root)))
    [order] = (await trading("orders", "--json", "--state", "filled", "--limit", "1")).json
    found = []
    for each in (order["signal_id"], order["broker_order_id"]):
        ended = await trading("logs", "--json", "--order", each)
        assert ended.code == 0, ended
        found.append([json.loads(line) for line in ended.out.splitlines()])
    assert found[0] == found[1]
    assert {"risk", "execution", "operations"} <= {line["service"] for line in found[0]}
    steps = {line.get("step") for line in found[0]}
    assert {"assess-risk", "place-order", "settle-order"} <= steps
    assert {line["signal_id"] for line in found[0] if "signal_id" in line} == {order["signal_id"]}


def one_trace_goes_through_all_processes(collector: Collector) -> None:
    """How: of some order that filled; who was killed has taken his last spans with him."""
    collector.until(lambda sent: PLACED_BY in [*ways(sent)])


def ways(sent: list[Sent]) -> Iterator[list[str]]:
    """Of each POST of an order that filled in the same trace: whose span it is, whose is around it, and so on."""
    spans = {span.id: span for span in sent}
    filled = {
        span.trace for span in sent
        if span.name == "fill" and span.parent in spans and spans[span.parent].name == "POST /v1/signals"
    }  # fmt: skip
    for post in sent:
        if post.name == "broker.place_order" and post.trace in filled:
            way, span = [], post
            while span is not None:
                way.append(span.resource["service.name"])
                span = spans.get(span.parent)
            yield way


async def until_on_their_way(doors: Doors, worker: str) -> None:
    """Return as soon as some of this worker's signals are taken and not settled."""
    async with asyncio.timeout(TAKEN_WITHIN_SECONDS), doors.database() as connection:
        while (
            await connection.fetchval(
                "select count(*) from orders where settled_at is null and starts_with(signal_id, $1)", worker
            )
            < ON_THEIR_WAY
        ):
            await asyncio.sleep(POLL_SECONDS)


async def kill_switch_works_without_operations(doors: Doors, data_dir: DataDir) -> None:
    """How: operations hang (SIGSTOP) with an order at rest; the command line, as its own database role, kills;
    execution sweeps. Later operations go on and the switch is released by the operator's key.
    """
    trading = Trading(environment(TRADING_DATA_DIR=str(data_dir.root)))
    resting = new_signal("at-rest", ticker="NVDA", order_type="LIMIT", limit_price="100", quantity="1")
    answer = await doors.gateway.post("/v1/signals", json=resting)
    assert answer.status_code == 202, answer.text
    await doors.until_resting()
    os.kill(doors.pid("operations"), signal.SIGSTOP)
    try:
        killed = await trading("kill", "--json", "--reason", "operations hang")
    finally:
        os.kill(doors.pid("operations"), signal.SIGCONT)
    assert (killed.code, killed.err) == (0, "")
    assert killed.json["sweep_confirmed"], killed.out
    assert set(killed.json["fates"].values()) == {"cancelled"}, killed.out
    assert (await doors.exchange.get("/v2/orders")).json() == []
    released = await trading("release", "--json", "--reason", "operations are back")
    assert (released.code, released.json["released"]) == (0, True), released.out
    await doors.until_settled(SIGNALS_EACH * len(WORKERS) + 1)
    assert (await trading("doctor", "--json")).code == 0


async def every_process_counts(doors: Doors) -> None:
    """Each worker has metrics of its own, and only who may place has placed."""
    counted = {}
    async with httpx2.AsyncClient(timeout=10) as http:
        for worker, url in doors.addresses["metrics_urls"].items():
            text = (await http.get(url)).text
            posts = re.findall(r"^order_posts_total{[^}]*} (\d+)", text, re.MULTILINE)
            counted[worker] = sum(map(int, posts))
    assert counted["execution"] > 0
    assert counted["operations"] == counted["risk"] == counted["orders"] == 0
