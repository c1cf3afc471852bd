"""Days of real quotes: the clock is theirs, and nothing fills at a price they never showed."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from simulation.recorded import RecordingUnreadable, load_recordings
from simulation.server import start_in_thread
from simulation.wire import parse_moment, to_ns
from tests.exchange.conftest import connect, settings
from tests.exchange.test_streams import AUTH, ask, dial
from tests.servers.recordings import recording

HEADER = "time,bid,bid_size,ask,ask_size\n"


def write(folder: Path, name: str, *rows: str) -> Path:
    path = folder / name
    with gzip.open(path, "wt") as lines:
        lines.write(HEADER + "".join(row + "\n" for row in rows))
    return path


def test_the_clock_starts_at_the_open_of_the_first_recorded_day(tmp_path: Path) -> None:
    files = (recording("SPY-20131008-second.csv.gz"), recording("IBM-20131009-second.csv.gz"))
    with start_in_thread(settings(tmp_path, market=files, start="auto", speed=20)) as running:
        venue = connect(running)
        clock = venue.client.get_clock()
        opened = datetime(2013, 10, 8, 13, 30, tzinfo=UTC)
        assert timedelta() <= clock.timestamp - opened < timedelta(minutes=10)
        assert clock.is_open
        assert {asset.symbol for asset in venue.client.get_all_assets()} == {"SPY", "IBM"}
        assert venue.call("GET", "/v2/stocks/IBM/quotes/latest").status_code == 404
        venue.call("POST", "/_exchange/clock", json={"at": "2013-10-09T04:00:05-04:00"})
        quote = venue.call("GET", "/v2/stocks/IBM/quotes/latest").json()["quote"]
        assert (quote["bp"], quote["ap"]) == (175.0, 184.83)


def test_fills_stay_inside_the_recorded_quotes(tmp_path: Path) -> None:
    path = recording("SPY-20131008-second.csv.gz")
    quotes = load_recordings([path])["SPY"]
    with start_in_thread(settings(tmp_path, market=(path,), start="auto", speed=20)) as running:
        venue = connect(running)
        for _ in range(10):
            venue.reaches(
                venue.order("SPY", qty="40", type="limit", limit_price="170.00").json()["id"], "filled"
            )
        venue.reaches(venue.order("SPY", side="sell", qty="400").json()["id"], "filled")
        lines = venue.call("GET", "/_exchange/ledger").text.splitlines()
    executions = [record for record in map(json.loads, lines) if record["kind"] == "order_executed"]
    assert len(executions) >= 11
    for execution in executions:
        met = quotes.at(to_ns(parse_moment(execution["quote_at"])), "iex")
        assert met is not None
        assert met.t_ns == to_ns(parse_moment(execution["quote_at"])) <= to_ns(parse_moment(execution["at"]))
        assert Decimal(execution["price"]) in (met.bid, met.ask)


def test_every_recorded_quote_is_matched_even_between_two_beats(tmp_path: Path) -> None:
    dip = "2026-11-23T15:00:10Z,99.00,100,99.01,100"
    rows = [
        f"2026-11-23T15:{at // 60:02d}:{at % 60:02d}Z,100.00,100,100.02,100" for at in range(120) if at != 10
    ]
    path = write(tmp_path, "XYZ-20261123-second.csv.gz", *rows, dip)
    with start_in_thread(settings(tmp_path / "data", market=(path,))) as running:
        venue = connect(running)
        order = venue.order("XYZ", type="limit", limit_price="99.50").json()
        venue.reaches(order["id"], "new")
        venue.call("POST", "/_exchange/clock", json={"at": "2026-11-23T10:01:00-05:00"})
        assert venue.reaches(order["id"], "filled")["filled_avg_price"] == "99.01"


def test_a_jump_of_the_clock_streams_where_the_market_is_not_where_it_was(tmp_path: Path) -> None:
    rows = [f"2026-11-23T15:{at // 60:02d}:{at % 60:02d}Z,100.00,{at + 1},100.02,100" for at in range(600)]
    path = write(tmp_path, "XYZ-20261123-second.csv.gz", *rows)
    with start_in_thread(settings(tmp_path / "data", market=(path,))) as running:
        venue = connect(running)
        with dial(venue, "/v2/iex") as socket:
            socket.recv(timeout=10)
            ask(socket, AUTH)
            ask(socket, {"action": "subscribe", "quotes": ["XYZ"]})
            venue.call("POST", "/_exchange/clock", json={"at": "2026-11-23T10:09:59.5-05:00"})
            sizes: list[int] = []
            while not sizes or sizes[-1] < 600:
                sizes += [quote["bs"] for quote in json.loads(socket.recv(timeout=10))]
    assert len(sizes) < 110
    assert sizes == sorted(sizes)


def test_an_empty_side_is_nobody_and_old_quotes_are_stale(tmp_path: Path) -> None:
    path = write(tmp_path, "XYZ-20261123-second.csv.gz", "2026-11-23T14:59:00Z,,,100.02,5")
    with start_in_thread(settings(tmp_path / "data", market=(path,))) as running:
        venue = connect(running)
        quote = venue.call("GET", "/v2/stocks/XYZ/quotes/latest").json()["quote"]
        assert (quote["bp"], quote["bs"], quote["ap"], quote["as"]) == (0.0, 0, 100.02, 5)
        assert quote["t"].startswith("2026-11-23T14:59:00")
        bought = venue.order("XYZ", qty="3").json()
        venue.reaches(bought["id"], "filled")
        sold = venue.order("XYZ", side="sell", qty="3").json()
        venue.reaches(sold["id"], "new")


def test_a_recorded_clock_stands_still_while_the_exchange_is_down(tmp_path: Path) -> None:
    path = write(tmp_path, "XYZ-20261123-second.csv.gz", "2026-11-23T14:59:00Z,100.00,5,100.02,5")
    chosen = settings(tmp_path / "data", market=(path,), speed=20)
    with start_in_thread(chosen) as running:
        stopped = connect(running).client.get_clock().timestamp
    with start_in_thread(chosen) as running:
        assert timedelta() <= connect(running).client.get_clock().timestamp - stopped < timedelta(minutes=2)


@pytest.mark.parametrize(("named", "starts_at"), [(30, 30), (-30, 0)])
def test_a_restart_goes_to_a_named_start_that_lies_ahead(tmp_path: Path, named: int, starts_at: int) -> None:
    path = write(tmp_path, "XYZ-20261123-second.csv.gz", "2026-11-23T14:59:00Z,100.00,5,100.02,5")
    with start_in_thread(settings(tmp_path / "data", market=(path,))) as running:
        stood = connect(running).client.get_clock().timestamp
    again = settings(tmp_path / "data", market=(path,), start=stood + timedelta(minutes=named))
    with start_in_thread(again) as running:
        moved = connect(running).client.get_clock().timestamp - stood
    assert timedelta() <= moved - timedelta(minutes=starts_at) < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("xyz.csv.gz", ["2026-11-23T14:59:00Z,1,1,2,1"], "name it"),
        ("XYZ-20261123-second.csv.gz", [], "no quotes"),
        ("XYZ-20261123-second.csv.gz", ["2026-11-23T14:59:00Z,1,1,2"], "line 2"),
        ("XYZ-20261123-second.csv.gz", ["2026-11-23T14:59:00Z,1,1,2,1", "noon,1,1,2,1"], "line 3"),
        ("XYZ-20261123-second.csv.gz", ["2026-11-23T14:59:00Z,-1,1,2,1"], "line 2"),
    ],
)
def test_an_unreadable_recording_is_refused_by_name_and_line(
    tmp_path: Path, name: str, rows: list[str], message: str
) -> None:
    path = write(tmp_path, name, *rows)
    with (
        pytest.raises(RecordingUnreadable, match=message),
        start_in_thread(settings(tmp_path / "d", market=(path,))),
    ):
        pass
    (tmp_path / "SPY-20261123-second.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(RecordingUnreadable):
        load_recordings([tmp_path / "SPY-20261123-second.csv.gz"])
