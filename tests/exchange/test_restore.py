"""kill -9 and start again: the ledger alone brings the whole book back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulation.exchange import Exchange
from simulation.ledger import LEDGER_FILE, Ledger, LedgerCorrupt, LedgerInUse
from simulation.server import RunningExchange, start_in_thread
from tests.exchange.conftest import Venue, connect, refusal, settings, wait_until


@contextmanager
def process(data_dir: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", Venue]]:
    environment = os.environ | {"EXCHANGE_KEY": "TESTKEY", "EXCHANGE_SECRET": "TESTSECRET"}
    command = [sys.executable, "-m", "workers.exchange", "--data-dir", str(data_dir), "--leash", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        ready = json.loads(child.stdout.readline())
        running = RunningExchange(
            ready["url"], ready["ws_url"], ready["port"], "TESTKEY", "TESTSECRET", Path(ready["ledger"])
        )
        try:
            yield child, connect(running)
        finally:
            child.kill()


def everything(venue: Venue) -> dict[str, Any]:
    paths = {
        "orders": "/v2/orders?status=all&limit=500&direction=asc",
        "fills": "/v2/account/activities/FILL?direction=asc",
        "summary": "/_exchange/ledger/summary",
    }
    state = {name: venue.call("GET", path).json() for name, path in paths.items()}
    account = venue.call("GET", "/v2/account").json()
    state["account"] = {name: account[name] for name in ("id", "account_number", "cash", "created_at")}
    state["held"] = {row["symbol"]: row["qty"] for row in venue.call("GET", "/v2/positions").json()}
    for name in ("accepted_orders", "executions", "duplicate_orders"):
        state[name] = state["summary"][name]
    state["posts"] = {key: count for key, count in state.pop("summary")["posts"].items() if key != "storm"}
    return state


def test_a_killed_exchange_comes_back_with_its_whole_book(tmp_path: Path) -> None:
    options = ("--start", "2026-11-23T10:00:00-05:00", "--requests-per-minute", "6000")
    with process(tmp_path, *options) as (child, venue):
        venue.quote("AAPL", "180.44", "180.48")
        bought = venue.order(qty="10", client_order_id="bought").json()
        venue.reaches(bought["id"], "filled")
        venue.order("MSFT", type="limit", limit_price="100", client_order_id="resting")
        cancelled = venue.order("IBM", type="limit", limit_price="100", client_order_id="cancelled").json()
        venue.client.cancel_order_by_id(cancelled["id"])
        venue.reaches(cancelled["id"], "canceled")
        wait_until(lambda: venue.client.get_order_by_client_id("resting").status == "new")
        before, clock = everything(venue), venue.client.get_clock().timestamp
        child.send_signal(signal.SIGKILL)
    with process(tmp_path, *options) as (_, venue):
        assert everything(venue) == before
        assert venue.client.get_clock().timestamp >= clock
        assert venue.order(client_order_id="bought").json()["message"] == "client_order_id must be unique"
        quote = venue.call("GET", "/v2/stocks/AAPL/quotes/latest").json()["quote"]
        assert (quote["bp"], quote["ap"]) == (180.44, 180.48)
        resting = venue.client.get_order_by_client_id("resting")
        venue.client.cancel_order_by_id(resting.id)
        assert venue.reaches(str(resting.id), "canceled")


def test_every_answered_order_survives_a_kill_in_the_middle_of_a_storm(tmp_path: Path) -> None:
    options = ("--start", "2026-11-23T10:00:00-05:00", "--requests-per-minute", "6000")
    answered: list[str] = []
    with process(tmp_path, *options) as (child, venue):

        def post(number: int) -> None:
            own = connect(venue.running)
            client_order_id = f"storm-{number}"
            if own.order("BAC", qty="1", client_order_id=client_order_id).status_code == 200:
                answered.append(client_order_id)

        with ThreadPoolExecutor(8) as pool:
            for number in range(400):
                pool.submit(post, number)
            wait_until(lambda: len(answered) >= 60)
            child.send_signal(signal.SIGKILL)
            pool.shutdown(wait=True, cancel_futures=True)
    with process(tmp_path, *options) as (_, venue):
        accepted = venue.summary()["accepted_orders"]
        assert set(answered) <= accepted.keys()
        assert set(accepted.values()) == {1}
        assert 60 <= len(answered) < 400
        wait_until(lambda: not venue.call("GET", "/v2/orders?limit=500").json())
        bought = venue.client.get_open_position("BAC").qty
        assert int(bought) == len(accepted) == venue.summary()["executions"]


def test_a_process_stops_on_sigterm_and_when_its_leash_is_dropped(tmp_path: Path) -> None:
    with process(tmp_path) as (child, venue):
        assert venue.call("GET", "/_exchange/health").json()["status"] == "ok"
        child.terminate()
        assert child.wait(10) == 0
    with process(tmp_path) as (child, _):
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 0


def test_one_data_folder_serves_one_exchange(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)), pytest.raises(LedgerInUse):
        Ledger(tmp_path)


def test_a_torn_last_line_is_cut_off_and_any_other_damage_is_refused(tmp_path: Path) -> None:
    with start_in_thread(settings(tmp_path)) as running:
        venue = connect(running)
        venue.reaches(venue.order(client_order_id="whole").json()["id"], "filled")
    path = tmp_path / LEDGER_FILE
    whole = path.read_bytes()
    with path.open("ab") as torn:
        torn.write(b'{"seq":999999,"kind":"order_cre')
    with start_in_thread(settings(tmp_path)) as running:
        assert connect(running).summary()["accepted_orders"] == {"whole": 1}
    assert path.read_bytes().startswith(whole)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (b"\x00\n", lines[1]):
        path.write_bytes(b"".join([*lines[:3], broken, *lines[4:]]))
        with pytest.raises(LedgerCorrupt, match="line 4"):
            Exchange(settings(tmp_path))


def test_the_ledger_tells_every_request_with_its_answer(venue: Venue) -> None:
    venue.order(client_order_id="told", qty="3")
    venue.order(client_order_id="told", qty="3")
    refusal(lambda: venue.client.get_asset("NOPE"))
    lines = venue.call("GET", "/_exchange/ledger").text.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    posts = [record for record in records if record.get("client_order_id") == "told"]
    assert [(post["status"], post.get("duplicate")) for post in posts] == [(200, None), (422, True)]
    assert posts[0]["body"]["qty"] == "3"
    assert {"at", "wall", "monotonic_ns", "method", "path", "order_id", "request_id"} <= posts[0].keys()
    (lookup,) = [record for record in records if record.get("path") == "/v2/assets/NOPE"]
    assert (lookup["method"], lookup["status"], lookup["code"]) == ("GET", 404, 40410000)
    created = next(record for record in records if record["kind"] == "order_created")
    assert created["seq"] < posts[0]["seq"]
    later = venue.call("GET", f"/_exchange/ledger?after={len(records)}").text.splitlines()
    assert all(json.loads(line)["seq"] > len(records) for line in later)
